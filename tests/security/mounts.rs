//! Mounts are what was asked for: propagation, flags, devices.

use std::fs;
use std::process::Command;

use hshim_tests::bundle::Bundle;
use serde_json::{Value, json};

use crate::stage::{bundle, needs_containers, refused, run, try_run};

/// `run` in a mount namespace in which everything is shared, as it is on a host with systemd.
fn run_among_shared_mounts(bundle: &Bundle) -> String {
    let command = format!(
        "mount --make-rshared / && exec {} --root {} run --bundle . {}",
        bundle.program.display(),
        bundle.root().display(),
        bundle.id()
    );
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "/bin/sh", "-c", &command])
        .current_dir(bundle.dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The propagation of /v that is asked for with these options, as mountinfo has it.
fn propagation(options: &[&str], root: Value) -> String {
    let bundle = bundle("grep ' /v ' /proc/self/mountinfo", |config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/v", "type": "bind", "source": "/usr", "options": options}));
        if !root.is_null() {
            config["linux"]["rootfsPropagation"] = root;
        }
    });
    let seen = run_among_shared_mounts(&bundle);
    let fields = seen.split(' ').skip(6).take_while(|field| *field != "-");
    fields.map(|field| field.split(':').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_mount_has_the_propagation_that_it_asks_for() {
    needs_containers!();
    for (options, root, wanted) in [
        (&["rbind"][..], Value::Null, "master"),
        (&["rbind", "rprivate"], Value::Null, ""),
        (&["rbind", "rslave"], Value::Null, "master"),
        (&["rbind", "rshared"], json!("rshared"), "shared"),
        (&["rbind", "rprivate"], json!("rslave"), ""),
        (&["bind", "private"], json!("rshared"), ""),
    ] {
        assert_eq!(propagation(options, root.clone()), wanted, "{options:?} {root}");
    }
}

#[test]
fn an_unknown_root_propagation_is_refused() {
    needs_containers!();
    let bundle = bundle("true", |config| config["linux"]["rootfsPropagation"] = json!("sideways"));
    assert!(refused(&bundle).to_lowercase().contains("propagation"));
}

#[test]
fn a_read_only_dev_is_read_only() {
    needs_containers!();
    let bundle = bundle("touch /dev/x; echo $?; echo x > /dev/null; echo $?", |config| {
        config["mounts"][1]["options"].as_array_mut().unwrap().push(json!("ro"));
    });
    assert_eq!(run(&bundle), "1\n0\n");
}

#[test]
fn a_device_outside_dev_is_made() {
    needs_containers!();
    let bundle = bundle("ls -ln /opt/x/null | cut -c1-10; stat -c '%t:%T %u:%g' /opt/x/null", |config| {
        config["linux"]["devices"] =
            json!([{"path": "/opt/x/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}]);
    });
    assert_eq!(run(&bundle), "crw-r-----\n1:3 3:4\n");
}

#[test]
fn a_relative_source_is_seen_from_the_bundle() {
    needs_containers!();
    let bundle = bundle("cat /v/file", |config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/v", "type": "bind", "source": "volume", "options": ["bind", "ro"]}));
    });
    fs::create_dir(bundle.dir().join("volume")).unwrap();
    fs::write(bundle.dir().join("volume/file"), "content").unwrap();
    let mut command = bundle.command(&["run", "--bundle", bundle.dir().to_str().unwrap(), bundle.id()]);
    let output = command.current_dir("/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "content", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_thousand_mounts_are_mounted() {
    needs_containers!();
    let bundle = bundle("grep -c ' /m/' /proc/self/mountinfo", |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        for n in 0..1000 {
            mounts.push(json!({"destination": format!("/m/{n}"), "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]}));
        }
    });
    let output = try_run(&bundle);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n", "{}", String::from_utf8_lossy(&output.stderr));
}
