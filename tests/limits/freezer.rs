//! `pause` and `resume`.

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};

use crate::{containers_or_skip, kernel};

fn counting() -> Bundle {
    let bundle = Bundle::new("i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done");
    bundle.run_detached();
    wait::until("it counts", || bundle.stdout().lines().count() > 2);
    bundle
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    containers_or_skip!();
    let bundle = counting();
    bundle.ok(&["pause", bundle.id()]);
    assert_eq!(bundle.status(), "paused");
    let file = kernel::file(&bundle, "freezer", "freezer.state", "cgroup.events");
    let state = std::fs::read_to_string(file).unwrap();
    assert!(state.contains("FROZEN") || state.contains("frozen 1"), "{state}");
    let counted = bundle.stdout().lines().count();
    bundle.refused(&["resume", "no-such-container"]);
    bundle.ok(&["resume", bundle.id()]);
    assert_eq!(bundle.status(), "running");
    wait::until("it counts again", || bundle.stdout().lines().count() > counted + 2);
}

#[test]
fn a_created_container_can_be_paused_and_started_after_it_was_resumed() {
    containers_or_skip!();
    if programs::runtime_under_test().ends_with("crun") {
        hshim_tests::skip!("crun 1.8 neither shows a created container as paused nor refuses to resume a running one");
    }
    let bundle = Bundle::new("echo started; sleep 1000");
    bundle.create();
    bundle.ok(&["pause", bundle.id()]);
    assert_eq!(bundle.status(), "paused");
    bundle.ok(&["resume", bundle.id()]);
    assert_eq!(bundle.status(), "created");
    bundle.ok(&["start", bundle.id()]);
    wait::until("it has started", || bundle.stdout() == "started\n");
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_resumed() {
    containers_or_skip!();
    if programs::runtime_under_test().ends_with("crun") {
        hshim_tests::skip!("crun 1.8 neither shows a created container as paused nor refuses to resume a running one");
    }
    let bundle = counting();
    assert!(bundle.refused(&["resume", bundle.id()]).contains("not paused"));
    bundle.ok(&["pause", bundle.id()]);
    bundle.refused(&["pause", bundle.id()]);
    bundle.ok(&["resume", bundle.id()]);
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it ends", || bundle.status() == "stopped");
    assert!(bundle.refused(&["pause", bundle.id()]).contains("not running"));
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    containers_or_skip!();
    let bundle = counting();
    bundle.ok(&["pause", bundle.id()]);
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}
