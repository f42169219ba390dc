//! `get`: every form of its output.

use hshim_tests::wait;
use serde_json::Value;

use crate::needs_containers;
use crate::scene::{Node, spec};

fn columns(line: &str) -> Vec<&str> {
    line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_table_has_kubectls_columns() {
    needs_containers!();
    let mut node = Node::new();
    let nothing = node.run(&["get", "pods"]);
    assert_eq!((nothing.status.code(), nothing.stdout.as_slice()), (Some(0), b"".as_slice()));
    assert_eq!(String::from_utf8_lossy(&nothing.stderr), "No resources found in default namespace.\n");
    node.apply("default", "web", spec(&[("main", "sleep 1000"), ("side", "sleep 1000")]));
    node.apply("other", "job", spec(&[("main", "sleep 1000")]));
    wait::until("both run", || node.ok(&["get", "pods"]).contains("2/2     Running"));
    let table = node.ok(&["get", "pods"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "NAME   READY   STATUS    RESTARTS   AGE");
    assert_eq!(columns(lines[1])[..4], ["web", "2/2", "Running", "0"]);
    assert!(columns(lines[1])[4].ends_with('s'), "{table}");
    assert_eq!(lines.len(), 2);
    for words in [&["get", "po"][..], &["get", "pod", "web"], &["get", "pod/web"]] {
        assert!(node.ok(words).starts_with(lines[0]), "{words:?}");
    }
    let all = node.ok(&["get", "pods", "-A"]);
    assert!(all.starts_with("NAMESPACE   NAME   READY   STATUS"), "{all}");
    assert_eq!(all.lines().skip(1).map(|line| columns(line)[..2].join("/")).collect::<Vec<_>>(), ["default/web", "other/job"]);
    let other = node.ok(&["get", "pods", "--namespace", "other", "--no-headers"]);
    assert!(other.starts_with("job ") && other.lines().count() == 1, "{other}");
    let wide = node.ok(&["get", "pods", "-o", "wide"]);
    assert!(wide.lines().next().unwrap().ends_with("NODE   NOMINATED NODE   READINESS GATES"), "{wide}");
    assert_eq!(columns(wide.lines().nth(1).unwrap()).len(), 9, "{wide}");
}

#[test]
fn objects_are_kubernetes_own() {
    needs_containers!();
    let mut node = Node::new();
    let empty = node.json(&["get", "pods", "-o", "json"]);
    assert_eq!((empty["kind"].as_str(), empty["items"].as_array().unwrap().len()), (Some("List"), 0));
    node.apply_web("exit 3");
    wait::until("it waits", || node.status("web") == "CrashLoopBackOff" && node.restarts("web") >= 1);
    let pod = node.json(&["get", "pod/web", "-o", "json"]);
    assert_eq!((pod["apiVersion"].as_str(), pod["kind"].as_str()), (Some("v1"), Some("Pod")));
    let metadata = &pod["metadata"];
    assert_eq!((metadata["name"].as_str(), metadata["labels"]["app"].as_str()), (Some("web"), Some("web")));
    assert!(metadata["uid"].as_str().unwrap().len() > 30 && metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(pod["spec"]["containers"][0]["command"][2], "exit 3");
    assert_eq!(pod["status"]["phase"], "Running");
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff", "{container}");
    let last = &container["lastState"]["terminated"];
    assert_eq!((last["reason"].as_str(), last["exitCode"].as_i64()), (Some("Error"), Some(3)), "{container}");
    assert_eq!((container["ready"].as_bool(), container["name"].as_str()), (Some(false), Some("main")));
    let ready: Vec<&Value> =
        pod["status"]["conditions"].as_array().unwrap().iter().filter(|condition| condition["type"] == "Ready").collect();
    assert_eq!((ready[0]["status"].as_str(), ready[0]["reason"].as_str()), (Some("False"), Some("ContainersNotReady")));
    let list = node.json(&["get", "pods", "-o", "json"]);
    assert_eq!(list["items"][0]["metadata"]["uid"], metadata["uid"]);
    let yaml = node.ok(&["get", "pod", "web", "-o", "yaml"]);
    assert!(yaml.starts_with("apiVersion: v1\nkind: Pod\n"), "{yaml}");
    assert!(yaml.contains("\n  phase: Running\n"), "{yaml}");
    assert_eq!(node.ok(&["get", "pods", "-o", "name"]), "pod/web\n");
}

#[test]
fn a_missing_pod_is_told_and_the_others_are_shown() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("sleep 1000");
    let output = node.run(&["get", "pods", "none", "web", "-o", "name"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"pod/web\n".as_slice()));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("pod/none not found in namespace default"), "{errors}");
    assert!(node.refused(1, &["get", "pod", "web", "--namespace", "other"]).contains("not found in namespace other"));
}

#[test]
fn a_pod_that_has_ended_says_how() {
    needs_containers!();
    let mut node = Node::new();
    for (name, script, word) in [("good", "exit 0", "Completed"), ("bad", "exit 1", "Error")] {
        let mut spec = spec(&[("main", script)]);
        spec["restartPolicy"] = "Never".into();
        node.apply("default", name, spec);
        wait::until("it has ended", || node.status(name) == word);
    }
    let output = node.run(&["get", "pods", "--no-headers"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!table.contains('\u{1b}'), "no colours in a pipe: {table}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    needs_containers!();
    let mut node = Node::new();
    let mut spec = spec(&[("main", "exit 1")]);
    spec["restartPolicy"] = "Never".into();
    node.apply("default", "web", spec);
    wait::until("it has ended", || node.status("web") == "Error");
    let seen = on_terminal(&node, &[("TERM", "xterm")]);
    assert!(seen.contains("\u{1b}[31mError\u{1b}[0m"), "{seen:?}");
    for refusal in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let seen = on_terminal(&node, &[("TERM", "xterm"), refusal]);
        assert!(seen.contains("Error") && !seen.contains('\u{1b}'), "{refusal:?}: {seen:?}");
    }
}

/// What `get pods` writes to a terminal.
fn on_terminal(node: &Node, environment: &[(&str, &str)]) -> String {
    use std::io::Read;
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = node.command(&["get", "pods"]);
    command.env_remove("NO_COLOR").envs(environment.iter().copied()).stdout(pty.slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut seen = Vec::new();
    // EIO tells that the last writer is gone.
    std::fs::File::from(pty.master).read_to_end(&mut seen).ok();
    assert!(child.wait().unwrap().success());
    String::from_utf8(seen).unwrap()
}
