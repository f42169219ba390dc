//! `restartOwner: auto` under a containerd that dies and comes back.

use std::process::Command;

use hshim_tests::containerd::{Daemon, Setting, Task};
use hshim_tests::programs;
use hshim_tests::wait::{for_value, until};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::event_stream::EventStream;
use crate::supervised::{ALWAYS, detach, is_judged, lives, until_lives};

const LIFE: &str = "echo alive; exec sleep 1000";
const AUTO: (&str, &str) = ("hshim.dev/supervision", r#"{"restartOwner":"auto"}"#);

/// The messages of hshim's own record about who restarts `id`, the oldest first: it can be read while containerd is away.
fn changes(daemon: &Daemon, id: &str) -> Vec<String> {
    let root = format!("/run/hshim/containerd/{}", daemon.namespace());
    let program = programs::bin_dir().join("hshim");
    let output = Command::new(program).args(["--root", &root, "events", &format!("bundle/{id}"), "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = list["items"].as_array().unwrap().iter().filter(|event| event["reason"] == "RestartOwner");
    let mut events: Vec<(String, String)> =
        events.map(|event| (event["lastTimestamp"].to_string(), event["message"].as_str().unwrap().to_owned())).collect();
    events.sort();
    events.into_iter().map(|(_, message)| message).collect()
}

fn end(task: Task) {
    kill(task.init(), Signal::SIGKILL).unwrap();
}

#[test]
fn a_shim_restarts_while_containerd_is_dead_and_hands_ends_on_when_it_is_back() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let first = detach(&daemon, "c1", &[ALWAYS, AUTO], LIFE);
    until_lives(&daemon, "c1", 1);
    assert_eq!(changes(&daemon, "c1"), Vec::<String>::new());
    daemon.crash();
    until("the change is recorded", || changes(&daemon, "c1").len() == 1);
    assert!(changes(&daemon, "c1")[0].contains("not connected"), "{:?}", changes(&daemon, "c1"));
    end(first);
    until_lives(&daemon, "c1", 2);
    daemon.serve();
    let events = EventStream::open(&daemon);
    until("this change is recorded, too", || changes(&daemon, "c1").len() == 2);
    let second = daemon.task("c1").unwrap();
    assert!(second.runs() && second.pid != first.pid, "{second:?}");
    end(second);
    let exit = for_value("the end is handed on", || {
        events.of("c1").into_iter().find(|event| event.topic == "/tasks/exit" && event.body["id"] == "c1")
    });
    assert_eq!((&exit.body["exit_status"], &exit.body["pid"]), (&137.into(), &second.pid.into()));
    assert_eq!(daemon.wait_stopped("c1"), 137);
    assert_eq!(lives(&daemon.output("c1")), 2, "and nobody here starts it again");
    daemon.remove("c1");
    daemon.finish();
}
