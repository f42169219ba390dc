//! `exec pod/NAME` and `restart pod/NAME`.

use std::io::Write;
use std::process::Stdio;

use hshim_tests::wait;

use crate::needs_containers;
use crate::scene::{Node, spec, text};

#[test]
fn a_command_runs_in_the_container_that_is_meant_and_ends_as_it_ends() {
    needs_containers!();
    let mut node = Node::new();
    node.apply("default", "web", spec(&[("main", "exec sleep 1000"), ("side", "exec sleep 2000")]));
    wait::until("both run", || node.status("web") == "Running");
    let args = |container: &str| node.ok(&["exec", "pod/web", "-c", container, "--", "cat", "/proc/1/cmdline"]);
    assert_eq!((args("main").as_str(), args("side").as_str()), ("sleep\x001000\0", "sleep\x002000\0"));
    let output = node.run(&["exec", "pod/web", "--", "true"]);
    assert_eq!(text(&output.stderr), "Defaulted container \"main\" out of: main, side\n");
    for (command, code) in
        [(&["sh", "-c", "exit 7"][..], 7), (&["sh", "-c", "kill -9 $$"], 137), (&["nosuch"], 127), (&["/etc"], 126)]
    {
        let args: Vec<&str> = ["exec", "-c", "main", "pod/web", "--"].iter().chain(command).copied().collect();
        node.refused(code, &args);
    }
    let refusal = node.refused(1, &["exec", "pod/none", "--", "true"]);
    assert!(refusal.contains("pod/none not found"), "{refusal}");
    let refusal = node.refused(1, &["exec", "pod/web", "-c", "none", "--", "true"]);
    assert!(refusal.contains("valid are main, side"), "{refusal}");
}

#[test]
fn standard_input_is_passed_on_when_asked_and_a_terminal_is_made_when_asked() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("exec sleep 1000");
    node.until_running("web");
    let with_input = |args: &[&str]| {
        let mut child = node.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A command that does not read its input is gone by now.
        child.stdin.take().unwrap().write_all(b"given\n").ok();
        text(&child.wait_with_output().unwrap().stdout)
    };
    assert_eq!(with_input(&["exec", "-i", "pod/web", "--", "cat"]), "given\n");
    assert_eq!(with_input(&["exec", "pod/web", "--", "cat"]), "");
    assert_eq!(node.ok(&["exec", "-t", "pod/web", "--", "sh", "-c", "test -t 0 && test -t 1 && echo yes"]), "yes\r\n");
}

#[test]
fn nothing_is_executed_in_a_container_that_does_not_run() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("exit 1");
    wait::until("it waits", || node.status("web") == "CrashLoopBackOff");
    let refusal = node.refused(1, &["exec", "pod/web", "--", "true"]);
    assert!(refusal.contains("cannot exec in container main, which is not running: CrashLoopBackOff"), "{refusal}");
}

#[test]
fn a_restart_is_of_the_container_that_is_meant_and_no_crash() {
    needs_containers!();
    let mut node = Node::new();
    node.apply("default", "web", spec(&[("main", "exec sleep 1000"), ("side", "exec sleep 1000")]));
    wait::until("both run", || node.status("web") == "Running" && node.is_running("web"));
    node.ok(&["restart", "pod/web", "-c", "side"]);
    wait::until("it was restarted", || node.container("web", 1)["restartCount"] == 1);
    assert_eq!(node.restarts("web"), 0);
    wait::until("both run", || node.status("web") == "Running");
    node.ok(&["restart", "pod", "web"]);
    wait::until("both were restarted", || node.restarts("web") == 1 && node.container("web", 1)["restartCount"] == 2);
    assert!(node.ok(&["why", "web"]).contains("a restart was asked for"));
    let refusal = node.refused(1, &["restart", "pod/web", "-c", "none"]);
    assert!(refusal.contains("valid are main, side"), "{refusal}");
}
