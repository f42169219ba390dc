//! `logs`: what was written.

use hshim_tests::wait;

use crate::needs_containers;
use crate::scene::{Node, spec, text};

#[test]
fn logs_are_of_the_life_and_the_container_that_is_meant() {
    needs_containers!();
    let mut node = Node::new();
    let script = "test -e /work/second && echo second || echo first; echo wrong >&2; touch /work/second; test -e /work/stay || { touch /work/stay; exit 1; }; exec sleep 1000";
    let mut pod = spec(&[("main", script), ("side", "echo beside; exec sleep 1000")]);
    pod["volumes"] = serde_json::json!([{"name": "work", "emptyDir": {}}]);
    pod["containers"][0]["volumeMounts"] = serde_json::json!([{"name": "work", "mountPath": "/work"}]);
    node.apply("default", "web", pod);
    wait::until("it was restarted", || node.restarts("web") == 1 && node.is_running("web"));
    let sorted = |log: String| {
        let mut lines: Vec<String> = log.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    wait::until("the second life wrote", || node.ok(&["logs", "pod/web", "-c", "main"]).lines().count() == 2);
    assert_eq!(sorted(node.ok(&["logs", "web", "-c", "main"])), ["second", "wrong"]);
    assert_eq!(sorted(node.ok(&["logs", "pod/web", "--previous", "-c", "main"])), ["first", "wrong"]);
    assert_eq!(node.ok(&["logs", "pod", "web", "-c", "side"]), "beside\n");
    let output = node.run(&["logs", "pod/web"]);
    assert_eq!(text(&output.stderr), "Defaulted container \"main\" out of: main, side\n");
    let refusal = node.refused(1, &["logs", "pod/web", "-c", "none"]);
    assert!(refusal.contains("container none is not valid for pod web: valid are main, side"), "{refusal}");
    let refusal = node.refused(1, &["logs", "pod/web", "-c", "side", "--previous"]);
    assert!(refusal.contains("previous terminated container \"side\" in pod \"web\" not found"), "{refusal}");
}

#[test]
fn the_dead_life_of_a_pod_in_back_off_is_the_present_and_the_previous_one() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("echo last words; exit 1");
    wait::until("it waits", || node.status("web") == "CrashLoopBackOff");
    assert_eq!(node.ok(&["logs", "web"]), "last words\n");
    assert_eq!(node.ok(&["logs", "web", "--previous"]), "last words\n");
}

#[test]
fn the_end_the_recent_and_the_times_can_be_asked_for() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("for i in 1 2 3 4 5; do echo line $i; done; printf unfinished; exec sleep 1000");
    wait::until("it runs", || node.status("web") == "Running");
    wait::until("it wrote", || node.ok(&["logs", "web"]).contains("line 5\n"));
    assert_eq!(node.ok(&["logs", "web", "--tail", "2"]).lines().collect::<Vec<_>>()[..2], ["line 4", "line 5"]);
    assert_eq!(node.ok(&["logs", "web", "--tail=0"]), "");
    assert!(node.ok(&["logs", "web", "--tail=-1"]).starts_with("line 1\n"));
    let stamped = node.ok(&["logs", "web", "--timestamps", "--tail", "1"]);
    let (time, line) = stamped.trim_end().split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.contains('T') && line == "line 5", "{stamped}");
    assert!(node.ok(&["logs", "web", "--since", "1h"]).starts_with("line 1\n"));
    wait::until("the lines are older than a second", || !node.ok(&["logs", "web", "--since", "1s"]).contains("line"));
}

#[test]
fn a_log_of_several_files_is_one_log() {
    needs_containers!();
    let mut node = Node::new();
    let mut pod = spec(&[("main", "seq 1 300000")]);
    pod["restartPolicy"] = "Never".into();
    node.apply("default", "web", pod);
    // From the beginning, over every rotation, to the end.
    let followed = node.ok(&["logs", "-f", "web"]);
    wait::until("it has ended", || node.status("web") == "Completed");
    let whole = node.ok(&["logs", "web"]);
    assert_eq!(whole.lines().count(), 300_000);
    assert!(whole.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()), "in order, none lost, none twice");
    assert_eq!(followed.lines().count(), 300_000);
    assert!(followed == whole);
    assert_eq!(node.ok(&["logs", "web", "--tail", "200000"]).lines().next(), Some("100001"), "the tail goes over files");
}

#[test]
fn a_container_that_could_not_be_started_has_an_empty_log() {
    needs_containers!();
    let mut node = Node::new();
    let mut pod = spec(&[("main", "echo never")]);
    // The image has the command, the container has not.
    pod["volumes"] = serde_json::json!([{"name": "empty", "emptyDir": {}}]);
    pod["containers"][0]["volumeMounts"] = serde_json::json!([{"name": "empty", "mountPath": "/bin"}]);
    node.apply("default", "web", pod);
    let says = |args: &[&str]| Some(node.run(args)).filter(|said| said.status.success()).map(|said| said.stdout);
    let tells = |args: &[&str], what: &str| says(args).is_some_and(|said| String::from_utf8_lossy(&said).contains(what));
    wait::until("it could not be started", || tells(&["why", "web"], "it could not be started"));
    // While the next attempt is being made there is no log yet, and that is said.
    wait::until("its log is empty", || says(&["logs", "web"]).is_some_and(|said| said.is_empty()));
    wait::until("the reason is told", || tells(&["describe", "pod/web"], "executable file not found"));
}
