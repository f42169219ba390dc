//! A pod whose shim was killed, and command lines that are killed.

use hshim_tests::wait;

use crate::needs_containers;
use crate::scene::{Node, text};

#[test]
fn an_unsupervised_pod_is_shown_as_that_and_can_be_entered_and_deleted() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("echo up; while :; do echo tick; sleep 0.1; done");
    node.until_running("web");
    wait::until("it wrote", || node.ok(&["logs", "web"]).contains("tick"));
    node.kill_shim("web");
    assert_eq!(node.status("web"), "Unsupervised");
    let pod = node.json(&["get", "pod/web", "-o", "json"]);
    assert_eq!((pod["status"]["reason"].as_str(), pod["status"]["phase"].as_str()), (Some("Unsupervised"), Some("Running")));
    assert!(node.ok(&["describe", "pod/web"]).contains("Status:       Unsupervised\n"));
    assert!(node.ok(&["why", "web"]).starts_with("pod/web is unsupervised: its shim is gone"));
    assert!(node.ok(&["logs", "web"]).starts_with("up\n"));
    assert_eq!(node.ok(&["exec", "pod/web", "--", "echo", "alive"]), "alive\n");
    let refusal = node.refused(1, &["restart", "pod/web"]);
    assert!(refusal.contains("pod/web is unsupervised"), "{refusal}");
    node.delete("default", "web");
    assert!(!node.supervision_dir("default", "web").exists());
    assert_eq!(text(&node.run(&["get", "pods"]).stdout), "");
    assert_eq!(node.scratch.mounts(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_command_line_that_is_killed_changes_nothing() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("exec sleep 1000");
    node.until_running("web");
    let before = node.json(&["get", "pod/web", "-o", "json"]);
    for args in [&["get", "pods", "-w"][..], &["logs", "-f", "web"], &["events", "-w"]] {
        // Killed when it is dropped.
        drop(node.stream(args));
    }
    let mut exec = node.command(&["exec", "pod/web", "--", "sleep", "1000"]).spawn().unwrap();
    let processes = || node.ok(&["ps", "--format", "json", "default_web_main"]).matches(',').count();
    wait::until("the command runs", || processes() == 1);
    exec.kill().unwrap();
    exec.wait().unwrap();
    assert_eq!(node.json(&["get", "pod/web", "-o", "json"]), before);
}
