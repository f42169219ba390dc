//! Tasks from `ctr`: how they start, are looked at, are steered and end.

use hshim_tests::containerd::{Daemon, Finished, Setting, cgroup_value, shims_below};
use hshim_tests::wait::until;

#[test]
fn a_task_ends_with_its_status_and_what_it_wrote() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    for status in [0, 1, 42, 255] {
        let script = format!("echo out; echo err >&2; exit {status}");
        let Finished { status: got, stdout, stderr } = daemon.run("c1", &["--rm"], &["sh", "-c", &script]);
        assert_eq!((got, stdout.as_str(), stderr.as_str()), (status, "out\n", "err\n"));
    }
    daemon.finish();
}

#[test]
fn a_command_that_does_not_exist_is_named_and_leaves_nothing() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let finished = daemon.run("c1", &[], &["no-such-command"]);
    assert_ne!(finished.status, 0);
    assert!(finished.stderr.contains("no-such-command"), "{}", finished.stderr);
    assert_eq!(daemon.task("c1"), None);
    daemon.finish();
}

#[test]
fn a_detached_task_is_shown_and_its_id_is_taken() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let task = daemon.detach("c1", &[], &["sh", "-c", "echo hello; sleep 1000"]);
    assert!(task.runs() && task.pid > 0, "{task:?}");
    until("its output is in the file", || daemon.output("c1") == "hello\n");
    let list = daemon.ctr(&["task", "ls"]).ok();
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["c1", task.pid.to_string().as_str(), "RUNNING"]);
    let processes = daemon.ctr(&["task", "ps", "c1"]).ok();
    assert!(processes.lines().skip(1).any(|line| line.split_whitespace().next() == Some(&task.pid.to_string())), "{processes}");
    assert_ne!(daemon.ctr(&["task", "start", "c1"]).status, 0, "a task cannot be started twice");
    assert_ne!(daemon.ctr(&["task", "rm", "c1"]).status, 0, "a running task cannot be deleted");
    assert_eq!(shims_below(daemon.home()).len(), 1);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn signals_end_a_task_as_its_status_says() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let script = "trap 'exit 9' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    for (signal, status) in [("SIGTERM", 9), ("SIGKILL", 137)] {
        daemon.detach("c1", &[], &["sh", "-c", script]);
        until("its traps are set", || daemon.output("c1").ends_with("ready\n"));
        daemon.ctr(&["task", "kill", "--signal", "SIGUSR1", "c1"]).ok();
        until("the signal arrives", || daemon.output("c1").ends_with("usr1\n"));
        daemon.ctr(&["task", "kill", "--signal", signal, "c1"]).ok();
        assert_eq!(daemon.wait_stopped("c1"), status);
        assert_ne!(daemon.ctr(&["task", "kill", "c1"]).status, 0, "a stopped task cannot be killed");
        daemon.remove("c1");
    }
    daemon.finish();
}

#[test]
fn all_processes_can_be_killed_at_once() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &[], &["sh", "-c", "sleep 1000 & sleep 1000 & wait; wait"]);
    daemon.ctr(&["task", "kill", "--all", "--signal", "SIGKILL", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 137);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_paused_task_stands_still_and_goes_on() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &[], &["sh", "-c", "while :; do echo tick; sleep 0.01; done"]);
    until("it ticks", || !daemon.output("c1").is_empty());
    daemon.ctr(&["task", "pause", "c1"]).ok();
    assert_eq!(daemon.task("c1").unwrap().status, "PAUSED");
    until("its pipe is dry", || {
        let before = daemon.output("c1").len();
        daemon.exec("c1", &["true"]).status != 0 && daemon.output("c1").len() == before
    });
    daemon.ctr(&["task", "resume", "c1"]).ok();
    assert!(daemon.task("c1").unwrap().runs());
    let before = daemon.output("c1").len();
    until("it ticks again", || daemon.output("c1").len() > before);
    daemon.ctr(&["task", "pause", "c1"]).ok();
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 137, "a paused task can be killed");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn limits_can_be_updated_and_metrics_show_them() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &["--memory-limit", "67108864"], &["sleep", "1000"]);
    let cgroup = format!("{}/c1", daemon.name());
    let limit = || cgroup_value(&cgroup, &["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(limit().as_deref(), Some("67108864"));
    crate::api::update(&daemon, "c1", r#"{"memory":{"limit":33554432}}"#);
    assert_eq!(limit().as_deref(), Some("33554432"));
    let metrics = daemon.ctr(&["task", "metrics", "--format", "json", "c1"]).ok();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let memory = metrics.pointer("/memory/usage/limit").or_else(|| metrics.pointer("/memory/usage_limit"));
    assert_eq!(memory.and_then(serde_json::Value::as_u64), Some(33_554_432), "{metrics}");
    let cpu = metrics.pointer("/cpu/usage/total").or_else(|| metrics.pointer("/cpu/usage_usec"));
    assert!(cpu.and_then(serde_json::Value::as_u64).is_some_and(|time| time > 0), "{metrics}");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn commands_run_beside_init() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &["--env", "COLOUR=red"], &["sleep", "1000"]);
    let finished = daemon.exec("c1", &["sh", "-c", "echo $COLOUR $(tr '\\0' ' ' < /proc/1/cmdline); echo err >&2; exit 7"]);
    assert_eq!((finished.status, finished.stdout.as_str(), finished.stderr.as_str()), (7, "red sleep 1000\n", "err\n"));
    let missing = daemon.exec("c1", &["no-such-command"]);
    assert!(missing.status != 0 && missing.stderr.contains("no-such-command"), "{missing:?}");
    let mut long = daemon.start_exec("c1", &[], &["sh", "-c", "echo here; exec sleep 1000"]);
    until("the command runs", || long.stdout() == "here\n");
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    until("the command ends with its container", || !long.is_running());
    assert_eq!(long.finish().status, 137);
    assert_ne!(daemon.exec("c1", &["true"]).status, 0, "nothing runs in a stopped container");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_created_task_can_be_killed_and_deleted_before_it_is_started() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    for kill in [true, false] {
        let task = crate::api::create(&daemon, "c1", &["sleep", "1000"], None).unwrap();
        assert!(task > 0);
        assert_eq!(daemon.task("c1").unwrap().status, "CREATED");
        if kill {
            daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
            assert_eq!(daemon.wait_stopped("c1"), 137);
        }
        daemon.ctr(&["task", "rm", "--force", "c1"]).ok();
        daemon.remove("c1");
    }
    daemon.finish();
}

#[test]
fn an_id_can_be_used_again_at_once() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    for _ in 0..15 {
        daemon.run("c1", &["--rm"], &["true"]).ok();
    }
    daemon.finish();
}
