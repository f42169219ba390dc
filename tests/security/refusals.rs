//! Wrong and hostile specifications: one clear error, no partial container.

use std::fs;

use hshim_tests::bundle::Bundle;
use serde_json::{Value, json};

use crate::stage::{bundle, needs_containers, only_for_hshim, refused};

#[test]
fn names_that_are_no_file_names_are_refused() {
    needs_containers!();
    let bundle = Bundle::new("true");
    let long = "x".repeat(2000);
    for id in ["", "..", ".", "../x", "a/b", "/etc", "a b", "ä", "a\nb", long.as_str()] {
        let output = bundle.runtime(&["create", "--bundle", ".", id]);
        assert!(!output.status.success(), "{id:?}");
        assert!(!output.stderr.is_empty(), "{id:?}");
    }
    for verb in ["state", "start", "kill", "delete"] {
        assert!(!bundle.runtime(&[verb, "../../etc"]).status.success(), "{verb}");
    }
}

/// A change and a word of the error.
type Row = (&'static str, fn(&mut Value), &'static str);

/// What runc 1.1 refuses as well, or dies of.
const COMMON: [Row; 12] = [
    ("no process", |c| drop(c.as_object_mut().unwrap().remove("process")), ""),
    ("no arguments", |c| c["process"]["args"] = json!([]), "args"),
    ("args of a wrong type", |c| c["process"]["args"] = json!("sh"), "args"),
    ("uid of a wrong type", |c| c["process"]["user"]["uid"] = json!("root"), "uid"),
    ("uid too large", |c| c["process"]["user"]["uid"] = json!(1_u64 << 40), ""),
    ("negative uid", |c| c["process"]["user"]["uid"] = json!(-5), ""),
    ("no root", |c| drop(c.as_object_mut().unwrap().remove("root")), "root"),
    ("no root file system", |c| c["root"]["path"] = json!("nowhere"), ""),
    ("mask without a mount namespace", |c| c["linux"]["namespaces"] = json!([{"type": "pid"}]), ""),
    (
        "hostname without uts",
        |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "uts");
        },
        "",
    ),
    ("unknown namespace", |c| c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "dreams"})), "dreams"),
    (
        "NUL in a mount target",
        |c| {
            c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/a\0b", "type": "tmpfs", "source": "tmpfs"}));
        },
        "",
    ),
];

/// What hshim refuses before anything has begun.
const OURS: [Row; 27] = [
    ("processors that are no list", |c| c["process"]["execCPUAffinity"] = json!({"initial": "3-1"}), "execCPUAffinity"),
    ("no linux", |c| drop(c.as_object_mut().unwrap().remove("linux")), "linux"),
    ("relative cwd", |c| c["process"]["cwd"] = json!("tmp"), "cwd"),
    ("NUL in an argument", |c| c["process"]["args"] = json!(["sh", "a\0b"]), "process.args[1]: contains NUL"),
    ("NUL in a variable", |c| c["process"]["env"] = json!(["A=1", "B=\0"]), "process.env[1]: contains NUL"),
    ("uid that means no change", |c| c["process"]["user"]["uid"] = json!(u32::MAX), "process.user.uid"),
    ("gid that means no change", |c| c["process"]["user"]["gid"] = json!(u32::MAX), "process.user.gid"),
    ("soft above hard", |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "RLIMIT_CPU"),
    ("unknown limit", |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]), "RLIMIT_FUN"),
    ("score out of range", |c| c["process"]["oomScoreAdj"] = json!(99_999), "oomScoreAdj"),
    ("umask out of range", |c| c["process"]["user"]["umask"] = json!(0o7777), "umask"),
    ("SELinux label", |c| c["process"]["selinuxLabel"] = json!("a:b:c"), "selinuxLabel"),
    ("mount label", |c| c["linux"]["mountLabel"] = json!("a:b:c"), "mountLabel"),
    (
        "seccomp listener",
        |c| {
            c["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        },
        "NOTIFY",
    ),
    (
        "idmapped mount",
        |c| c["mounts"][1]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]),
        "mounts[1]: idmapped",
    ),
    ("idmap option", |c| c["mounts"][1]["options"] = json!(["idmap"]), "idmap"),
    ("tmpcopyup of /proc", |c| c["mounts"][0]["options"] = json!(["tmpcopyup"]), "mounts[0].options: tmpcopyup"),
    ("network devices", |c| c["linux"]["netDevices"] = json!({"no-such-dev": {"name": "eth1"}}), "no such device"),
    ("memory policy", |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND"}), "memoryPolicy"),
    ("RDT", |c| c["linux"]["intelRdt"] = json!({"closID": "x"}), "intelRdt"),
    ("personality flags", |c| c["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}), "flags"),
    (
        "device number",
        |c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}]),
        "device number",
    ),
    ("relative device", |c| c["linux"]["devices"] = json!([{"path": "x", "type": "c", "major": 1, "minor": 1}]), "absolute"),
    ("cgroup path that climbs", |c| c["linux"]["cgroupsPath"] = json!("/a/../../b"), "cgroupsPath"),
    ("root cgroup", |c| c["linux"]["cgroupsPath"] = json!("/"), "cgroupsPath"),
    ("namespace twice", |c| c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"})), "twice"),
    ("old specification", |c| c["ociVersion"] = json!("0.2.0"), "ociVersion"),
];

fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for (what, change, word) in rows {
        let bundle = bundle("true", *change);
        let errors = refused(&bundle);
        if !errors.to_lowercase().contains(&word.to_lowercase()) {
            wrong.push(format!("{what}: {errors}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn specifications_that_no_runtime_takes_are_refused() {
    needs_containers!();
    if hshim_tests::programs::judges_hshim() {
        check(&COMMON);
    } else {
        // The reference has words of its own.
        check(&COMMON.map(|(what, change, _word)| (what, change, "")));
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_path() {
    needs_containers!();
    only_for_hshim!();
    check(&OURS);
}

#[test]
fn all_faults_are_told_at_once() {
    needs_containers!();
    only_for_hshim!();
    let bundle = bundle("true", |config| {
        config["process"]["cwd"] = json!("x");
        config["linux"]["mountLabel"] = json!("x");
        config["mounts"][0]["options"] = json!(["idmap"]);
    });
    let errors = refused(&bundle);
    for path in ["process.cwd", "linux.mountLabel", "mounts[0].options"] {
        assert!(errors.contains(path), "{path}: {errors}");
    }
}

#[test]
fn an_unknown_field_is_passed_over() {
    needs_containers!();
    let bundle = bundle("echo fine", |config| {
        config["futureField"] = json!({"a": 1});
        config["linux"]["futureField"] = json!([1, 2]);
        config["process"]["futureField"] = json!("x");
    });
    assert_eq!(crate::stage::run(&bundle), "fine\n");
}

#[test]
fn a_config_that_is_no_json_is_refused() {
    needs_containers!();
    let bundle = Bundle::new("true");
    for text in ["", "{", "[]", "null", "\u{0}", &"[".repeat(100_000)] {
        fs::write(bundle.dir().join("config.json"), text).unwrap();
        assert!(refused(&bundle).contains("config.json") || !hshim_tests::programs::judges_hshim(), "{text:.20}");
    }
    fs::remove_file(bundle.dir().join("config.json")).unwrap();
    refused(&bundle);
}

#[test]
fn a_root_file_system_that_is_a_file_is_refused() {
    needs_containers!();
    let bundle = bundle("true", |config| config["root"]["path"] = json!("config.json"));
    refused(&bundle);
}

#[test]
fn a_mount_that_fails_is_told_with_its_cause() {
    needs_containers!();
    let bundle = bundle("true", |config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/v", "type": "bind", "source": "/no/such/dir", "options": ["bind"]}));
    });
    let errors = refused(&bundle);
    assert!(errors.contains("/no/such/dir"), "{errors}");
}
