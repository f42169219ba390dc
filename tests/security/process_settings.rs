//! Settings of the process: limits, scheduling, personality.

use hshim_tests::programs::soft_limit_of_files;
use serde_json::json;

use crate::stage::{bundle, needs_containers, run, try_run, with_users};

#[test]
fn a_limit_is_set() {
    needs_containers!();
    let bundle = bundle("ulimit -n; ulimit -Hn", |config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": soft_limit_of_files(60, 61), "hard": 61}]);
    });
    assert_eq!(run(&bundle), format!("{}\n61\n", soft_limit_of_files(60, 61)));
}

#[test]
fn a_limit_that_the_runtime_itself_could_not_live_with_is_set() {
    needs_containers!();
    // runc cannot live with it.
    crate::stage::only_for_hshim!();
    let bundle = bundle("ulimit -n; ulimit -f", |config| {
        config["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 4}, {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}]);
    });
    assert_eq!(run(&bundle), "4\n0\n");
}

#[test]
fn a_limit_that_cannot_be_raised_is_clamped_with_a_warning() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let bundle = bundle("ulimit -Hn", |config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1_000_000_000, "hard": 1_000_000_000}]);
    });
    let output = try_run(&bundle);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !errors.contains("RLIMIT_NOFILE") {
        hshim_tests::skip!("limits can be raised here");
    }
    assert!(output.status.success() && errors.contains("CAP_SYS_RESOURCE"), "{errors}");
}

#[test]
fn a_limit_is_set_in_a_user_namespace() {
    needs_containers!();
    let mut bundle = bundle("ulimit -n", |config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": soft_limit_of_files(60, 61), "hard": 61}]);
    });
    with_users(&mut bundle);
    assert_eq!(run(&bundle), format!("{}\n", soft_limit_of_files(60, 61)));
}

#[test]
fn the_scheduling_policy_is_set() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let bundle = bundle("sed 's/.*) //' /proc/self/stat | cut -d' ' -f39", |config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    });
    assert_eq!(run(&bundle), "3\n");
}

#[test]
fn the_io_priority_is_set() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let bundle = bundle("ionice -p 1", |config| {
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    assert!(run(&bundle).contains("prio 6"));
}

#[test]
fn the_personality_is_set() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let bundle = bundle("uname -m", |config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    assert_eq!(run(&bundle), "i686\n");
}
