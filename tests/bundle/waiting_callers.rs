//! Callers that wait for the end: `run` in the foreground, and whoever waits for the process of a pid file.

use std::fs::{self, File};
use std::process::{Child, ExitStatus};

use hshim_tests::bundle::Bundle;
use hshim_tests::{skip, wait};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::scene::{HEALTHY, SHORT, Supervised, bundle};

/// `run` in the foreground, with its output in the file `out`.
fn run(bundle: &Bundle) -> Child {
    let out = File::create(bundle.scratch.join("out")).unwrap();
    bundle.command(&["run", bundle.id()]).stdout(out).spawn().unwrap()
}

fn ended(child: &mut Child) -> ExitStatus {
    wait::for_value("run ends", || child.try_wait().unwrap())
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn run_returns_the_final_exit_and_leaves_nothing_behind() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    // The root file system is the bundle's own, so what a life leaves there the next one finds.
    let script = "echo life; test -e /second && exit 0; test -e /first && touch /second; touch /first; exit 3";
    let retried = bundle(script, &[("restartPolicy", "OnFailure"), SHORT]);
    assert_eq!(ended(&mut run(&retried)).code(), Some(0));
    assert_eq!(retried.stdout(), "life\nlife\nlife\n");
    assert!(retried.traces().is_empty(), "{:?}", retried.traces());
    let once = bundle("exit 3", &[("restartPolicy", "Never")]);
    assert_eq!(ended(&mut run(&once)).code(), Some(3));
    assert!(once.traces().is_empty(), "{:?}", once.traces());
}

#[test]
fn run_hands_signals_on_and_a_terminating_one_ends_supervision() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let script = "trap 'echo usr1' USR1; trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let bundle = bundle(script, &[("restartPolicy", "Always")]);
    let mut run = run(&bundle);
    wait::until("it runs", || bundle.stdout() == "up\n");
    signal(&run, Signal::SIGUSR1);
    wait::until("it got the signal", || bundle.stdout() == "up\nusr1\n");
    signal(&run, Signal::SIGTERM);
    assert_eq!(ended(&mut run).code(), Some(5));
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn supervision_goes_on_when_run_is_killed() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let script = "trap 'exit 1' USR1; echo up; while :; do sleep 0.05; done";
    let bundle = bundle(script, &[("restartPolicy", "Always"), SHORT]);
    let mut run = run(&bundle);
    wait::until("it runs", || bundle.stdout() == "up\n");
    run.kill().unwrap();
    run.wait().unwrap();
    wait::until("it is known to run", || bundle.phase() == "Running");
    bundle.ok(&["kill", bundle.id(), "USR1"]);
    wait::until("it was restarted", || bundle.stdout() == "up\nup\n" && bundle.restarts() == 1);
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_caller_with_a_pid_file_keeps_its_container_and_is_warned() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("sleep 1000", &[HEALTHY]);
    assert!(bundle.detached(&["create", "--pid-file", "pid", bundle.id()]).success());
    assert!(bundle.stderr().contains("health is asked for and is off"), "{}", bundle.stderr());
    assert!(!bundle.dir_of_supervision().exists());
    assert_eq!(fs::read_to_string(bundle.dir().join("pid")).unwrap(), bundle.pid().to_string());
}

#[test]
fn under_always_the_pid_file_names_a_process_that_ends_as_the_container_did() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    // As conmon: whoever is left without a parent becomes ours.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    for (script, signal, code) in [("exit 3", None, 3), ("exec sleep 1000", Some("KILL"), 137)] {
        let bundle = bundle(script, &[HEALTHY]);
        assert!(bundle.detached(&["create", "--supervise=always", "--pid-file", "pid", bundle.id()]).success());
        let shim = fs::read_to_string(bundle.dir().join("pid")).unwrap().parse().map(Pid::from_raw).unwrap();
        assert_eq!(shim, bundle.shim());
        bundle.ok(&["start", bundle.id()]);
        if let Some(signal) = signal {
            bundle.ok(&["kill", bundle.id(), signal]);
        }
        assert_eq!(waitpid(shim, None).unwrap(), WaitStatus::Exited(shim, code));
        assert_eq!((bundle.status().as_str(), bundle.phase().as_str()), ("stopped", "Error"));
        bundle.ok(&["delete", bundle.id()]);
        assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
    }
}

#[test]
fn run_with_a_pid_file_under_always_returns_the_final_exit_of_the_shortest_life() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exit 3", &[("restartPolicy", "Never")]);
    for _ in 0..5 {
        let output = bundle.runtime(&["run", "--supervise=always", "--pid-file", "pid", bundle.id()]);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
    }
}
