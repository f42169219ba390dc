//! Wrong usage: exit code 2, the reason, and nothing done.

use crate::scene::{Node, text};
use hshim_tests::scratch::Scratch;

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    let rows: &[(&[&str], &str)] = &[
        (&["get"], "pods|pod/NAME"),
        (&["get", "nodes"], "\"nodes\" is no kind of resource"),
        (&["get", "node/x"], "\"node\" is no kind of resource"),
        (&["get", "pods", "-o", "xml"], "invalid value 'xml'"),
        (&["get", "pods", "-A", "--namespace", "x"], "cannot be used with"),
        (&["get", "pod", "x", "-A"], "cannot be named across all namespaces"),
        (&["get", "pods", "--namespace", "../x"], "--namespace"),
        (&["get", "pod/../x"], "is not the name of a pod"),
        (&["get", "bundle/x"], "bundle/x is no pod"),
        (&["describe"], "required"),
        (&["describe", "a", "b"], "one pod can be named here, not 2"),
        (&["logs", "web", "--tail", "many"], "--tail"),
        (&["logs", "web", "--tail", "-2"], "--tail"),
        (&["logs", "web", "--since", "yesterday"], "a number and a unit, as in 10s, 5m or 1h30m"),
        (&["logs", "web", "-f", "--previous"], "cannot be used with"),
        (&["events", "node/x"], "no kind of resource"),
        (&["why"], "required"),
        (&["exec", "pod/web"], "Usage: hshim exec <pod/NAME> -- <COMMAND>..."),
        (&["exec", "pod/web", "ls"], "unexpected argument 'ls'"),
        (&["restart"], "required"),
        (&["frobnicate"], "unrecognized subcommand"),
    ];
    let scratch = Scratch::new();
    for (args, reason) in rows {
        let root = scratch.join("run");
        let mut command = std::process::Command::new(hshim_tests::programs::hshim());
        let output = command.arg("--root").arg(&root).args(*args).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.starts_with("hshim: ") && errors.contains(reason), "{args:?}: {errors}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert!(!root.exists(), "{args:?} made something");
    }
}

#[test]
fn what_is_not_there_is_told_with_exit_code_1() {
    crate::needs_containers!();
    let node = Node::new();
    for verb in [
        &["get", "pod/none"][..],
        &["describe", "pod/none"],
        &["logs", "none"],
        &["events", "pod/none"],
        &["why", "none"],
        &["restart", "none"],
    ] {
        let refusal = node.refused(1, verb);
        assert!(refusal.contains("pod/none not found in namespace default"), "{verb:?}: {refusal}");
    }
    assert!(node.refused(1, &["why", "bundle/none"]).contains("bundle/none not found"));
}
