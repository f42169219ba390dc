//! hooks: when each runs, where, and with which state on its standard input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hshim_tests::bundle::Bundle;

use hshim_tests::wait;

use crate::support::*;

/// The stages whose program is the host's.
const OUTSIDE: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// Where the hooks write: a directory of the root file system, so that all can.
fn log(bundle: &Bundle) -> PathBuf {
    bundle.rootfs().join("hooks")
}

/// Adds a hook to a stage: a shell script of the host.
fn hook(bundle: &mut Bundle, stage: &str, script: &str) {
    bundle.edit(|config| push(&mut config["hooks"][stage], json!({"path": "/bin/sh", "args": ["sh", "-c", script]})));
}

/// All six hooks; each appends its name to `order` and writes its state to a file of its name.
fn all_hooks(bundle: &mut Bundle) {
    fs::create_dir(log(bundle)).unwrap();
    fs::set_permissions(log(bundle), fs::Permissions::from_mode(0o777)).unwrap();
    let dir = log(bundle).display().to_string();
    for stage in OUTSIDE {
        hook(bundle, stage, &format!("cat > {dir}/{stage}; echo {stage} >> {dir}/order"));
    }
    hook(bundle, "startContainer", "cat > /hooks/startContainer; echo startContainer >> /hooks/order");
}

fn state(bundle: &Bundle, stage: &str) -> Value {
    let text = fs::read_to_string(log(bundle).join(stage)).unwrap_or_else(|error| panic!("{stage}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{stage}: {error}: {text}"))
}

#[test]
fn all_six_run_in_their_order() {
    let mut bundle = bundle!("echo command >> /hooks/order");
    all_hooks(&mut bundle);
    bundle.create();
    let order = || fs::read_to_string(log(&bundle).join("order")).unwrap_or_default();
    // runc 1.1 runs poststart at create.
    assert_eq!(order().replace("poststart\n", ""), "prestart\ncreateRuntime\ncreateContainer\n");
    bundle.ok(&["start", bundle.id()]);
    await_status(&bundle, "stopped");
    wait::until("the command and the hooks are done", || order().lines().count() == 6);
    let (order_now, at) = (order(), |name: &str| order().lines().position(|line| line == name).unwrap());
    assert!(at("createContainer") < at("startContainer") && at("startContainer") < at("command"), "{order_now}");
    if judges_hshim() {
        assert!(at("poststart") > at("startContainer"), "{order_now}");
    }
    bundle.ok(&["delete", bundle.id()]);
    assert_eq!(order().lines().last(), Some("poststop"));
}

#[test]
fn each_is_told_the_state() {
    let mut bundle = bundle!("sleep 1000");
    all_hooks(&mut bundle);
    bundle.edit(|config| config["annotations"] = json!({"org.example.key": "value"}));
    bundle.run_detached();
    let pid = bundle.pid();
    bundle.ok(&["delete", "-f", bundle.id()]);
    for (stage, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", if judges_hshim() { "running" } else { "created" }),
        ("poststop", "stopped"),
    ] {
        let state = state(&bundle, stage);
        assert_eq!((&state["id"], &state["status"]), (&json!(bundle.id()), &json!(status)), "{stage}");
        assert_eq!(state["bundle"], json!(bundle.dir()), "{stage}");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{stage}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{stage}");
        if ["prestart", "createRuntime", "poststart"].contains(&stage) {
            assert_eq!(state["pid"], json!(pid), "{stage}");
        } else if stage != "poststop" {
            assert_eq!(state["pid"], 1, "{stage}: as the container sees it");
        } else {
            assert!(state["pid"].is_null() || state["pid"] == 0, "{stage}: there is no process any more");
        }
    }
}

#[test]
fn the_runtimes_hooks_run_in_the_callers_namespaces() {
    let mut bundle = bundle!("true");
    fs::create_dir(log(&bundle)).unwrap();
    let dir = log(&bundle).display().to_string();
    for stage in ["prestart", "createRuntime", "poststart", "poststop"] {
        hook(&mut bundle, stage, &format!("readlink /proc/self/ns/mnt /proc/self/ns/net > {dir}/{stage}"));
    }
    bundle.says();
    let own = ["mnt", "net"].map(|ns| fs::read_link(format!("/proc/self/ns/{ns}")).unwrap().display().to_string()).join("\n");
    for stage in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(fs::read_to_string(log(&bundle).join(stage)).unwrap().trim_end(), own, "{stage}");
    }
}

#[test]
fn the_containers_hooks_run_in_its_namespaces() {
    let mut bundle = bundle!("readlink /proc/self/ns/net > /hooks/command");
    fs::create_dir(log(&bundle)).unwrap();
    let dir = log(&bundle).display().to_string();
    hook(&mut bundle, "createContainer", &format!("readlink /proc/self/ns/net > {dir}/createContainer"));
    hook(&mut bundle, "startContainer", "readlink /proc/self/ns/net > /hooks/startContainer");
    bundle.says();
    let inside = fs::read_to_string(log(&bundle).join("command")).unwrap();
    for stage in ["createContainer", "startContainer"] {
        assert_eq!(fs::read_to_string(log(&bundle).join(stage)).unwrap(), inside, "{stage}");
    }
}

#[test]
fn the_program_of_start_container_is_the_containers() {
    let mut bundle = bundle!("cat /hooks/said");
    fs::create_dir(log(&bundle)).unwrap();
    fs::write(bundle.rootfs().join("only-inside"), "#!/bin/sh\necho from inside > /hooks/said\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("only-inside"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.edit(|config| config["hooks"] = json!({"startContainer": [{"path": "/only-inside"}]}));
    assert_eq!(bundle.says(), "from inside");
}

#[test]
fn hooks_of_one_stage_run_in_their_order() {
    let mut bundle = bundle!("true");
    let file = bundle.scratch.join("order").display().to_string();
    for number in 1..=3 {
        hook(&mut bundle, "createRuntime", &format!("echo {number} >> {file}"));
    }
    bundle.says();
    assert_eq!(fs::read_to_string(file).unwrap(), "1\n2\n3\n");
}

#[test]
fn arguments_and_environment_are_those_of_the_hook() {
    let mut bundle = bundle!("true");
    let file = bundle.scratch.join("said").display().to_string();
    bundle.edit(|config| {
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh",
            "args": ["zero", "-c", "echo $0 $1 $MINE $OUTER > $OUT", "name", "one"], "env": [format!("OUT={file}"), "MINE=mine"]}]);
    });
    let output = bundle.command(&["run", bundle.id()]).env("OUTER", "outer").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(file).unwrap(), "name one mine\n");
}

#[test]
fn a_hook_without_an_environment_has_the_runtimes_or_the_containers() {
    let mut bundle = bundle!("true");
    fs::create_dir(log(&bundle)).unwrap();
    let dir = log(&bundle).display().to_string();
    bundle.edit(|config| push(&mut config["process"]["env"], json!("OF=container")));
    for stage in OUTSIDE {
        hook(&mut bundle, stage, &format!("echo $OF > {dir}/{stage}"));
    }
    hook(&mut bundle, "startContainer", "echo $OF > /hooks/startContainer");
    let output = bundle.command(&["run", bundle.id()]).env("OF", "runtime").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for stage in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(fs::read_to_string(log(&bundle).join(stage)).unwrap(), "runtime\n", "{stage}");
    }
    for stage in ["createContainer", "startContainer"] {
        assert_eq!(fs::read_to_string(log(&bundle).join(stage)).unwrap(), "container\n", "{stage}");
    }
}

#[test]
fn an_empty_environment_of_a_hook_is_empty() {
    only_hshim!("runc takes an empty list for none");
    let mut bundle = bundle!("true");
    let file = bundle.scratch.join("said").display().to_string();
    bundle.edit(|config| {
        let script = format!("echo ${{OF:-nothing}} > {file}");
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": []}]);
    });
    let output = bundle.command(&["run", bundle.id()]).env("OF", "runtime").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(file).unwrap(), "nothing\n");
}

#[test]
fn a_failed_hook_before_start_fails_the_create_and_leaves_nothing() {
    for stage in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = bundle!("true");
        hook(&mut bundle, stage, "echo because >&2; exit 3");
        let errors = bundle.refused(&["create", bundle.id()]);
        assert!(errors.contains("hook"), "{stage}: {errors}");
        assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0), "{stage}");
    }
}

#[test]
fn later_hooks_do_not_run_after_a_failed_one() {
    let mut bundle = bundle!("true");
    let file = bundle.scratch.join("ran");
    hook(&mut bundle, "createRuntime", "exit 1");
    hook(&mut bundle, "createRuntime", &format!("touch {}", file.display()));
    bundle.fails();
    assert!(!file.exists());
}

#[test]
fn a_failed_start_container_hook_keeps_the_command_from_running() {
    let mut bundle = bundle!("echo ran");
    hook(&mut bundle, "startContainer", "exit 3");
    let output = bundle.run();
    assert!(!output.status.success());
    assert_eq!(stdout(&output), "");
    await_status(&bundle, "absent");
}

#[test]
fn a_failed_poststart_hook_is_an_error_and_ends_the_container() {
    let mut bundle = bundle!("sleep 1000");
    only_hshim!("runc 1.1 runs poststart at create, which fails then");
    hook(&mut bundle, "poststart", "exit 3");
    bundle.create();
    let errors = bundle.refused(&["start", bundle.id()]);
    assert!(errors.contains("hook"), "{errors}");
    await_status(&bundle, "stopped");
}

#[test]
fn a_failed_poststop_hook_does_not_keep_the_container() {
    only_hshim!("runc 1.1 leaves out the hooks after it");
    let mut bundle = bundle!("true");
    let file = bundle.scratch.join("ran");
    hook(&mut bundle, "poststop", "exit 3");
    hook(&mut bundle, "poststop", &format!("touch {}", file.display()));
    bundle.run_detached();
    await_status(&bundle, "stopped");
    drop(bundle.runtime(&["delete", bundle.id()]));
    assert_eq!(bundle.status(), "absent");
    assert!(file.exists(), "the others run all the same");
}

#[test]
fn a_hook_that_takes_longer_than_its_timeout_has_failed() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]);
    });
    bundle.fails();
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn every_stage_has_a_timeout() {
    for stage in ["prestart", "createContainer", "startContainer", "poststart"] {
        let mut bundle = bundle!("sleep 1000");
        bundle.edit(|config| {
            config["hooks"][stage] = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]);
        });
        let begun = std::time::Instant::now();
        let output = bundle.run();
        assert!(!output.status.success(), "{stage}");
        assert!(begun.elapsed() < wait::PATIENCE, "{stage}");
        drop(bundle.runtime(&["delete", "--force", bundle.id()]));
    }
}

#[test]
fn a_poststop_hook_that_takes_too_long_does_not_keep_the_container() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        config["hooks"]["poststop"] = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]);
    });
    bundle.run_detached();
    await_status(&bundle, "stopped");
    drop(bundle.runtime(&["delete", bundle.id()]));
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_timeout_that_is_not_positive_is_refused() {
    only_hshim!("runc takes zero for no time at all");
    for (stage, timeout) in [("prestart", 0), ("poststop", -1)] {
        let mut bundle = bundle!("true");
        bundle.edit(|config| config["hooks"][stage] = json!([{"path": "/bin/true", "timeout": timeout}]));
        let errors = bundle.fails();
        assert!(errors.contains(&format!("hooks.{stage}[0].timeout")), "{errors}");
    }
}

#[test]
fn a_missing_hook_fails_the_create() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| config["hooks"]["createRuntime"] = json!([{"path": "/no/such/hook"}]));
    bundle.fails();
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_hook_with_a_relative_path_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| config["hooks"]["poststop"] = json!([{"path": "sh"}]));
    only_hshim!("runc 1.1 finds out when it runs it");
    assert!(bundle.fails().contains("hooks"));
}

#[test]
fn hooks_that_do_not_read_their_state_are_no_trouble() {
    let mut bundle = bundle!("echo ran");
    for stage in OUTSIDE {
        hook(&mut bundle, stage, "exec <&-; true");
    }
    assert_eq!(bundle.says(), "ran");
}
