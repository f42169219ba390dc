//! Global flags, logs, exit codes, version, spec and features.

use std::fs;
use std::process::Command;

use crate::support::*;

#[test]
fn help_succeeds_and_names_every_verb() {
    let bundle = bundle!("true");
    let help = bundle.ok(&["--help"]);
    for verb in [
        "create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "spec", "features", "pause", "resume",
        "update", "events",
    ] {
        assert!(help.contains(verb), "{verb}: {help}");
    }
}

#[test]
fn version_names_the_specification() {
    let bundle = bundle!("true");
    for flag in ["--version", "-v"] {
        let version = bundle.ok(&[flag]);
        assert!(version.lines().next().unwrap().contains(" version "), "{version}");
        assert!(version.lines().any(|line| line.starts_with("spec: 1.")), "{version}");
    }
}

#[test]
fn an_unknown_verb_is_refused() {
    let bundle = bundle!("true");
    bundle.refused(&["no-such-verb"]);
}

#[test]
fn an_unknown_flag_is_refused() {
    let bundle = bundle!("true");
    for verb in ["create", "start", "state", "kill", "delete", "run", "list", "ps"] {
        let output = bundle.runtime(&[verb, "--no-such-flag", bundle.id()]);
        assert!(!output.status.success(), "{verb}");
    }
}

#[test]
fn errors_are_one_and_go_to_standard_error() {
    let bundle = bundle!("true");
    for args in [
        vec!["state", bundle.id()],
        vec!["start", bundle.id()],
        vec!["kill", bundle.id()],
        vec!["delete", bundle.id()],
        vec!["create", bundle.id(), "-b", "/nowhere"],
    ] {
        let output = bundle.runtime(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
        assert!(!stderr(&output).is_empty(), "{args:?}");
    }
}

/// A failing command with a log; the log.
fn log_of(bundle: &hshim_tests::bundle::Bundle, flags: &[&str]) -> String {
    let log = bundle.scratch.join("log");
    let output = Command::new(&bundle.program)
        .args(["--root", bundle.root().to_str().unwrap(), "--log", log.to_str().unwrap()])
        .args(flags)
        .args(["state", "no-such-container"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    fs::read_to_string(log).unwrap()
}

#[test]
fn the_json_log_is_what_containerd_reads() {
    let bundle = bundle!("true");
    let log = log_of(&bundle, &["--log-format", "json"]);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = lines.iter().rfind(|line| line["level"] == "error").expect("an error");
    assert!(error["msg"].as_str().unwrap().contains("does not exist"), "{log}");
    assert!(error["time"].as_str().unwrap().contains('T'), "{log}");
}

#[test]
fn the_text_log_is_that_of_logrus() {
    let bundle = bundle!("true");
    let log = log_of(&bundle, &["--log-format", "text"]);
    assert!(log.lines().any(|line| line.starts_with("time=\"") && line.contains("level=error msg=\"")), "{log}");
}

#[test]
fn a_log_is_appended_to() {
    let bundle = bundle!("true");
    let first = log_of(&bundle, &[]);
    let second = log_of(&bundle, &[]);
    assert!(second.starts_with(&first) && second.len() > first.len());
}

#[test]
fn an_unknown_log_format_is_refused() {
    let bundle = bundle!("true");
    let output = Command::new(&bundle.program).args(["--log-format", "xml", "list"]).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn debug_logs_more() {
    let bundle = bundle!("true");
    let log = bundle.scratch.join("debug.log");
    let root = bundle.root();
    let output = Command::new(&bundle.program)
        .args(["--debug", "--log", log.to_str().unwrap(), "--log-format", "json", "--root", root.to_str().unwrap(), "run", "-b"])
        .args([bundle.dir().to_str().unwrap(), bundle.id()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.lines().any(|line| line.contains("\"level\":\"debug\"")), "{log}");
}

#[test]
fn nothing_is_logged_when_all_is_well() {
    let bundle = bundle!("echo out");
    let output = bundle.run();
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", ""));
}

#[test]
fn rootless_changes_nothing_for_root() {
    let bundle = bundle!("echo out");
    for rootless in ["false", "auto", "true"] {
        let output = Command::new(&bundle.program)
            .args(["--rootless", rootless, "--root", bundle.root().to_str().unwrap(), "run", bundle.id()])
            .current_dir(bundle.dir())
            .output()
            .unwrap();
        assert_eq!(stdout(&output), "out\n", "{}", stderr(&output));
    }
}

#[test]
fn spec_writes_a_bundle_that_runs() {
    let bundle = bundle!("true");
    fs::remove_file(bundle.dir().join("config.json")).unwrap();
    bundle.ok(&["spec"]);
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.dir().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    config["process"]["args"] = json!(["echo", "runs"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/hshim-tests/{}", bundle.id()));
    // What a machine inside a machine may not raise.
    config["process"].as_object_mut().unwrap().remove("rlimits");
    fs::write(bundle.dir().join("config.json"), config.to_string()).unwrap();
    assert_eq!(bundle.says(), "runs");
}

#[test]
fn spec_does_not_overwrite() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["spec"]);
    assert!(errors.contains("exist"), "{errors}");
    assert_eq!(fs::read_to_string(bundle.dir().join("config.json")).unwrap(), bundle.config.to_string());
}

#[test]
fn spec_writes_into_the_bundle_that_is_named() {
    let bundle = bundle!("true");
    let dir = bundle.scratch.join("other");
    fs::create_dir(&dir).unwrap();
    bundle.ok(&["spec", "--bundle", dir.to_str().unwrap()]);
    assert!(dir.join("config.json").exists());
}

#[test]
fn spec_rootless_has_a_user_namespace_and_maps() {
    let bundle = bundle!("true");
    let dir = bundle.scratch.join("other");
    fs::create_dir(&dir).unwrap();
    bundle.ok(&["spec", "--rootless", "-b", dir.to_str().unwrap()]);
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    let types: Vec<&str> =
        config["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"user") && !types.contains(&"network"), "{types:?}");
    assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    assert_eq!(config["linux"]["gidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
}

#[test]
fn features_is_one_document_of_the_specifications_shape() {
    let bundle = bundle!("true");
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    for field in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"] {
        assert!(!features[field].is_null(), "{field}");
    }
    for field in ["namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux"] {
        assert!(!features["linux"][field].is_null(), "linux.{field}");
    }
    let hooks: Vec<&str> = features["hooks"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(hooks.contains(&hook), "{hook}");
    }
}

#[test]
fn features_does_not_promise_what_is_refused() {
    only_hshim!("of hshim's own limits");
    let bundle = bundle!("true");
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["selinux"]["enabled"], false);
    assert_eq!(features["linux"]["intelRdt"]["enabled"], false);
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], false);
    let text = features.to_string();
    for absent in ["checkpoint", "SCMP_ACT_NOTIFY\"", "\"idmap\","] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn features_promises_what_is_honoured_of_later_specifications() {
    only_hshim!("runc 1.1 knows none of it");
    let bundle = bundle!("true");
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["netDevices"]["enabled"], true, "see net_devices.rs");
    let policies = &features["linux"]["memoryPolicy"];
    assert!(policies["modes"].as_array().unwrap().contains(&json!("MPOL_BIND")), "see scheduling.rs");
    assert!(policies["flags"].as_array().unwrap().contains(&json!("MPOL_F_STATIC_NODES")));
}

#[test]
fn features_names_only_mount_options_that_work() {
    only_hshim!("of hshim's own list");
    let bundle = bundle!("true");
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    let options: Vec<String> =
        features["mountOptions"].as_array().unwrap().iter().map(|option| option.as_str().unwrap().to_owned()).collect();
    // Of file systems and kernels that cannot all of them: mand is gone since Linux 5.15.
    // Of file systems that cannot all of them; tmpcopyup has tests of its own (copy_up.rs).
    let of_others = ["bind", "rbind", "tmpcopyup"];
    assert!(of_others.iter().all(|option| options.iter().any(|promised| promised == option)));
    let mut bundle = bundle;
    let source = bundle.scratch.join("src");
    fs::create_dir_all(&source).unwrap();
    for option in options.iter().filter(|option| !of_others.contains(&option.as_str())) {
        for mount in [
            json!({"destination": "/m", "type": "bind", "source": source, "options": ["rbind", option]}),
            json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": [option]}),
        ] {
            bundle.edit(|config| {
                config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/m");
                push(&mut config["mounts"], mount);
            });
            let output = bundle.run();
            assert!(output.status.success(), "{option}: {}", stderr(&output));
        }
    }
}

#[test]
fn checkpoint_and_restore_say_why_not() {
    only_hshim!("runc has them");
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    for verb in ["checkpoint", "restore"] {
        let errors = bundle.refused(&[verb, "--image-path", "/nowhere", bundle.id()]);
        assert!(errors.contains("not supported"), "{verb}: {errors}");
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_caller_without_root_is_told_so() {
    let bundle = bundle!("true");
    only_hshim!("runc's words are others");
    // As `nobody`, with a copy that it can reach.
    let copy = bundle.scratch.join("runtime");
    fs::copy(&bundle.program, &copy).unwrap();
    fs::set_permissions(bundle.scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--root", "/tmp/no-such", "create", "-b"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("root"), "{}", stderr(&output));
}
