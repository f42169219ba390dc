//! linux.netDevices: devices of the runtime's network namespace that are moved to the container's. The runtime runs in a network
//! namespace of its own here, with a pair of virtual devices: this machine's are left alone.

use std::process::{Command, Output, Stdio};

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;

use crate::support::*;

const DEVICES: &str = "ip link add hst0 type veth peer name hst1 && ip address add 192.0.2.7/24 dev hst0 \
                       && ip -6 address add 2001:db8::7/64 dev hst0 nodad";

/// `run` beside a pair of devices; what is left of them is written to the file `left`.
fn run_beside_devices(bundle: &Bundle) -> Output {
    let script = format!("{DEVICES} && \"$@\"; code=$?; ip -o link show > left; exit $code");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script, "sh"]).arg(&bundle.program).arg("--root").arg(bundle.root());
    command.args(["run", bundle.id()]).current_dir(bundle.dir()).stdin(Stdio::null()).output().unwrap()
}

fn said(bundle: &Bundle) -> String {
    let output = run_beside_devices(bundle);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// A bundle with devices; skipped where there are none.
macro_rules! bundle_with {
    ($devices:tt, $script:expr) => {{
        needs_containers!();
        only_hshim!("runc 1.1 does not know netDevices");
        if programs::installed("ip").is_none() {
            hshim_tests::skip!("no ip (iproute2)");
        }
        let made = Command::new("unshare").args(["-n", "sh", "-c", DEVICES]).output().unwrap();
        if !made.status.success() {
            hshim_tests::skip!("this kernel makes no veth devices");
        }
        let mut bundle = Bundle::new($script);
        bundle.edit(|config| config["linux"]["netDevices"] = json!($devices));
        bundle
    }};
}

#[test]
fn a_device_is_moved_with_its_addresses_and_is_up() {
    let bundle = bundle_with!({"hst0": {}}, "ip -o address show hst0; ip -o link show hst0");
    let said = said(&bundle);
    assert!(said.contains("192.0.2.7/24") && said.contains("2001:db8::7/64"), "{said}");
    assert!(said.contains("UP"), "{said}");
    let left = std::fs::read_to_string(bundle.dir().join("left")).unwrap();
    assert!(!left.contains("hst0@") && !left.contains(": hst0"), "{left}");
}

#[test]
fn a_device_gets_the_name_that_it_is_to_have() {
    let bundle = bundle_with!({"hst0": {"name": "inside0"}}, "ip -o address show inside0; ip link show hst0 2>&1; true");
    let said = said(&bundle);
    assert!(said.contains("192.0.2.7/24"), "{said}");
    assert!(said.contains("hst0") && said.contains("can't find device"), "{said}");
}

#[test]
fn two_devices_are_moved() {
    let bundle = bundle_with!({"hst0": {"name": "a0"}, "hst1": {"name": "b0"}}, "ls /sys/class/net");
    assert_eq!(said(&bundle).split_whitespace().collect::<Vec<_>>(), ["a0", "b0", "lo"]);
}

#[test]
fn a_process_of_another_user_finds_it_too() {
    let mut bundle = bundle_with!({"hst0": {}}, "ip -o address show hst0; id -u");
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({});
    });
    let said = said(&bundle);
    assert!(said.contains("192.0.2.7/24") && said.contains("\n1000\n"), "{said}");
}

#[test]
fn a_device_is_moved_into_a_user_namespace_too() {
    let mut bundle = bundle_with!({"hst0": {}}, "ip -o address show hst0");
    bundle.edit(|config| {
        namespaces(config).push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map.clone(), map);
    });
    assert!(said(&bundle).contains("192.0.2.7/24"));
}

#[test]
fn a_device_that_is_not_there_is_an_error_and_leaves_nothing() {
    let bundle = bundle_with!({"hst9": {}}, "true");
    let output = run_beside_devices(&bundle);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("linux.netDevices: hst9"), "{}", stderr(&output));
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn names_that_are_none_and_a_missing_namespace_are_refused() {
    for devices in [json!({"a/b": {}}), json!({"hst0": {"name": "much-too-long-a-name"}}), json!({"hst0": {"name": "eth%d"}})] {
        let mut bundle = bundle_with!({}, "true");
        bundle.edit(|config| config["linux"]["netDevices"] = devices.clone());
        assert!(bundle.fails().contains("linux.netDevices"), "{devices}");
    }
    let mut bundle = bundle_with!({"hst0": {}}, "true");
    bundle.edit(|config| without_namespace(config, "network"));
    assert!(bundle.fails().contains("linux.netDevices: need a network namespace"));
}
