//! kill: names and numbers of signals, states in which it is refused, and --all.

use hshim_tests::wait;

use crate::support::*;

/// Exits with 7 on TERM, 8 on USR1, 9 on HUP.
const TRAPS: &str = "trap 'exit 7' TERM; trap 'exit 8' USR1; trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done";

/// The exit code of the traps after this `kill`.
fn code_after(signal: &[&str]) -> Option<i32> {
    let bundle = hshim_tests::bundle::Bundle::new(TRAPS);
    let out = std::fs::File::create(bundle.scratch.join("out")).unwrap();
    let mut run = bundle.command(&["run", bundle.id()]).stdout(out).spawn().unwrap();
    wait::until("the traps are set", || bundle.stdout() == "ready\n");
    let args: Vec<&str> = ["kill", bundle.id()].into_iter().chain(signal.iter().copied()).collect();
    bundle.ok(&args);
    run.wait().unwrap().code()
}

#[test]
fn the_default_is_term() {
    needs_containers!();
    assert_eq!(code_after(&[]), Some(7));
}

#[test]
fn a_signal_is_named_without_sig() {
    needs_containers!();
    assert_eq!(code_after(&["USR1"]), Some(8));
}

#[test]
fn a_signal_is_named_with_sig() {
    needs_containers!();
    assert_eq!(code_after(&["SIGUSR1"]), Some(8));
}

#[test]
fn a_signal_is_named_in_lower_case() {
    needs_containers!();
    assert_eq!(code_after(&["hup"]), Some(9));
}

#[test]
fn a_signal_is_a_number() {
    needs_containers!();
    assert_eq!(code_after(&["10"]), Some(8));
}

#[test]
fn an_unknown_signal_is_refused_and_nothing_is_sent() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    for signal in ["NOSUCH", "SIG", "9x"] {
        bundle.refused(&["kill", bundle.id(), signal]);
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn kill_of_an_absent_container_is_refused() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["kill", bundle.id(), "KILL"]);
    assert!(errors.contains("does not exist"), "{errors}");
}

#[test]
fn kill_of_a_stopped_container_is_refused() {
    let bundle = bundle!("true");
    bundle.run_detached();
    await_status(&bundle, "stopped");
    let errors = bundle.refused(&["kill", bundle.id(), "KILL"]);
    assert!(errors.contains("container not running"), "{errors}");
}

#[test]
fn a_created_container_can_be_killed_and_is_stopped_then() {
    let bundle = bundle!("echo ran");
    bundle.create();
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    await_status(&bundle, "stopped");
    bundle.refused(&["start", bundle.id()]);
    assert_eq!(bundle.stdout(), "");
    bundle.ok(&["delete", bundle.id()]);
}

#[test]
fn a_signal_that_init_does_not_handle_leaves_a_created_container_created() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    bundle.ok(&["kill", bundle.id(), "0"]);
    assert_eq!(bundle.status(), "created");
    bundle.ok(&["start", bundle.id()]);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn init_of_a_pid_namespace_ignores_what_it_does_not_handle() {
    let bundle = bundle!("exec sleep 1000");
    bundle.run_detached();
    bundle.ok(&["kill", bundle.id(), "TERM"]);
    bundle.ok(&["exec", bundle.id(), "true"]);
    assert_eq!(bundle.status(), "running");
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    await_status(&bundle, "stopped");
}

#[test]
fn all_means_every_process() {
    let bundle = bundle!("trap '' USR1; (trap 'echo child; exit' USR1; echo up; while :; do sleep 0.05; done) & wait; wait");
    bundle.run_detached();
    wait::until("the child is up", || bundle.stdout() == "up\n");
    bundle.ok(&["kill", "--all", bundle.id(), "USR1"]);
    wait::until("the child hears it", || bundle.stdout() == "up\nchild\n");
}

#[test]
fn all_reaches_what_is_left_without_a_pid_namespace() {
    let mut bundle = bundle!("sleep 1000 & echo up; exit 0");
    bundle.edit(|config| without_namespace(config, "pid"));
    bundle.run_detached();
    await_status(&bundle, "stopped");
    let left = || {
        let pids: Option<Vec<i32>> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", bundle.id()])).unwrap();
        pids.unwrap_or_default().len()
    };
    assert_eq!(left(), 1, "the child outlives init");
    bundle.ok(&["kill", "-a", bundle.id(), "KILL"]);
    wait::until("it is gone", || left() == 0);
    bundle.ok(&["delete", bundle.id()]);
}

#[test]
fn delete_with_force_ends_what_is_left_without_a_pid_namespace() {
    let mut bundle = bundle!("sleep 1000 & echo $! > /child; sleep 1000");
    bundle.edit(|config| without_namespace(config, "pid"));
    bundle.run_detached();
    let child = wait::for_value("the child's id", || {
        std::fs::read_to_string(bundle.rootfs().join("child")).ok().filter(|text| text.ends_with('\n'))
    });
    bundle.ok(&["delete", "-f", bundle.id()]);
    let status = format!("/proc/{}/cmdline", child.trim());
    wait::until("the child is gone", || std::fs::read_to_string(&status).unwrap_or_default().is_empty());
}
