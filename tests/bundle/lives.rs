//! Lives and deaths of a supervised container.

use hshim_tests::{skip, wait};

use crate::scene::{HEALTHY, OFTEN, SHORT, Supervised, bundle};

#[test]
fn a_bundle_whose_liveness_fails_is_restarted_and_writes_where_it_did() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let script = "echo life $$; touch /tmp/healthy; sleep 1; rm /tmp/healthy; exec sleep 1000";
    let grace = ("terminationGracePeriodSeconds", "1");
    let bundle = bundle(script, &[HEALTHY, OFTEN, SHORT, grace]);
    bundle.run_detached();
    assert!(bundle.is_supervised());
    let first = bundle.pid();
    wait::until("it was restarted", || bundle.restarts() >= 1 && bundle.status() == "running");
    assert_ne!(bundle.pid(), first);
    wait::until("both lives wrote", || bundle.stdout().starts_with("life 1\nlife 1\n"));
    assert_eq!(bundle.phase(), "Running");
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert_eq!(bundle.traces(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_bundle_in_back_off_says_stopped_and_is_ended_by_a_terminating_signal() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exit 3", &[("restartPolicy", "Always")]);
    bundle.run_detached();
    wait::until("it waits", || bundle.phase() == "CrashLoopBackOff");
    let state = bundle.state().unwrap();
    assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("stopped"), Some(0)), "{state}");
    let listed = bundle.ok(&["list"]);
    assert!(listed.contains("stopped"), "{listed}");
    let refusal = bundle.refused(&["delete", bundle.id()]);
    assert!(refusal.contains("it will be restarted; kill it with a terminating signal first"), "{refusal}");
    let refusal = bundle.refused(&["kill", bundle.id(), "USR1"]);
    assert!(refusal.contains("container not running"), "{refusal}");
    bundle.ok(&["kill", bundle.id(), "TERM"]);
    assert_eq!(bundle.status(), "stopped");
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_created_bundle_is_started_killed_and_deleted_like_any_other() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done", &[HEALTHY]);
    bundle.create();
    assert_eq!((bundle.status().as_str(), bundle.phase().as_str()), ("created", "Created"));
    assert_eq!(bundle.stdout(), "");
    bundle.ok(&["start", bundle.id()]);
    wait::until("it runs", || bundle.stdout() == "up\n");
    let refusal = bundle.refused(&["start", bundle.id()]);
    assert!(refusal.contains("cannot start an already running container"), "{refusal}");
    let refusal = bundle.refused(&["delete", bundle.id()]);
    assert!(refusal.contains("that is not stopped: running"), "{refusal}");
    bundle.ok(&["kill", bundle.id(), "TERM"]);
    wait::until("it has ended", || bundle.status() == "stopped");
    assert_eq!(bundle.restarts(), 0);
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
    let refusal = bundle.refused(&["state", bundle.id()]);
    assert!(refusal.contains("does not exist"), "{refusal}");
}

#[test]
fn a_created_bundle_that_is_never_started_can_be_deleted_without_force() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("sleep 1000", &[HEALTHY]);
    bundle.create();
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_bundle_with_probes_only_keeps_its_own_end() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("exit 4", &[HEALTHY]);
    bundle.run_detached();
    wait::until("it has ended", || bundle.phase() == "Error");
    assert_eq!((bundle.status().as_str(), bundle.restarts()), ("stopped", 0));
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_probe_and_an_exec_work_after_three_restarts() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let script = "touch /tmp/healthy; trap 'exit 1' USR1; echo up; while :; do sleep 0.05; done";
    let grace = ("terminationGracePeriodSeconds", "1");
    let bundle = bundle(script, &[HEALTHY, OFTEN, SHORT, grace, ("restartPolicy", "Always")]);
    bundle.run_detached();
    for life in 1..=3 {
        wait::until("it runs", || bundle.stdout() == "up\n".repeat(life) && bundle.phase() == "Running");
        bundle.ok(&["kill", bundle.id(), "USR1"]);
    }
    wait::until("it runs", || bundle.stdout() == "up\n".repeat(4) && bundle.phase() == "Running");
    assert_eq!(bundle.ok(&["exec", bundle.id(), "cat", "/proc/1/comm"]), "sh\n");
    // Words that make hshim seal itself when they are verbs.
    assert_eq!(bundle.ok(&["exec", bundle.id(), "echo", "create", "run"]), "create run\n");
    bundle.ok(&["exec", bundle.id(), "rm", "/tmp/healthy"]);
    wait::until("its probe saw that", || bundle.restarts() == 4);
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn a_command_that_does_not_exist_is_told_and_leaves_nothing_behind() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let mut bundle = bundle("", &[HEALTHY]);
    bundle.edit(|config| config["process"]["args"] = serde_json::json!(["/no/such/command"]));
    let refusal = bundle.refused(&["run", "-d", bundle.id()]);
    assert!(refusal.contains("/no/such/command"), "{refusal}");
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}
