//! Capabilities: those that are named, and no others.

use hshim_tests::bundle::Bundle;
use serde_json::json;

use crate::stage::{bundle, needs_containers, run, status_field, try_run};

#[test]
fn a_process_without_capabilities_has_none() {
    needs_containers!();
    let bundle = bundle("cat /proc/self/status", |config| {
        config["process"].as_object_mut().unwrap().remove("capabilities");
    });
    let seen = run(&bundle);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status_field(&seen, set), "0000000000000000", "{set}");
    }
}

#[test]
fn inheritable_capabilities_are_not_added() {
    needs_containers!();
    assert_eq!(status_field(&run(&Bundle::new("cat /proc/self/status")), "CapInh"), "0000000000000000");
}

#[test]
fn an_unknown_capability_is_passed_over_with_one_warning() {
    needs_containers!();
    let bundle = bundle("true", |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_FLY"));
        }
    });
    let output = try_run(&bundle);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.matches("CAP_FLY").count(), 1, "{errors}");
}
