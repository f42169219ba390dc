//! Hard weather over supervised containers: containerd or the shim dies while one runs, restarts or backs off.

use hshim_tests::containerd::{Daemon, Setting, shims_below};
use hshim_tests::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::event_stream::EventStream;
use crate::supervised::{ALWAYS, FAILING, LIVENESS, LONG, QUICK, SCRIPT, break_process, detach, is_judged, lives, until_lives};

#[test]
fn a_container_is_restarted_while_containerd_is_away() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let first = detach(&daemon, "c1", &[LIVENESS, QUICK], SCRIPT);
    until_lives(&daemon, "c1", 1);
    let shims = shims_below(daemon.home());
    daemon.crash();
    break_process(first);
    until_lives(&daemon, "c1", 2);
    daemon.serve();
    let second = daemon.task("c1").unwrap();
    assert!(second.runs() && second.pid != first.pid, "{second:?}");
    assert_eq!(shims_below(daemon.home()), shims);
    assert_eq!(daemon.exec("c1", &["echo", "here"]).ok(), "here\n");
    let events = EventStream::open(&daemon);
    break_process(second);
    events.wait_for("c1", "/hshim/restarted");
    until_lives(&daemon, "c1", 3);
    daemon.ctr(&["task", "kill", "--signal", "SIGTERM", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 0);
    assert_eq!(lives(&daemon.output("c1")), 3, "no life was started twice");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_back_off_lives_through_a_crash_of_containerd() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    detach(&daemon, "c1", &[ALWAYS, LONG], FAILING);
    events.wait_for("c1", "/hshim/backing-off");
    let before = daemon.task("c1").unwrap();
    drop(events);
    daemon.crash();
    daemon.serve();
    let task = daemon.task("c1").unwrap();
    assert!(task.runs() && task == before, "{task:?}");
    daemon.ctr(&["task", "kill", "--signal", "SIGTERM", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 3);
    assert_eq!(lives(&daemon.output("c1")), 2);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn restarts_go_on_through_many_crashes_of_containerd() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":1000,"withinMilliseconds":600000}}"#);
    let quick = ("hshim.dev/backoff", r#"{"initialMilliseconds":20,"capMilliseconds":20}"#);
    detach(&daemon, "c1", &[ALWAYS, budget, quick], FAILING);
    for crash in 1..=4 {
        daemon.crash();
        let before = lives(&daemon.output("c1"));
        until("lives go on", || lives(&daemon.output("c1")) > before + crash);
        daemon.serve();
        let task = daemon.task("c1").expect("the task is attached again");
        assert!(task.runs() && task.pid > 0, "{task:?}");
    }
    assert_eq!(shims_below(daemon.home()).len(), 1);
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    daemon.wait_stopped("c1");
    let lives_then = lives(&daemon.output("c1"));
    daemon.remove("c1");
    assert_eq!(lives(&daemon.output("c1")), lives_then);
    daemon.finish();
}

#[test]
fn a_shim_that_is_killed_leaves_nothing_of_what_it_supervised() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    // As the kubelet, the shim restarts once without a back-off.
    for (id, annotations, script, expected) in [("runs", [LIVENESS, QUICK], SCRIPT, 1), ("waits", [ALWAYS, LONG], FAILING, 2)] {
        detach(&daemon, id, &annotations, script);
        until_lives(&daemon, id, expected);
        if id == "waits" {
            events.wait_for(id, "/hshim/backing-off");
        }
        for shim in shims_below(daemon.home()) {
            kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
        }
        assert_eq!(events.wait_for(id, "/tasks/exit").body["exit_status"], 137);
        events.wait_for(id, "/tasks/delete");
        assert_eq!(daemon.task(id), None);
        assert_eq!(lives(&daemon.output(id)), expected);
        assert!(!daemon.shim_socket(id).exists(), "the clean-up removes the dead shim's socket");
        daemon.remove(id);
    }
    daemon.finish();
}
