//! Further processes of a container are held by all that holds its first one (L1, L2, L3).

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;
use serde_json::json;

use crate::stage::{bundle, exec, forbidding, needs_containers, running, status_field, with_users};

const LIVES: &str = "echo up; sleep 1000";

#[test]
fn an_exec_is_held_by_the_containers_seccomp_filter() {
    needs_containers!();
    let bundle = bundle(LIVES, |config| config["linux"]["seccomp"] = forbidding("mkdir"));
    running(&bundle);
    let seen = exec(&bundle, "grep ^Seccomp: /proc/self/status; mkdir /tmp/x || echo refused");
    assert_eq!(status_field(&seen, "Seccomp"), "2");
    assert!(seen.ends_with("refused\n"), "{seen}");
}

#[test]
fn the_filter_is_there_without_no_new_privileges_too() {
    needs_containers!();
    let bundle = bundle("grep ^Seccomp: /proc/self/status; mkdir /tmp/x || echo refused; sleep 1000", |config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["seccomp"] = forbidding("mkdir");
    });
    bundle.run_detached();
    hshim_tests::wait::until("init is refused", || bundle.stdout().ends_with("refused\n"));
    let seen = exec(&bundle, "grep ^Seccomp: /proc/self/status; mkdir /tmp/x || echo refused");
    assert_eq!((status_field(&seen, "Seccomp"), status_field(&bundle.stdout(), "Seccomp")), ("2".into(), "2".into()));
    assert!(seen.ends_with("refused\n"), "{seen}");
}

#[test]
fn an_exec_is_in_the_containers_user_namespace() {
    needs_containers!();
    let mut bundle = Bundle::new(LIVES);
    with_users(&mut bundle);
    running(&bundle);
    let seen = exec(&bundle, "readlink /proc/self/ns/user; readlink /proc/1/ns/user; cat /proc/self/uid_map");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], lines[1], "exec and init share a user namespace");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

#[test]
fn an_exec_has_the_identity_of_the_container() {
    needs_containers!();
    let bundle = bundle(LIVES, |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o077});
        config["process"]["cwd"] = json!("/tmp");
        config["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN"]});
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]);
    });
    running(&bundle);
    let seen = exec(&bundle, "id -u; id -g; pwd; ulimit -n; grep -E '^(CapBnd|CapEff|NoNewPrivs|Groups):' /proc/self/status");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..3], ["1000", "1001", "/tmp"]);
    assert_eq!(status_field(&seen, "CapBnd"), "0000000000000001");
    assert_eq!(status_field(&seen, "CapEff"), "0000000000000000");
    assert_eq!(status_field(&seen, "NoNewPrivs"), "1");
    assert_eq!(status_field(&seen, "Groups").split(' ').collect::<Vec<_>>(), ["5", "7"]);
    // The Go of runc 1.1 may raise a soft limit to the hard one on its way.
    let is_runcs_way = !programs::judges_hshim() && lines[3] == "100";
    assert!(lines[3] == "99" || is_runcs_way, "{}", lines[3]);
}

#[test]
fn an_exec_that_asks_for_another_user_gives_up_roots_capabilities() {
    needs_containers!();
    let bundle = Bundle::new(LIVES);
    running(&bundle);
    let seen = bundle.ok(&["exec", "--user", "1000:1000", bundle.id(), "grep", "^CapEff:", "/proc/self/status"]);
    assert_eq!(status_field(&seen, "CapEff"), "0000000000000000");
}

#[test]
fn a_working_directory_outside_the_container_is_refused_for_an_exec() {
    needs_containers!();
    let bundle = Bundle::new(LIVES);
    running(&bundle);
    for fd in 3..24 {
        let cwd = format!("/proc/self/fd/{fd}");
        let output = bundle.runtime(&["exec", "--cwd", &cwd, bundle.id(), "pwd"]);
        assert!(!output.status.success(), "{cwd} led to {:?}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn no_descriptor_of_the_runtime_reaches_an_exec() {
    needs_containers!();
    let bundle = Bundle::new(LIVES);
    running(&bundle);
    // The listing's own descriptor is the lowest free one.
    let seen = exec(&bundle, "ls /proc/self/fd");
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}
