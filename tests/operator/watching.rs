//! `get -w` and `events -w`: lines as things happen, until nobody reads.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use hshim_tests::wait;
use serde_json::Value;

use crate::needs_containers;
use crate::scene::{Node, probed};

#[test]
fn get_prints_a_line_for_each_change_of_a_pod() {
    needs_containers!();
    let mut node = Node::new();
    let watch = node.stream(&["get", "pods", "-w"]);
    node.apply("default", "web", probed("touch /tmp/healthy; exec sleep 1000"));
    assert!(watch.next().unwrap().starts_with("NAME   READY   STATUS"));
    watch.until("it runs", |line| line.starts_with("web    1/1     Running") && line.contains(" 0 "));
    node.ok(&["exec", "pod/web", "--", "rm", "/tmp/healthy"]);
    let restarted = watch.until("it was restarted", |line| line.contains("1 (") && line.contains("1/1"));
    assert!(restarted.contains("s ago)"), "{restarted}");
    node.delete("default", "web");
    let columns = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>();
    let before = RefCell::new(columns(&watch.until("it ends", |line| line.contains("Terminating"))));
    // A line that shows no change: it is as it was last, and gone.
    watch.until("it is gone", |line| before.replace(columns(line)) == columns(line));
    node.apply_web("sleep 1000");
    watch.until("its successor runs", |line| line.contains("1/1     Running") && line.contains(" 0 "));
}

#[test]
fn a_watch_of_objects_is_json_lines_or_yaml_documents_or_names() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("sleep 1000");
    node.until_running("web");
    let json: Value = serde_json::from_str(&node.stream(&["get", "pods", "-w", "-o", "json"]).next().unwrap()).unwrap();
    assert_eq!((json["kind"].as_str(), json["status"]["phase"].as_str()), (Some("Pod"), Some("Running")));
    let yaml = node.stream(&["get", "pod", "web", "-w", "-o", "yaml"]);
    assert_eq!((yaml.next().unwrap().as_str(), yaml.next().unwrap().as_str()), ("---", "apiVersion: v1"));
    assert_eq!(node.stream(&["get", "pods", "-w", "-o", "name"]).next().unwrap(), "pod/web");
}

#[test]
fn a_watch_sees_that_the_shim_is_gone() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("sleep 1000");
    node.until_running("web");
    let watch = node.stream(&["get", "pods", "-w"]);
    watch.until("it runs", |line| line.contains("Running"));
    node.kill_shim("web");
    watch.until("nobody looks after it", |line| line.contains("Unsupervised"));
}

#[test]
fn events_are_printed_as_they_happen() {
    needs_containers!();
    let mut node = Node::new();
    node.apply("default", "web", probed("touch /tmp/healthy; exec sleep 1000"));
    node.until_running("web");
    let table = node.stream(&["events", "-w", "pod/web"]);
    let json = node.stream(&["events", "-w", "-o", "json"]);
    assert!(table.next().unwrap().starts_with("LAST SEEN   TYPE"));
    table.until("it was started", |line| line.contains("Started"));
    node.ok(&["exec", "pod/web", "--", "rm", "/tmp/healthy"]);
    table.until("a second failure is counted", |line| line.contains("Unhealthy") && line.contains("(x2 over"));
    table.until("it is killed", |line| line.contains("Killing") && line.contains("failed liveness probe, will be restarted"));
    let killing = json.until("it is killed", |line| line.contains("\"Killing\""));
    let event: Value = serde_json::from_str(&killing).unwrap();
    assert_eq!((event["kind"].as_str(), event["type"].as_str()), (Some("Event"), Some("Normal")));
    assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{main}");
}

#[test]
fn a_watch_whose_reader_has_gone_ends_quietly_and_at_once() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("sleep 1000");
    node.until_running("web");
    for args in [&["get", "pods", "-w"][..], &["events", "-w"], &["logs", "-f", "web"]] {
        let errors = node.scratch.join("errors");
        let mut command = node.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if args[0] != "logs" {
            stdout.read_line(&mut String::new()).unwrap();
        }
        drop(stdout);
        let status = wait::for_value("it ends", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{args:?}");
        assert_eq!(std::fs::read_to_string(&errors).unwrap(), "", "{args:?}");
    }
}
