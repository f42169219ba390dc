//! Which bundles are supervised, and what is refused.

use std::os::unix::net::UnixListener;

use hshim_tests::bundle::Bundle;
use hshim_tests::skip;
use serde_json::json;

use crate::scene::{HEALTHY, Supervised, bundle};

#[test]
fn a_bundle_that_asks_for_nothing_has_no_supervisor() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let bundle = bundle("sleep 1000", &[]);
    bundle.run_detached();
    assert!(!bundle.dir_of_supervision().exists());
    assert_eq!(bundle.phase(), "");
}

#[test]
fn never_means_no_supervisor_and_always_wants_a_bundle_that_asks() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let asking = bundle("sleep 1000", &[HEALTHY]);
    assert!(asking.detached(&["run", "-d", "--supervise", "never", asking.id()]).success());
    assert!(!asking.dir_of_supervision().exists());
    let silent = bundle("sleep 1000", &[]);
    let refusal = silent.refused(&["create", "--supervise=always", silent.id()]);
    assert!(refusal.contains("asks for no health: annotate it with hshim.dev/livenessProbe"), "{refusal}");
    assert!(silent.traces().is_empty(), "{:?}", silent.traces());
}

#[test]
fn every_fault_of_the_annotations_is_told_at_once_and_nothing_is_made() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let wrong = [("livenesProbe", "{}"), ("readinessProbe", "{"), ("restartPolicy", "Sometimes")];
    let bundle = bundle("sleep 1000", &wrong);
    for verb in ["create", "run"] {
        let refusal = bundle.refused(&[verb, bundle.id()]);
        for part in ["config.json", "hshim.dev/livenesProbe", "unknown", "hshim.dev/readinessProbe", "must be JSON", "Sometimes"]
        {
            assert!(refusal.contains(part), "{verb}: {part}: {refusal}");
        }
    }
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

#[test]
fn what_cannot_be_given_to_every_life_is_refused_with_its_reason() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let mut bundle = bundle("sleep 1000", &[HEALTHY]);
    let refusal = bundle.refused(&["create", "--preserve-fds=1", bundle.id()]);
    assert!(refusal.contains("--preserve-fds"), "{refusal}");
    let socket = bundle.scratch.join("console.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let console = format!("--console-socket={}", socket.display());
    let refusal = bundle.refused(&["create", &console, bundle.id()]);
    assert!(refusal.contains("--console-socket"), "{refusal}");
    bundle.edit(|config| config["process"]["terminal"] = json!(true));
    for args in [vec!["create", console.as_str(), bundle.id()], vec!["run", bundle.id()]] {
        let refusal = bundle.refused(&args);
        assert!(refusal.contains("process.terminal: a supervised container cannot have a terminal"), "{refusal}");
        assert!(refusal.contains("--supervise=never"), "{refusal}");
    }
    assert!(bundle.traces().is_empty(), "{:?}", bundle.traces());
}

/// The same name for another bundle in the same state directory.
fn again(first: &Bundle, with: &[&str]) -> String {
    let args: Vec<&str> = ["create"].iter().chain(with).copied().chain([first.id()]).collect();
    first.refused(&args)
}

#[test]
fn a_name_is_given_once_whoever_looks_after_it() {
    if let Some(why) = skip::why_no_containers() {
        skip!("{why}");
    }
    let supervised = bundle("sleep 1000", &[HEALTHY]);
    supervised.run_detached();
    let pid = supervised.pid();
    for with in [&[][..], &["--supervise=never"]] {
        let refusal = again(&supervised, with);
        assert!(refusal.contains("container with given ID already exists"), "{refusal}");
    }
    assert_eq!((supervised.pid(), supervised.status()), (pid, "running".to_owned()));
    let plain = bundle("sleep 1000", &[HEALTHY]);
    assert!(plain.detached(&["run", "-d", "--supervise=never", plain.id()]).success());
    let pid = plain.pid();
    let refusal = again(&plain, &[]);
    assert!(refusal.contains("container with given ID already exists"), "{refusal}");
    assert!(!plain.dir_of_supervision().exists());
    assert_eq!((plain.pid(), plain.status()), (pid, "running".to_owned()));
}
