//! Supervised bundles, seen as an operator sees pods.

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};
use serde_json::json;

use crate::needs_containers;

#[test]
fn a_supervised_bundle_is_told_about_and_restarted_like_a_pod() {
    needs_containers!();
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.program = programs::hshim();
    bundle.edit(|config| config["annotations"] = json!({"hshim.dev/restartPolicy": "Always"}));
    bundle.run_detached();
    let name = format!("bundle/{}", bundle.id());
    wait::until("it runs", || bundle.ok(&["why", &name]).contains("running since"));
    let first = bundle.pid();
    bundle.ok(&["restart", &name]);
    wait::until("it was restarted", || bundle.ok(&["why", &name]).contains("restarted once"));
    assert_ne!(bundle.pid(), first);
    assert!(bundle.ok(&["events", &name]).contains(&format!("Bundle/{}", bundle.id())));
    let page = bundle.ok(&["describe", &name]);
    assert!(page.starts_with("Name:  ") && page.contains("Restart Count:"), "{page}");
    let refusal = bundle.refused(&["logs", &name]);
    assert!(refusal.contains("has no log: its output goes where the caller"), "{refusal}");
}
