//! The supervisor is killed: the container goes on, that is said, and everything can be cleared away.

use std::fs::File;

use hshim_tests::{skip, wait};

use crate::scene::{HEALTHY, SHORT, Supervised, bundle, has_ended};

#[test]
fn the_container_and_its_output_go_on_and_force_clears_everything() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("while :; do echo tick; sleep 0.05; done", &[HEALTHY]);
    bundle.run_detached();
    wait::until("it writes", || !bundle.stdout().is_empty());
    bundle.kill_shim();
    let before = bundle.stdout().len();
    wait::until("it goes on", || bundle.stdout().len() > before);
    assert_eq!((bundle.status().as_str(), bundle.phase().as_str()), ("running", "Unsupervised"));
    let refusal = bundle.refused(&["delete", bundle.id()]);
    assert!(refusal.contains("that is not stopped: running"), "{refusal}");
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_killed_container_without_a_supervisor_can_be_deleted_without_force() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exec sleep 1000", &[("restartPolicy", "Always")]);
    bundle.run_detached();
    bundle.kill_shim();
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it has ended", || bundle.status() == "stopped");
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_created_container_is_not_started_without_its_supervisor() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("sleep 1000", &[HEALTHY]);
    bundle.create();
    bundle.kill_shim();
    let refusal = bundle.refused(&["start", bundle.id()]);
    assert!(refusal.contains("its supervisor is gone"), "{refusal}");
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_supervisor_that_is_killed_between_two_lives_leaves_what_delete_can_clear() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exit 1", &[("restartPolicy", "Always")]);
    bundle.run_detached();
    wait::until("it waits", || bundle.phase() == "CrashLoopBackOff");
    bundle.kill_shim();
    assert_eq!((bundle.status().as_str(), bundle.phase().as_str()), ("stopped", "Unsupervised"));
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_supervisor_that_does_not_answer_is_killed_by_force_only() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exec sleep 1000", &[HEALTHY]);
    bundle.run_detached();
    let pid = nix::unistd::Pid::from_raw(bundle.pid());
    nix::sys::signal::kill(bundle.shim(), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let refusal = bundle.refused(&["delete", bundle.id()]);
    assert!(refusal.contains("ask the shim on") && refusal.contains("it does not answer"), "{refusal}");
    assert!(!has_ended(pid) && !has_ended(bundle.shim()));
    let shim = bundle.shim();
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(has_ended(pid) && has_ended(shim));
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn run_in_the_foreground_says_that_its_supervisor_is_gone() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let script = "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done";
    let bundle = bundle(script, &[("restartPolicy", "Always")]);
    let out = File::create(bundle.scratch.join("out")).unwrap();
    let err = File::create(bundle.scratch.join("err")).unwrap();
    let mut run = bundle.command(&["run", bundle.id()]).stdout(out).stderr(err).spawn().unwrap();
    wait::until("it runs", || bundle.stdout() == "up\n");
    let pid = nix::unistd::Pid::from_raw(bundle.pid());
    // A signal is handed on once it waits for the end.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.id().cast_signed()), nix::sys::signal::Signal::SIGUSR1).unwrap();
    wait::until("it waits", || bundle.stdout() == "up\nusr1\n");
    bundle.kill_shim();
    let status = wait::for_value("run ends", || run.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(bundle.stderr().contains("is gone, its container goes on without one"), "{}", bundle.stderr());
    assert!(!has_ended(pid));
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn whenever_create_is_killed_what_is_left_can_be_deleted() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    // Moments of the way from before the first directory to after the last: the machine decides which steps they hit.
    for step in 0..24 {
        let bundle = bundle("sleep 1000", &[HEALTHY, SHORT]);
        let mut create = bundle.command(&["create", bundle.id()]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(4 * step));
        create.kill().unwrap();
        create.wait().unwrap();
        // Its shim, if there is one, comes to know that the container is there, or that it is not.
        wait::until("it can be deleted", || bundle.runtime(&["delete", "--force", bundle.id()]).status.success());
        wait::until("nothing is left", || {
            drop(bundle.runtime(&["delete", "--force", bundle.id()]));
            bundle.traces().is_empty()
        });
    }
}
