//! `create` and `run` with presets: bundles that have never heard of hshim.

use std::fs;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, skip, wait};
use serde_json::json;

use crate::written::{HEALTH, SCRIPT, write};

macro_rules! needs_containers {
    () => {
        if let Some(why) = skip::why_no_containers() {
            hshim_tests::skip!("{why}");
        }
    };
}

/// A bundle of hshim with a label and nothing else.
fn labelled(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.program = programs::hshim();
    bundle.edit(|config| config["annotations"] = json!({"role": "frontend"}));
    bundle
}

fn run(bundle: &Bundle, flags: &[&str]) -> bool {
    let presets = bundle.scratch.join("presets.d");
    let args = [&["--presets-dir", presets.to_str().unwrap(), "run", "-d", "--bundle", "."], flags, &[bundle.id()]].concat();
    bundle.detached(&args).success()
}

fn is_supervised(bundle: &Bundle) -> bool {
    bundle.root().join("bundles").join(bundle.id()).join("shim.sock").exists()
}

#[test]
fn a_bundle_is_supervised_because_a_preset_says_so_in_every_life() {
    needs_containers!();
    let bundle = labelled(SCRIPT);
    write(&bundle.scratch.join("presets.d"), "10.yaml", HEALTH);
    let before = fs::read(bundle.dir().join("config.json")).unwrap();
    assert!(run(&bundle, &[]), "{}", bundle.stderr());
    assert!(is_supervised(&bundle));
    for life in 1..=3 {
        wait::until("the next life speaks, with the variable of the preset", || bundle.stdout() == "alive here\n".repeat(life));
        if life == 1 {
            // What a container was created with stays.
            write(&bundle.scratch.join("presets.d"), "10.yaml", "broken: true");
        }
        wait::until("it has made itself healthy", || fs::remove_file(bundle.rootfs().join("tmp/ok")).is_ok());
    }
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), before, "the bundle is its owner's");
    let annotations = bundle.state().unwrap()["annotations"].clone();
    assert_eq!(annotations["hshim.dev/supervision"], r#"{"periodMilliseconds":200}"#);
    assert_eq!(
        annotations["podpreset.admission.kubernetes.io/podpreset-health"],
        bundle.scratch.join("presets.d/10.yaml").to_str().unwrap()
    );
    let explained = bundle.ok(&["explain", &format!("bundle/{}", bundle.id())]);
    for field in ["annotations[\"hshim.dev/livenessProbe\"]", "process.env[FROM_PRESET]"] {
        assert!(explained.contains(field), "{explained}");
    }
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn a_preset_without_health_gives_its_variables_and_no_supervisor() {
    needs_containers!();
    let bundle = labelled(SCRIPT);
    let without_health = "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: p\nspec:\n  env:\n  - {name: FROM_PRESET, value: there}\n";
    write(&bundle.scratch.join("presets.d"), "10.yaml", without_health);
    assert!(run(&bundle, &[]), "{}", bundle.stderr());
    wait::until("it speaks", || bundle.stdout() == "alive there\n");
    assert!(!is_supervised(&bundle));
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(run(&bundle, &["--supervise=never"]), "{}", bundle.stderr());
    wait::until("it speaks without", || bundle.stdout() == "alive\n");
}

#[test]
fn a_broken_preset_and_a_conflict_refuse_the_container_and_leave_nothing() {
    needs_containers!();
    let mut bundle = labelled(SCRIPT);
    let dir = bundle.scratch.join("presets.d");
    write(&dir, "10.yaml", &HEALTH.replace("failureThreshold", "failureTreshold"));
    assert!(!run(&bundle, &[]));
    let said = bundle.stderr();
    assert!(
        said.contains(
            "presets.d/10.yaml:12: spec.livenessProbe.failureTreshold: unknown field: did you mean \"failureThreshold\"?"
        ),
        "{said}"
    );
    write(&dir, "10.yaml", HEALTH);
    bundle.edit(|config| config["process"]["env"] = json!(["PATH=/bin", "FROM_PRESET=other"]));
    assert!(!run(&bundle, &[]));
    let said = bundle.stderr();
    assert!(said.contains("conflict over the environment variable FROM_PRESET"), "{said}");
    assert!(said.contains("preset health (") && said.contains("and the bundle itself ("), "{said}");
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len(), is_supervised(&bundle)), ("absent", 0, false));
}

#[test]
fn health_of_a_preset_that_a_bundle_cannot_have_is_told_with_the_preset() {
    needs_containers!();
    let bundle = labelled(SCRIPT);
    let owner = HEALTH.replace("    periodMilliseconds: 200\n", "    restartOwner: kubelet\n");
    write(&bundle.scratch.join("presets.d"), "10.yaml", &owner);
    assert!(!run(&bundle, &[]));
    let said = bundle.stderr();
    assert!(said.contains("annotations[\"hshim.dev/supervision\"].restartOwner: not supported by hshim"), "{said}");
    assert!(said.contains("(preset health gives it: ") && said.contains("10.yaml:14: spec.supervision)"), "{said}");
}

#[test]
fn a_caller_that_waits_for_the_container_is_told_that_health_is_off_unless_it_is_demanded() {
    needs_containers!();
    let bundle = labelled(SCRIPT);
    write(&bundle.scratch.join("presets.d"), "10.yaml", HEALTH);
    let pid_file = bundle.scratch.join("pid");
    let pid_file = pid_file.to_str().unwrap();
    assert!(run(&bundle, &["--pid-file", pid_file]), "{}", bundle.stderr());
    assert!(bundle.stderr().contains("health is asked for and is off"), "{}", bundle.stderr());
    wait::until("it has the variable all the same", || bundle.stdout() == "alive here\n");
    assert!(!is_supervised(&bundle));
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(run(&bundle, &["--pid-file", pid_file, "--supervise=always"]), "{}", bundle.stderr());
    assert!(is_supervised(&bundle));
    bundle.ok(&["delete", "--force", bundle.id()]);
}
