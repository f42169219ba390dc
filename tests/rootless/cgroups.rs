//! runc's rules: no limits and no path, no cgroup; otherwise the cgroup must be there, or the container is refused.

use std::fs;
use std::path::{Path, PathBuf};

use hshim_tests::programs;
use serde_json::json;

use crate::stage::UsersBundle;
use crate::{needs_user, only_for_hshim};

#[test]
fn without_limits_the_container_stays_in_the_cgroup_of_its_creator() {
    needs_user!();
    let bundle = UsersBundle::new("sleep 1000");
    bundle.start();
    assert_eq!(
        fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap(),
        fs::read_to_string("/proc/self/cgroup").unwrap()
    );
}

#[test]
fn limits_are_refused_where_no_cgroup_can_be_written() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["resources"] = json!({"pids": {"limit": 20}, "memory": {"limit": 1 << 26}}));
    let said = bundle.refused(&["run", bundle.id()]);
    if programs::judges_hshim() {
        for word in ["linux.resources.pids.limit", "linux.resources.memory.limit", "a limit needs a cgroup"] {
            assert!(said.contains(word), "{said}");
        }
    }
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_path_that_cannot_be_made_is_refused() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!("/hshim-tests-of-nobody/c1"));
    let said = bundle.refused(&["run", bundle.id()]);
    assert!(said.to_lowercase().contains("permission denied"), "{said}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn what_takes_a_cgroup_says_so() {
    needs_user!();
    only_for_hshim!("the words are hshim's");
    let bundle = UsersBundle::new("sleep 1000");
    bundle.start();
    for verb in [&["pause"][..], &["update", "--pids-limit", "5"], &["events", "--stats"]] {
        let said = bundle.refused(&[verb, &[bundle.id()]].concat());
        assert!(said.contains("has no cgroup") && said.contains("linux.cgroupsPath"), "{verb:?}: {said}");
    }
}

#[test]
fn rootless_false_insists_on_a_cgroup() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.globals = vec!["--rootless=false".to_owned()];
    let said = bundle.refused(&["run", bundle.id()]);
    assert!(said.to_lowercase().contains("permission denied"), "{said}");
    bundle.globals = vec!["--rootless=true".to_owned()];
    assert_eq!(bundle.run().1, Some(0));
}

/// A cgroup that was handed over to the user, with the cgroup that their commands run in.
struct Delegated(PathBuf);

impl Delegated {
    fn to_user(name: &str) -> Self {
        let dir = Path::new("/sys/fs/cgroup/hshim-tests").join(name);
        fs::create_dir_all(dir.join("session")).unwrap();
        for above in [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/hshim-tests")] {
            if has_processes_controller() {
                fs::write(above.join("cgroup.subtree_control"), "+pids").unwrap();
            }
        }
        for path in [
            dir.clone(),
            dir.join("cgroup.procs"),
            dir.join("cgroup.subtree_control"),
            dir.join("session"),
            dir.join("session/cgroup.procs"),
        ] {
            std::os::unix::fs::chown(&path, Some(5), Some(60)).unwrap();
        }
        Self(dir)
    }
}

fn has_processes_controller() -> bool {
    let all = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    all.split_whitespace().any(|name| name == "pids")
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for dir in [self.0.join("c"), self.0.join("session"), self.0.clone()] {
            hshim_tests::wait::until("the cgroup is empty", || !dir.exists() || fs::remove_dir(&dir).is_ok());
        }
    }
}

#[test]
fn a_cgroup_that_was_handed_over_is_used() {
    needs_user!();
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        hshim_tests::skip!("cgroup v1 is not handed over to users");
    }
    let mut bundle = UsersBundle::new("sleep 1000");
    let delegated = Delegated::to_user(bundle.id());
    let path = format!("/hshim-tests/{}/c", bundle.id());
    bundle.edit(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        if has_processes_controller() {
            config["linux"]["resources"] = json!({"pids": {"limit": 20}});
        }
    });
    // From outside of it no process can be moved there.
    if programs::judges_hshim() {
        let said = bundle.refused(&["run", bundle.id()]);
        assert!(said.contains("may not join its cgroup") && said.contains("handed over"), "{said}");
    }
    bundle.inside = Some(delegated.0.join("session"));
    bundle.start();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(cgroup.lines().any(|line| line == format!("0::{path}")), "{cgroup}");
    if has_processes_controller() {
        assert_eq!(fs::read_to_string(delegated.0.join("c/pids.max")).unwrap(), "20\n");
        bundle.ok(&["update", "--pids-limit", "30", bundle.id()]);
        assert_eq!(fs::read_to_string(delegated.0.join("c/pids.max")).unwrap(), "30\n");
    }
    bundle.ok(&["pause", bundle.id()]);
    assert_eq!(bundle.status(), "paused");
    bundle.ok(&["resume", bundle.id()]);
    assert_eq!(bundle.ok(&["exec", bundle.id(), "echo", "inside"]), "inside\n");
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(!delegated.0.join("c").exists());
    bundle.inside = None;
}
