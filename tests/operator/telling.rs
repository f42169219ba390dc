//! `describe`, `events` and `why`: what is told about a pod.

use hshim_tests::wait;
use serde_json::json;

use crate::needs_containers;
use crate::scene::{Node, probed, spec};

fn restarted_by_its_probe() -> Node {
    let mut node = Node::new();
    let mut spec = probed("touch /tmp/healthy; sleep 2; rm /tmp/healthy; exec sleep 1000");
    spec["containers"][0]["env"] = json!([{"name": "COLOUR", "value": "blue"}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "work", "mountPath": "/work"}]);
    spec["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    node.apply("default", "web", spec);
    wait::until("it was restarted", || node.restarts("web") == 1 && node.is_running("web"));
    node
}

#[test]
fn a_pod_that_its_probe_restarted_is_described_and_explained() {
    needs_containers!();
    let node = restarted_by_its_probe();
    let page = node.ok(&["describe", "pod/web"]);
    for line in [
        "Name:         web\n",
        "Namespace:    default\n",
        "Labels:       app=web\n",
        "Annotations:  <none>\n",
        "Status:       Running\n",
        "  main:\n",
        "    Image:         busybox\n",
        "    State:          Running\n",
        "    Last State:     Terminated\n",
        "      Reason:       Error\n",
        "      Exit Code:    137\n",
        "    Restart Count:  1\n",
        "exec [cat /tmp/healthy] delay=0s timeout=1s period=1s #success=1 #failure=2\n",
        "      COLOUR:  blue\n",
        "      /work from work (rw)\n",
        "  Type                        Status\n",
        "  ContainersReady             True \n",
        "  Type     Reason     Age",
        "  ----     ------     ---",
        "Liveness probe failed: cat: can't open '/tmp/healthy': No such file or directory\n",
        "  Normal   Killing    ",
        "Container main failed liveness probe, will be restarted\n",
    ] {
        assert!(page.contains(line), "{line:?} is not in\n{page}");
    }
    assert!(page.lines().any(|line| line.contains("Unhealthy") && line.contains("(x2 over")), "{page}");
    for words in [&["describe", "pod", "web"][..], &["describe", "po/web"]] {
        assert!(node.ok(words).contains("Restart Count:  1"), "{words:?}");
    }
    let why = node.ok(&["why", "pod/web"]);
    for part in [
        "main: running since",
        "restarted once",
        "its liveness probe failed 2 times in a row: cat: can't open '/tmp/healthy'",
        "with exit code 137",
        "restarted at once",
    ] {
        assert!(why.contains(part), "{part:?} is not in\n{why}");
    }
}

#[test]
fn events_are_a_table_or_objects_of_one_pod_or_of_all() {
    needs_containers!();
    let mut node = restarted_by_its_probe();
    node.apply("other", "job", spec(&[("main", "sleep 1000")]));
    let table = node.ok(&["events", "pod/web"]);
    assert!(table.starts_with("LAST SEEN"), "{table}");
    assert!(table.lines().next().unwrap().ends_with("TYPE      REASON      OBJECT    MESSAGE"), "{table}");
    assert!(table.lines().any(|line| line.contains("Warning   Unhealthy   Pod/web   Liveness probe failed: cat")), "{table}");
    assert!(node.ok(&["events"]).contains("Pod/web"));
    let all = node.ok(&["events", "-A", "--no-headers"]);
    assert!(all.contains("Pod/web") && all.contains("other ") && all.contains("Pod/job"), "{all}");
    let list = node.json(&["events", "pod/web", "-o", "json"]);
    let events = list["items"].as_array().unwrap();
    let unhealthy = events.iter().find(|event| event["reason"] == "Unhealthy").unwrap();
    assert_eq!((unhealthy["type"].as_str(), unhealthy["count"].as_u64()), (Some("Warning"), Some(2)));
    assert_eq!(unhealthy["source"]["component"], "hshim");
    assert!(node.ok(&["events", "pod/web", "-o", "yaml"]).starts_with("apiVersion: v1\n"));
    let none = node.run(&["events", "--namespace", "empty"]);
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No events found in empty namespace.\n");
}

#[test]
fn why_tells_what_a_pod_in_back_off_waits_for_and_how_an_ended_one_ended() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("exit 7");
    wait::until("it waits", || node.status("web") == "CrashLoopBackOff");
    let why = node.ok(&["why", "web"]);
    assert!(why.contains("waits in back-off") && why.contains("it ended by itself") && why.contains("exit code 7"), "{why}");
    let mut ended = spec(&[("main", "exit 0")]);
    ended["restartPolicy"] = "OnFailure".into();
    node.apply("default", "job", ended);
    wait::until("it has ended", || node.status("job") == "Completed");
    let why = node.ok(&["why", "pod", "job"]);
    assert!(why.contains("restartPolicy OnFailure does not start it again"), "{why}");
}

#[test]
fn what_a_probe_prints_cannot_command_the_terminal() {
    needs_containers!();
    let mut node = Node::new();
    let mut spec = spec(&[("main", "sleep 1000")]);
    let command = json!(["sh", "-c", r"printf '\033[2Jgone\nsecond'; exit 1"]);
    spec["containers"][0]["readinessProbe"] = json!({"exec": {"command": command}, "periodSeconds": 1});
    node.apply("default", "web", spec);
    wait::until("its probe failed", || node.ok(&["events", "pod/web"]).contains("Unhealthy"));
    for args in [&["events", "pod/web"][..], &["describe", "pod/web"], &["why", "pod/web"]] {
        let told = node.ok(args);
        assert!(!told.contains('\u{1b}'), "{args:?}: {told:?}");
        assert!(told.contains("^[[2Jgone"), "{args:?}: {told:?}");
    }
}
