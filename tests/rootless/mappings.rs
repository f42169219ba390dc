//! More ids than the user's own, by newuidmap and newgidmap.

use hshim_tests::programs;
use serde_json::json;

use crate::stage::{RANGE, UsersBundle};
use crate::{needs_user, only_for_hshim};

macro_rules! needs_programs {
    () => {
        if programs::installed("newuidmap").is_none() || programs::installed("newgidmap").is_none() {
            hshim_tests::skip!("no newuidmap (package uidmap)");
        }
    };
}

#[test]
fn a_range_of_the_user_is_mapped_by_newuidmap() {
    needs_user!();
    needs_programs!();
    let mut bundle = UsersBundle::new("id -u; id -g; cat /proc/self/setgroups; touch /tmp/made");
    bundle.map_range();
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 7, "gid": 8}));
    assert_eq!(bundle.run(), ("7\n8\nallow\n".to_owned(), Some(0)));
    let made = std::fs::metadata(bundle.dir().join("rootfs/tmp/made")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((made.uid(), made.gid()), (RANGE + 6, RANGE + 7));
}

#[test]
fn an_exec_can_be_another_user_with_groups_of_the_range() {
    needs_user!();
    only_for_hshim!("runc 1.1 sets no additional groups for users");
    needs_programs!();
    let mut bundle = UsersBundle::new("sleep 1000");
    bundle.map_range();
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [3]}));
    bundle.start();
    let who = bundle.ok(&["exec", "--user", "7:8", bundle.id(), "sh", "-c", "id -u; id -g; id -G"]);
    assert!(who.starts_with("7\n8\n8 3\n") || who.starts_with("7\n8\n3 8\n"), "{who}");
    // What another id of the range owns can be killed by who owns the namespace.
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    bundle.wait_stopped();
    bundle.ok(&["delete", bundle.id()]);
}

#[test]
fn the_terminal_of_an_exec_belongs_to_its_user() {
    needs_user!();
    needs_programs!();
    if programs::installed("script").is_none() {
        hshim_tests::skip!("no script (package bsdutils)");
    }
    let mut bundle = UsersBundle::new("sleep 1000");
    bundle.map_range();
    bundle.start();
    let exec = bundle.command(&["exec", "--tty", "--user", "7:8", bundle.id(), "sh", "-c", "'stat -c %u $(tty)'"]);
    let words: Vec<&str> = exec.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let words: Vec<&str> =
        words.into_iter().skip_while(|word| *word != "setpriv").skip_while(|word| *word != "--").skip(1).collect();
    let output = bundle.shell("script", &["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.lines().any(|line| line.trim_end().ends_with('7')), "{said}");
}

#[test]
fn ids_of_others_are_refused() {
    needs_user!();
    needs_programs!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    let refused = bundle.refused(&["run", bundle.id()]);
    if programs::judges_hshim() {
        assert!(refused.contains("linux.uidMappings: newuidmap:") && refused.contains("/etc/subuid"), "{refused}");
    }
    assert_eq!(bundle.status(), "absent");
}
