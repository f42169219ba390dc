//! Events, as `ctr events` shows them: which, in what order, with what in them.

use hshim_tests::containerd::{Daemon, Setting};

use crate::event_stream::EventStream;

#[test]
fn events_come_in_order_and_tell_the_truth() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let task = daemon.detach("c1", &[], &["sleep", "1000"]);
    assert_eq!(daemon.exec("c1", &["sh", "-c", "exit 7"]).status, 7);
    daemon.ctr(&["task", "pause", "c1"]).ok();
    daemon.ctr(&["task", "resume", "c1"]).ok();
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    daemon.wait_stopped("c1");
    daemon.remove("c1");
    events.wait_for("c1", "/tasks/delete");
    let expected = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"];
    assert_eq!(events.topics("c1"), expected.map(|name| format!("/tasks/{name}")));
    let of = |topic: &str| {
        events.of("c1").into_iter().filter(|event| event.topic == topic).map(|event| event.body).collect::<Vec<_>>()
    };
    assert_eq!(of("/tasks/create")[0]["pid"], task.pid);
    assert_eq!(of("/tasks/create")[0]["bundle"], daemon.bundle("c1").to_str().unwrap());
    assert_eq!(of("/tasks/start")[0]["pid"], task.pid);
    let exits = of("/tasks/exit");
    assert_eq!((&exits[0]["exit_status"], &exits[0]["id"]), (&7.into(), &of("/tasks/exec-added")[0]["exec_id"]));
    assert_eq!((&exits[1]["exit_status"], &exits[1]["id"], &exits[1]["pid"]), (&137.into(), &"c1".into(), &task.pid.into()));
    assert_eq!(of("/tasks/delete")[0]["exit_status"], 137);
    daemon.finish();
}

#[test]
fn a_start_is_told_before_the_exit_however_short_the_life() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    for number in 0..10 {
        let id = format!("c{number}");
        daemon.try_detach(&id, &[], &["sh", "-c", "exit 3"]).ok();
        assert_eq!(daemon.wait_stopped(&id), 3);
        daemon.remove(&id);
        events.wait_for(&id, "/tasks/delete");
        assert_eq!(events.topics(&id), ["create", "start", "exit", "delete"].map(|name| format!("/tasks/{name}")));
    }
    daemon.finish();
}

#[test]
fn a_container_that_runs_out_of_memory_says_so() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    if !memory_is_limited() {
        daemon.finish();
        hshim_tests::skip!("no memory controller");
    }
    let events = EventStream::open(&daemon);
    let finished = daemon.run("c1", &["--memory-limit", "16777216"], &["sh", "-c", "exec tail /dev/zero"]);
    assert_eq!(finished.status, 137);
    events.wait_for("c1", "/tasks/oom");
    daemon.finish();
}

/// Whether this kernel has the memory controller switched on.
fn memory_is_limited() -> bool {
    let controllers = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    controllers.lines().any(|line| line.starts_with("memory\t") && line.ends_with('1'))
}
