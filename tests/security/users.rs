//! User namespaces: made, and joined.

use std::fs;

use hshim_tests::bundle::Bundle;
use serde_json::json;

use crate::stage::{bundle, needs_containers, refused, run, with_users};

#[test]
fn root_in_a_user_namespace_is_nobody_outside() {
    needs_containers!();
    let mut bundle = Bundle::new("id -u; cat /proc/self/uid_map; touch /tmp/made; echo x > /dev/null && echo null");
    with_users(&mut bundle);
    let seen = run(&bundle);
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "0", "100000", "65536", "null"]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.rootfs().join("tmp/made")).unwrap());
    assert_eq!(owner, 100_000);
}

#[test]
fn additional_groups_are_mapped() {
    needs_containers!();
    let mut bundle = bundle("id -G", |config| config["process"]["user"]["additionalGids"] = json!([5, 6]));
    with_users(&mut bundle);
    assert_eq!(run(&bundle), "0 5 6\n");
}

#[test]
fn maps_without_a_user_namespace_are_refused() {
    needs_containers!();
    // runc 1.1 ignores them.
    crate::stage::only_for_hshim!();
    let bundle = bundle("true", |config| {
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1}]);
    });
    refused(&bundle);
}

#[test]
fn a_user_namespace_without_maps_is_refused() {
    needs_containers!();
    let bundle = bundle("true", |config| config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"})));
    refused(&bundle);
}

#[test]
fn a_user_namespace_is_joined() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let mut owner = Bundle::new("echo up; sleep 1000");
    with_users(&mut owner);
    crate::stage::running(&owner);
    let pid = owner.pid();
    let mut bundle = bundle("id -u; cat /proc/self/uid_map", |_config| {});
    with_users(&mut bundle);
    bundle.edit(|config| {
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        namespaces.push(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
    });
    assert_eq!(run(&bundle).split_whitespace().collect::<Vec<_>>(), ["0", "0", "100000", "65536"]);
}

#[test]
fn a_sysctl_of_a_namespace_of_its_own_is_set_and_the_hosts_are_refused() {
    needs_containers!();
    let own = bundle("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni", |config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"});
    });
    assert_eq!(run(&own), "1\n77\n");
    for name in ["kernel.core_pattern", "vm.overcommit_memory", "kernel.hostname", "net/../kernel/core_pattern", "fs.file-max"] {
        let bundle = bundle("true", |config| config["linux"]["sysctl"] = json!({name: "1"}));
        refused(&bundle);
    }
}

#[test]
fn a_sysctl_of_a_host_namespace_is_refused() {
    needs_containers!();
    for (typ, name) in [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.shmmni")] {
        let bundle = bundle("true", |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != typ);
            config["linux"]["sysctl"] = json!({name: "1"});
        });
        refused(&bundle);
    }
}

#[test]
fn a_sysctl_of_a_joined_host_namespace_is_refused() {
    needs_containers!();
    crate::stage::only_for_hshim!();
    let bundle = bundle("true", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "ipc");
        namespaces.push(json!({"type": "ipc", "path": "/proc/self/ns/ipc"}));
        config["linux"]["sysctl"] = json!({"kernel.shmmni": "4097"});
    });
    refused(&bundle);
}
