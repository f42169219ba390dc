//! Hard weather: containerd crashes and comes back, a shim is killed, a runtime hangs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hshim_tests::containerd::{Daemon, Message, Setting, shims_below, supervises};
use hshim_tests::wait::{for_value, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::api;
use crate::event_stream::EventStream;

#[test]
fn containers_live_through_a_crash_of_containerd() {
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let running = daemon.detach("runs", &[], &["sh", "-c", "while :; do echo tick; sleep 0.1; done"]);
    daemon.detach("ends", &[], &["sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done"]);
    until("the trap is set", || daemon.output("ends") == "ready\n");
    let ends = daemon.task("ends").unwrap();
    let shims = shims_below(daemon.home());
    daemon.crash();
    kill(ends.init(), Signal::SIGTERM).unwrap();
    until("it has ended", || kill(ends.init(), None).is_err());
    let before = daemon.output("runs").len();
    until("the other goes on", || daemon.output("runs").len() > before);
    daemon.serve();
    assert_eq!(daemon.task("runs"), Some(running));
    assert_eq!(daemon.wait_stopped("ends"), 4);
    assert_eq!(shims_below(daemon.home()), shims, "no shim was started or lost");
    assert_eq!(daemon.exec("runs", &["echo", "here"]).ok(), "here\n");
    for id in ["runs", "ends"] {
        daemon.remove(id);
    }
    daemon.finish();
}

#[test]
fn a_killed_shim_takes_its_container_along_and_the_exit_is_told() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let task = daemon.detach("c1", &[], &["sh", "-c", "sleep 1000 & sleep 1000"]);
    let shim = shims_below(daemon.home()).remove(0);
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    let exit = events.wait_for("c1", "/tasks/exit");
    assert_eq!((&exit.body["exit_status"], &exit.body["pid"]), (&137.into(), &task.pid.into()));
    events.wait_for("c1", "/tasks/delete");
    until("the container has ended", || kill(task.init(), None).is_err());
    assert_eq!(daemon.task("c1"), None);
    // The reference's socket stays until somebody needs its name.
    assert!(!supervises() || !daemon.shim_socket("c1").exists());
    let again = daemon.ctr(&["task", "start", "--detach", "--null-io", "c1"]);
    assert_eq!(again.status, 0, "{}", again.stderr);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_shim_that_is_asked_to_end_does_so_and_containerd_clears_its_container_away() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let task = daemon.detach("c1", &[], &["sleep", "1000"]);
    let shim = shims_below(daemon.home()).remove(0);
    kill(Pid::from_raw(shim.pid), Signal::SIGTERM).unwrap();
    let begin = std::time::Instant::now();
    until("the shim has ended", || shims_below(daemon.home()).is_empty());
    assert!(begin.elapsed() < std::time::Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(events.wait_for("c1", "/tasks/exit").body["exit_status"], 137);
    events.wait_for("c1", "/tasks/delete");
    until("the container has ended", || kill(task.init(), None).is_err());
    assert_eq!(daemon.task("c1"), None);
    assert!(!daemon.shim_socket("c1").exists());
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_shim_that_is_killed_while_containerd_is_away_is_cleaned_up_after() {
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let task = daemon.detach("c1", &[], &["sleep", "1000"]);
    let shim = shims_below(daemon.home()).remove(0);
    daemon.crash();
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    until("the shim is gone", || shims_below(daemon.home()).is_empty());
    daemon.serve();
    until("the container has ended", || kill(task.init(), None).is_err());
    assert_eq!(daemon.task("c1"), None);
    assert!(!supervises() || !daemon.shim_socket("c1").exists());
    daemon.ctr(&["task", "start", "--detach", "--null-io", "c1"]).ok();
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn another_runtime_can_be_named() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let (program, calls) = (daemon.home().join("runtime"), daemon.home().join("calls"));
    write_program(&program, &format!("echo \"$@\" >>{}\nexec runc \"$@\"\n", calls.display()));
    let options = Message::new().text(6, program.to_str().unwrap());
    api::create(&daemon, "c1", &["sh", "-c", "exit 5"], Some(&options)).unwrap();
    let end = api::wait(&daemon, "c1");
    api::start(&daemon, "c1").unwrap();
    assert_eq!(end.join().unwrap(), Ok(5));
    daemon.remove("c1");
    let calls = fs::read_to_string(calls).unwrap();
    for verb in ["create", "start", "delete"] {
        assert!(calls.split_whitespace().any(|word| word == verb), "no {verb} in {calls}");
    }
    daemon.finish();
}

#[test]
fn a_runtime_that_hangs_holds_up_nobody_else() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let (program, hung) = (daemon.home().join("runtime"), daemon.home().join("hung"));
    let script =
        format!("case \" $* \" in *\" create \"*) echo $$ >{}; exec sleep 1000;; esac\nexec runc \"$@\"\n", hung.display());
    write_program(&program, &script);
    daemon.remember("g1");
    // The reference locks up a whole group meanwhile: there the two have a shim each.
    let group = if supervises() { "g1" } else { "stuck" };
    let options = Message::new().text(6, program.to_str().unwrap());
    daemon.detach("good", &["--annotation", "io.containerd.runc.v2.group=g1"], &["sleep", "1000"]);
    let (stuck, status, answer) = std::thread::scope(|scope| {
        let stuck = scope.spawn(|| api::create_in_group(&daemon, "stuck", group, &options));
        let pid = for_value("the runtime hangs", || fs::read_to_string(&hung).ok()?.trim().parse().ok());
        let (status, answer) = (daemon.task("good"), daemon.exec("good", &["echo", "here"]));
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        (stuck.join().unwrap(), status, answer)
    });
    assert!(status.is_some_and(|task| task.runs()), "{status:?}");
    assert_eq!(answer.ok(), "here\n");
    assert!(stuck.is_err(), "a container that was not created is not said to be");
    assert_eq!(daemon.task("stuck"), None);
    daemon.ctr(&["container", "rm", "stuck"]).ok();
    assert!(daemon.task("good").unwrap().runs());
    daemon.remove("good");
    daemon.finish();
}

fn write_program(path: &std::path::Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
