//! Machines without a v2 tree: a leaf of the freezer, which has no `cgroup.kill`.
//!
//! Each test runs again as a process in a mount namespace of its own, where what there is of v2 is unmounted.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hshim_enter::{Report, Shape};

use crate::container::{Container, exited, identity, reap, run, skipped};

/// Set in the second process.
const HERE: &str = "HSHIM_TEST_WITHOUT_V2";

/// True in the process that sees no v2 tree. Elsewhere the test has been run when this returns.
fn is_without_v2(test: &str) -> bool {
    if std::env::var_os(HERE).is_some() {
        return true;
    }
    if skipped() {
        return false;
    }
    if !Path::new("/sys/fs/cgroup/freezer/tasks").exists() {
        eprintln!("skipped: no v1 freezer is mounted at /sys/fs/cgroup/freezer");
        return false;
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--propagation", "private", "sh", "-c", "umount -a -t cgroup2 && exec \"$@\"", "sh"]);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", &format!("pure_v1::{test}"), "--nocapture"]);
    run(again.env(HERE, "yes"));
    false
}

fn container() -> Container {
    let container = Container::start(|_| {});
    let parent = container.cgroup.leaf_parent().unwrap();
    assert!(parent.starts_with("/sys/fs/cgroup/freezer"), "{}", parent.display());
    container
}

/// Forks without end, out of its session and twice, and stays small: each child lives for a twentieth of a second.
const FORKING: &str = "for i in 1 2 3 4; do setsid sh -c 'while :; do (sleep 0.05 &); done' & done; sleep 1000";

#[test]
fn outcomes_are_those_of_v2() {
    if !is_without_v2("outcomes_are_those_of_v2") {
        return;
    }
    let container = container();
    assert_eq!(container.probe(&["sh", "-c", "exit 7"]).0, exited(7));
    assert_eq!(container.probe(&["missing"]).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
    let (report, text) = container.probe(&["grep", "freezer", "/proc/self/cgroup"]);
    assert_eq!(report, exited(0));
    assert!(text.contains(&format!(":/{}/probe-", container.id)), "{text}");
    let left = container.probe(&["sh", "-c", "setsid sleep 1000 & exit 3"]).0;
    assert_eq!(left, Report::Exited { code: 3, leftovers: true });
    assert_eq!(container.probe(&["sh", "-c", "kill -9 $PPID; sleep 1000"]).0, Report::ReaperKilled);
    assert_eq!(container.exec(&identity(), &["sh", "-c", "exit 5"]).1, Some(5));
}

#[test]
fn what_forks_without_end_is_dead_after_the_timeout() {
    if !is_without_v2("what_forks_without_end_is_dead_after_the_timeout") {
        return;
    }
    let container = container();
    let before = container.zombies();
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(container.probe_for(&identity(), &["sh", "-c", FORKING], 0.3).0, Report::TimedOut);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
    assert_eq!(container.zombies(), before, "nothing was left to a pid 1 that never reaps");
    assert_eq!(container.probe(&["true"]).0, exited(0), "a probe after kills");
}

#[test]
fn the_caller_can_kill_a_leaf_itself() {
    if !is_without_v2("the_caller_can_kill_a_leaf_itself") {
        return;
    }
    let container = container();
    let leaf = container.leaf();
    assert!(leaf.kill_file().is_none());
    let (entered, output) = container.spawn(Shape::Probe, &identity(), &["sh", "-c", "echo up; sleep 1000"], Some(&leaf), 60.0);
    let mut up = [0; 3];
    std::io::Read::read_exact(&mut std::fs::File::from(output), &mut up).unwrap();
    leaf.kill().unwrap();
    assert_eq!(Report::read(&entered.report).unwrap(), Report::Signaled { signal: libc::SIGKILL, leftovers: false });
    reap(entered.pid);
    leaf.remove().unwrap();
}
