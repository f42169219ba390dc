//! What a user without privileges cannot have, and why.

use hshim_tests::programs;
use serde_json::json;

use crate::stage::UsersBundle;
use crate::{needs_user, only_for_hshim};

/// Refused; with these words if hshim says so.
fn refused(bundle: &UsersBundle, words: &[&str]) {
    let said = bundle.refused(&["run", bundle.id()]);
    if programs::judges_hshim() {
        for word in words {
            assert!(said.contains(word), "{said}");
        }
    }
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_container_without_a_user_namespace() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user"));
    refused(&bundle, &["linux.namespaces", "\"user\"", "hshim spec --rootless"]);
}

#[test]
fn a_user_namespace_without_root() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["uidMappings"][0]["containerID"] = json!(1));
    refused(&bundle, &["linux.uidMappings: id 0 of the container is not mapped"]);
}

#[test]
fn additional_groups_without_a_range() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["process"]["user"]["additionalGids"] = json!([0]));
    refused(&bundle, &["process.user.additionalGids", "/etc/subgid"]);
}

#[test]
fn a_device_outside_dev() {
    needs_user!();
    only_for_hshim!("runc 1.1 binds it");
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["linux"]["devices"] = json!([{"path": "/null", "type": "c", "major": 1, "minor": 3}]));
    refused(&bundle, &["linux.devices: /null", "bind it as a mount"]);
}

#[test]
fn the_systemd_driver() {
    needs_user!();
    only_for_hshim!("runc asks the user's own systemd");
    let mut bundle = UsersBundle::new("true");
    bundle.globals = vec!["--systemd-cgroup".to_owned()];
    refused(&bundle, &["--systemd-cgroup"]);
}

#[test]
fn health_that_a_bundle_asks_for() {
    needs_user!();
    only_for_hshim!("runc knows no health");
    let mut bundle = UsersBundle::new("true");
    bundle.edit(|config| config["annotations"] = json!({"hshim.dev/livenessProbe": r#"{"exec": {"command": ["true"]}}"#}));
    refused(&bundle, &["supervision takes root", "--supervise=never"]);
    assert_eq!(bundle.runtime(&["run", "--supervise=never", bundle.id()]).status.code(), Some(0));
}
