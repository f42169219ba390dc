//! The removal of pods whose shim is gone, hangs, or takes its time.

use std::path::Path;

use hshim_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::Node;

fn pod(script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: a\n    image: busybox\n    command: [sh, -c, {script:?}]\n    \
         volumeMounts: [{{name: m, mountPath: /m}}]\n    livenessProbe: {{exec: {{command: [sleep, '60']}}, periodSeconds: 1, timeoutSeconds: 60}}\n  \
         - name: b\n    image: busybox\n    command: [sleep, '1000']\n  volumes: [{{name: m, emptyDir: {{medium: Memory}}}}]\n"
    )
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A pod without a shim: its containers run on.
fn orphaned(node: &Node, script: &str) -> [i32; 2] {
    node.apply(&pod(script));
    let pids = [node.wait_running("p", "a"), node.wait_running("p", "b")];
    node.log_until("p", "a", "ready");
    let shim = node.shim("p").unwrap();
    signal(shim, Signal::SIGKILL);
    wait::until("the shim is gone", || has_ended(shim));
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()), "the containers go on");
    pids
}

#[test]
fn a_pod_without_a_shim_is_asked_to_end_and_cleared_completely() {
    let Some(node) = Node::with_busybox() else { return };
    let pids = orphaned(&node, "trap 'echo asked > /m/asked; exit 0' TERM; echo ready; while :; do usleep 20000; done");
    let asked = node.data().join("pods").join(node.uid("p")).join("volumes/m/asked");
    let uid = node.uid("p");
    let error = node.refused(&["apply", "-f", &node.manifest(&pod("true"))]);
    assert_eq!(
        error,
        "hshim: pod/p: it is there, but nobody supervises it any more: delete it first (hshim delete pod/p --namespace default)\n"
    );
    // b does not heed the signal: it is killed when the grace is over.
    let mut delete =
        node.command(&["delete", "pod/p", "--grace-period", "2"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    wait::until("a has been asked", || asked.exists());
    assert!(delete.wait().unwrap().success());
    assert!(pids.into_iter().all(has_ended));
    assert_eq!(node.traces(&[uid]), [""; 0]);
}

#[test]
fn force_does_not_ask() {
    let Some(node) = Node::with_busybox() else { return };
    let pids = orphaned(&node, "trap '' TERM; echo ready; while :; do usleep 20000; done");
    let uid = node.uid("p");
    assert_eq!(node.ok(&["delete", "pods", "p", "--force"]), "pod \"p\" deleted\n");
    assert!(pids.into_iter().all(has_ended));
    assert_eq!(node.traces(&[uid]), [""; 0]);
}

#[test]
fn a_shim_that_hangs_is_named_and_force_kills_it() {
    let Some(node) = Node::with_busybox() else { return };
    node.apply(&pod("echo ready; sleep 1000"));
    node.wait_running("p", "a");
    let (uid, shim) = (node.uid("p"), node.shim("p").unwrap());
    signal(shim, Signal::SIGSTOP);
    let error = node.refused(&["delete", "pod/p"]);
    assert!(
        error.starts_with("hshim: pod/p: its supervisor does not answer: --force kills it and clears everything: "),
        "{error}"
    );
    assert_eq!(node.ok(&["delete", "pod/p", "--force"]), "pod \"p\" deleted\n");
    assert!(has_ended(shim));
    assert_eq!(node.traces(&[uid]), [""; 0]);
}

#[test]
fn without_waiting_the_shim_finishes_alone() {
    let Some(node) = Node::with_busybox() else { return };
    node.apply(&pod("echo ready; sleep 1000"));
    node.wait_running("p", "a");
    let uid = node.uid("p");
    assert_eq!(node.ok(&["delete", "pod/p", "--wait=false", "--grace-period=2"]), "pod \"p\" deleted\n");
    wait::until("it is gone", || !node.dir("p").exists());
    wait::until("all of it", || node.traces(std::slice::from_ref(&uid)).is_empty());
}
