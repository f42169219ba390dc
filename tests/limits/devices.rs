//! Device rules are enforced, on either version. `c 1:12` has no driver: who may use it gets ENXIO, who may not EPERM.

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};
use serde_json::{Value, json};

use crate::containers_or_skip;

const NOBODYS: &str = "mknod /tmp/nobodys c 1 12 && while :; do head -c 1 </tmp/nobodys; sleep 0.05; done";

fn with_devices(script: &str, devices: Value) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.edit(|config| config["linux"]["resources"] = json!({"devices": devices}));
    bundle.run_detached();
    bundle
}

#[test]
fn a_device_that_no_rule_allows_cannot_be_opened() {
    containers_or_skip!();
    let bundle = with_devices(NOBODYS, json!([{"allow": false, "access": "rwm"}]));
    // The shell writes its line in pieces.
    wait::until("it is tried", || bundle.stderr().contains('\n'));
    assert!(bundle.stderr().contains("Operation not permitted"), "{}", bundle.stderr());
}

#[test]
fn a_container_without_rules_has_no_devices_but_everybodys() {
    containers_or_skip!();
    if programs::runtime_under_test().ends_with("crun") {
        hshim_tests::skip!("crun 1.8 enforces nothing when there are no rules");
    }
    let script = format!("head -c 1 /dev/zero >/dev/null && echo zero; {NOBODYS}");
    let bundle = with_devices(&script, json!([]));
    wait::until("it is tried", || !bundle.stderr().is_empty());
    assert!(bundle.stderr().contains("Operation not permitted"), "{}", bundle.stderr());
    assert_eq!(bundle.stdout(), "zero\n");
}

#[test]
fn an_allowed_device_can_be_opened_as_far_as_it_is_allowed() {
    containers_or_skip!();
    let script = "mknod /tmp/d c 1 12; head -c 1 </tmp/d; echo x >/tmp/d; echo end";
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 12, "access": "r"}]);
    let bundle = with_devices(script, rules);
    wait::until("it has been tried", || bundle.stdout() == "end\n");
    let errors = bundle.stderr();
    assert!(errors.contains("No such device or address") && errors.contains("Operation not permitted"), "{errors}");
}

#[test]
fn everything_but_one_device_can_be_allowed() {
    containers_or_skip!();
    let script = "mknod /tmp/a c 1 12; mknod /tmp/b c 1 13; head -c 1 </tmp/a; echo; head -c 1 </tmp/b; echo end";
    let rules = json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 12, "access": "r"}]);
    let bundle = with_devices(script, rules);
    wait::until("both have been tried", || bundle.stdout().contains("end"));
    let errors = bundle.stderr();
    let told = |text: &str| errors.lines().filter(|line| line.contains(text)).count();
    assert_eq!((told("Operation not permitted"), told("No such device or address")), (1, 1), "{errors}");
}

#[test]
fn an_update_replaces_the_rules_of_a_running_container() {
    containers_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc does not update device rules");
    }
    let bundle = with_devices(NOBODYS, json!([{"allow": false, "access": "rwm"}]));
    wait::until("it is refused", || bundle.stderr().contains("Operation not permitted"));
    let file = bundle.scratch.join("resources.json");
    let allowed = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 12, "access": "rwm"}]});
    std::fs::write(&file, allowed.to_string()).unwrap();
    bundle.ok(&["update", "-r", file.to_str().unwrap(), bundle.id()]);
    wait::until("it is allowed", || bundle.stderr().contains("No such device or address"));
    std::fs::write(&file, json!({"devices": [{"allow": false}]}).to_string()).unwrap();
    bundle.ok(&["update", "-r", file.to_str().unwrap(), bundle.id()]);
    let tail = |bundle: &Bundle| bundle.stderr().lines().last().unwrap_or_default().to_owned();
    wait::until("it is refused again", || tail(&bundle).contains("Operation not permitted"));
}
