//! linux.namespaces: new ones, the caller's, ones joined by a path; user namespaces with id maps; sysctl.

use std::fs;
use std::process::Command;

use crate::support::*;

fn host(namespace: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().display().to_string()
}

fn inside(bundle: &hshim_tests::bundle::Bundle, namespace: &str) -> String {
    fs::read_link(format!("/proc/{}/ns/{namespace}", bundle.pid())).unwrap().display().to_string()
}

#[test]
fn every_listed_namespace_is_new() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| namespaces(config).push(json!({"type": "cgroup"})));
    bundle.create();
    for namespace in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(inside(&bundle, namespace), host(namespace), "{namespace}");
    }
    for namespace in ["user", "time"] {
        assert_eq!(inside(&bundle, namespace), host(namespace), "{namespace}");
    }
}

/// A namespace that is not listed is the caller's.
fn shares(typ: &str, name: &str) {
    let mut bundle = hshim_tests::bundle::Bundle::new("sleep 1000");
    bundle.edit(|config| {
        without_namespace(config, typ);
        if typ == "uts" {
            config.as_object_mut().unwrap().remove("hostname");
        }
        if typ == "ipc" {
            // An mqueue belongs to an ipc namespace of one's own.
            config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
        }
        if typ == "network" {
            config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
        }
    });
    bundle.create();
    assert_eq!(inside(&bundle, name), host(name));
}

#[test]
fn a_pid_namespace_that_is_not_listed_is_the_callers() {
    needs_containers!();
    shares("pid", "pid");
}

#[test]
fn a_network_namespace_that_is_not_listed_is_the_callers() {
    needs_containers!();
    shares("network", "net");
}

#[test]
fn an_ipc_namespace_that_is_not_listed_is_the_callers() {
    needs_containers!();
    shares("ipc", "ipc");
}

#[test]
fn a_uts_namespace_that_is_not_listed_is_the_callers() {
    needs_containers!();
    shares("uts", "uts");
}

#[test]
fn init_is_process_1_of_a_new_pid_namespace() {
    let bundle = bundle!("echo $$");
    assert_eq!(bundle.says(), "1");
}

#[test]
fn proc_shows_the_containers_processes_only() {
    let bundle = bundle!("ls -d /proc/[0-9]* | wc -l");
    assert!(bundle.says().parse::<u32>().unwrap() <= 4);
}

#[test]
fn the_loopback_of_a_new_network_is_up() {
    let bundle = bundle!("ip link show lo");
    let said = bundle.says();
    assert!(said.contains("UP"), "{said}");
}

#[test]
fn a_network_namespace_is_joined_by_its_path() {
    joins("network", "net");
}

#[test]
fn an_ipc_namespace_is_joined_by_its_path() {
    joins("ipc", "ipc");
}

#[test]
fn a_uts_namespace_is_joined_by_its_path() {
    joins("uts", "uts");
}

#[test]
fn a_pid_namespace_is_joined_by_its_path() {
    joins("pid", "pid");
}

#[test]
fn a_cgroup_namespace_is_joined_by_its_path() {
    joins("cgroup", "cgroup");
}

/// A second container in the namespace of a first one.
fn joins(typ: &str, name: &str) {
    let mut first = bundle!("sleep 1000");
    first.edit(|config| namespaces(config).push(json!({"type": "cgroup"})));
    first.run_detached();
    let mut second = bundle!("sleep 1000");
    let path = format!("/proc/{}/ns/{name}", first.pid());
    second.edit(|config| {
        without_namespace(config, typ);
        namespaces(config).push(json!({"type": typ, "path": path}));
        if typ == "uts" {
            config.as_object_mut().unwrap().remove("hostname");
        }
    });
    second.run_detached();
    assert_eq!(inside(&second, name), inside(&first, name));
    second.ok(&["delete", "-f", second.id()]);
    assert_eq!(first.status(), "running", "what was joined lives on");
}

#[test]
fn a_namespace_path_that_does_not_exist_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        without_namespace(config, "network");
        namespaces(config).push(json!({"type": "network", "path": "/nowhere/net"}));
    });
    bundle.refused(&["create", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn a_namespace_path_of_another_type_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        without_namespace(config, "network");
        namespaces(config).push(json!({"type": "network", "path": "/proc/self/ns/uts"}));
    });
    bundle.refused(&["create", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_namespace_that_is_listed_twice_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| namespaces(config).push(json!({"type": "uts"})));
    bundle.refused(&["create", bundle.id()]);
}

#[test]
fn an_unknown_namespace_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| namespaces(config).push(json!({"type": "nosuch"})));
    bundle.refused(&["create", bundle.id()]);
}

#[test]
fn a_time_namespace_has_its_offsets() {
    only_hshim!("runc 1.1 does not know time namespaces");
    let mut bundle = bundle!("cut -d. -f1 /proc/uptime");
    bundle.edit(|config| {
        namespaces(config).push(json!({"type": "time"}));
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 0}});
    });
    assert!(bundle.says().parse::<u64>().unwrap() >= 1_000_000_000);
}

/// A user namespace whose root is an ordinary user outside.
fn in_user_namespace(config: &mut Value) {
    namespaces(config).push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
}

/// The root file system belongs to the mapped root, as its callers see to.
fn hand_over(bundle: &hshim_tests::bundle::Bundle) {
    let status = Command::new("chown").args(["-hR", "100000:200000"]).arg(bundle.rootfs()).status().unwrap();
    assert!(status.success());
    for dir in [bundle.scratch.path(), &bundle.dir()] {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn root_of_a_user_namespace_is_another_user_outside() {
    let mut bundle = bundle!("id -u; echo $(cat /proc/self/uid_map); echo $(cat /proc/self/gid_map); touch /made; sleep 1000");
    bundle.edit(in_user_namespace);
    hand_over(&bundle);
    bundle.run_detached();
    hshim_tests::wait::until("it speaks", || bundle.stdout() == "0\n0 100000 65536\n0 200000 65536\n");
    hshim_tests::wait::until("it makes a file", || bundle.rootfs().join("made").exists());
    let made = fs::metadata(bundle.rootfs().join("made")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&made), std::os::unix::fs::MetadataExt::gid(&made)), (100_000, 200_000));
    let init = fs::metadata(format!("/proc/{}", bundle.pid())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&init), 100_000);
}

#[test]
fn exec_enters_the_user_namespace() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(in_user_namespace);
    hand_over(&bundle);
    bundle.run_detached();
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", "id -u; echo $(cat /proc/self/uid_map)"]), "0\n0 100000 65536");
}

#[test]
fn a_user_namespace_may_be_mapped_by_several_ranges() {
    let mut bundle = bundle!("id -u; echo $(cat /proc/self/uid_map) $(cat /proc/self/gid_map)");
    bundle.edit(|config| {
        in_user_namespace(config);
        for (field, first) in [("uidMappings", 100_000), ("gidMappings", 200_000)] {
            config["linux"][field] = json!([
                {"containerID": 0, "hostID": first, "size": 10}, {"containerID": 10, "hostID": first + 1000, "size": 10}
            ]);
        }
        config["process"]["user"] = json!({"uid": 15, "gid": 16});
    });
    hand_over(&bundle);
    assert_eq!(bundle.says(), "15\n0 100000 10 10 101000 10 0 200000 10 10 201000 10");
    // Another container joins it, and its maps are those of the namespace.
    let mut joining = bundle!("readlink /proc/self/ns/user");
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    bundle.run_detached();
    let path = format!("/proc/{}/ns/user", bundle.pid());
    joining.edit(|config| {
        in_user_namespace(config);
        namespaces(config).last_mut().unwrap()["path"] = json!(path);
        for field in ["uidMappings", "gidMappings"] {
            config["linux"][field] = bundle.config["linux"][field].clone();
        }
    });
    hand_over(&joining);
    assert_eq!(joining.says(), fs::read_link(&path).unwrap().display().to_string());
}

#[test]
fn a_user_that_is_not_mapped_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        in_user_namespace(config);
        config["process"]["user"] = json!({"uid": 70000, "gid": 0});
    });
    hand_over(&bundle);
    bundle.fails();
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_user_namespace_without_maps_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| namespaces(config).push(json!({"type": "user"})));
    bundle.fails();
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_sysctl_of_a_namespace_is_set_in_it_alone() {
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let bundle = bundle!("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shm_rmid_forced", linux.sysctl = {
        "net.ipv4.ip_default_ttl": "77", "kernel.shm_rmid_forced": "1"
    });
    assert_eq!(bundle.says(), "77\n1");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), before);
}

#[test]
fn a_sysctl_of_the_whole_machine_is_refused() {
    let bundle = bundle!("true", linux.sysctl = {"vm.swappiness": "60"});
    let errors = bundle.fails();
    assert!(errors.contains("vm.swappiness"), "{errors}");
}

#[test]
fn a_sysctl_of_a_namespace_that_is_not_new_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        without_namespace(config, "network");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    });
    let errors = bundle.fails();
    assert!(errors.contains("net.ipv4.ip_forward"), "{errors}");
}

#[test]
fn a_hostname_without_a_uts_namespace_of_its_own_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| without_namespace(config, "uts"));
    let errors = bundle.fails();
    assert!(errors.to_lowercase().contains("hostname") || errors.to_lowercase().contains("uts"), "{errors}");
}
