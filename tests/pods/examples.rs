//! The three examples of Kubernetes' own documentation, byte for byte.

use std::fs;
use std::time::Duration;

use hshim_tests::image::Image;
use hshim_tests::{programs, wait};
use serde_json::json;

use crate::node::Node;

fn example(name: &str) -> String {
    programs::source_file(&format!("fixtures/examples/{name}")).to_str().unwrap().to_owned()
}

/// 30 s healthy, three failures 5 s apart, 30 s of grace, and the next life.
const CYCLE: Duration = Duration::from_secs(150);

#[test]
fn the_liveness_example_lives_fails_is_killed_and_restarted() {
    let Some(node) = Node::with_busybox() else { return };
    assert_eq!(node.ok(&["apply", "-f", &example("liveness-exec.yaml")]), "pod/test-liveness-exec created\n");
    let first = node.wait_running("test-liveness-exec", "liveness");
    wait::within(CYCLE, "its next life runs", || {
        node.restarts("test-liveness-exec", "liveness") == 1 && node.pid("test-liveness-exec", "liveness").is_some()
    });
    assert_ne!(node.pid("test-liveness-exec", "liveness"), Some(first));
    let events = node.events("test-liveness-exec");
    for event in [
        "Unhealthy: Liveness probe failed: cat: can't open '/tmp/healthy': No such file or directory",
        "Killing: Container liveness failed liveness probe, will be restarted",
    ] {
        assert!(events.iter().any(|other| other == event), "{event:?}: {events:#?}");
    }
    node.delete_without_trace("test-liveness-exec");
}

#[test]
fn the_website_example_says_that_its_image_is_missing_and_runs_when_it_is_there() {
    let Some(node) = Node::with_busybox() else { return };
    let file = example("website.yaml");
    assert_eq!(
        node.refused(&["apply", "-f", &file]),
        format!(
            "hshim: {file}:11: spec.containers[0].image: Not found: \"nginx\": docker.io/library/nginx:latest has not been \
             loaded: load it from an archive (hshim image load -i FILE)\n"
        )
    );
    assert_eq!(node.traces(&[]), [""; 0]);
    let server = ["httpd", "-f", "-p", "80", "-h", "/etc"];
    node.load(&Image { config: json!({"Entrypoint": server}), ..Image::busybox("nginx:latest") });
    assert_eq!(node.ok(&["apply", "-f", &file]), "pod/website created\n");
    let pid = node.wait_running("website", "website");
    // Port 80 of the pod, as /proc shows it: nobody else listens in its network.
    wait::until("it listens", || {
        fs::read_to_string(format!("/proc/{pid}/net/tcp6")).is_ok_and(|table| table.contains(":0050 "))
            || fs::read_to_string(format!("/proc/{pid}/net/tcp")).is_ok_and(|table| table.contains(":0050 "))
    });
    node.delete_without_trace("website");
}

#[test]
fn the_preset_example_is_no_pod() {
    let Some(node) = Node::new() else { return };
    let file = example("preset.yaml");
    for verb in ["apply", "check"] {
        assert_eq!(
            node.refused(&[verb, "-f", &file]),
            format!(
                "hshim: {file}:2: kind: not supported by hshim: settings.k8s.io/v1alpha1 PodPreset: \
                 apply takes manifests of apiVersion v1, kind Pod\n"
            )
        );
    }
}
