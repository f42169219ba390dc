//! create, start, run, delete: the lifecycle of runtime.md.

use std::fs;

use hshim_tests::bundle::Bundle;
use hshim_tests::scratch::unique;
use hshim_tests::wait;

use crate::support::*;

#[test]
fn create_leaves_a_container_that_waits_for_start() {
    let bundle = bundle!("echo ran");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.stdout(), "", "the command must not run before start");
    bundle.ok(&["start", bundle.id()]);
    wait::until("it runs", || bundle.stdout() == "ran\n");
}

#[test]
fn a_started_container_is_running_and_an_ended_one_stopped() {
    let bundle = bundle!("read line < /hold; exit 3");
    nix::unistd::mkfifo(&bundle.rootfs().join("hold"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    bundle.create();
    bundle.ok(&["start", bundle.id()]);
    assert_eq!(bundle.status(), "running");
    fs::write(bundle.rootfs().join("hold"), "go\n").unwrap();
    await_status(&bundle, "stopped");
}

#[test]
fn an_id_that_is_in_use_is_refused_and_its_container_lives_on() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let pid = bundle.pid();
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.contains("container with given ID already exists"), "{errors}");
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
}

#[test]
fn ids_that_are_no_file_names_are_refused() {
    let bundle = bundle!("true");
    for id in ["a/b", "../a", "..", "", "a b", "/", "a\nb", "ä"] {
        bundle.refused(&["create", id]);
    }
    assert!(!bundle.scratch.join("a").exists());
}

#[test]
fn ids_of_all_allowed_characters_are_taken() {
    let bundle = bundle!("true");
    let id = format!("{}_a+b-C.9", bundle.id());
    bundle.ok(&["run", &id]);
}

#[test]
fn containers_of_another_root_are_not_seen() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let other = bundle.scratch.join("other");
    let output = std::process::Command::new(&bundle.program)
        .args(["--root", other.to_str().unwrap(), "state", bundle.id()])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn create_without_an_id_is_refused() {
    let bundle = bundle!("true");
    for verb in ["create", "start", "state", "kill", "delete", "run", "exec", "ps"] {
        bundle.refused(&[verb]);
    }
}

#[test]
fn more_arguments_than_a_verb_takes_are_refused() {
    let bundle = bundle!("true");
    for verb in ["create", "start", "state", "delete", "run"] {
        bundle.refused(&[verb, bundle.id(), "more"]);
    }
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_missing_bundle_is_refused() {
    let bundle = bundle!("true");
    bundle.refused(&["create", "--bundle", "/nowhere", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_bundle_without_config_json_is_refused() {
    let bundle = bundle!("true");
    fs::remove_file(bundle.dir().join("config.json")).unwrap();
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.contains("config.json"), "{errors}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_config_json_that_is_no_json_is_refused() {
    let bundle = bundle!("true");
    for text in ["{", "[]", "null", "\"x\"", ""] {
        fs::write(bundle.dir().join("config.json"), text).unwrap();
        bundle.refused(&["create", bundle.id()]);
    }
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_missing_root_file_system_is_refused() {
    let bundle = bundle!("true", root.path = "nowhere");
    bundle.refused(&["create", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_later_specification_than_1_x_is_refused() {
    only_hshim!("runc 1.1 does not look at ociVersion");
    let bundle = bundle!("true", ociVersion = "2.0.0");
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.contains("ociVersion"), "{errors}");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let bundle = bundle!("true");
    let mut bundle = bundle;
    bundle.edit(|config| push(&mut config["mounts"], json!({"destination": "/x", "type": "nosuchfs", "source": "none"})));
    bundle.refused(&["create", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
    assert_eq!(bundle.scratch.mounts(), Vec::<std::path::PathBuf>::new());
    assert_eq!(bundle.ok(&["list", "-q"]), "");
}

#[test]
fn an_absolute_root_path_is_taken() {
    let mut bundle = bundle!("echo here");
    let rootfs = bundle.rootfs();
    bundle.edit(|config| config["root"]["path"] = json!(rootfs));
    assert_eq!(bundle.says(), "here");
}

#[test]
fn a_bundle_is_found_from_any_directory() {
    let bundle = bundle!("echo here");
    let output =
        bundle.command(&["run", "--bundle", bundle.dir().to_str().unwrap(), bundle.id()]).current_dir("/").output().unwrap();
    assert_eq!(stdout(&output), "here\n", "{}", stderr(&output));
}

#[test]
fn changes_to_config_json_after_create_have_no_effect() {
    let mut bundle = bundle!("echo first");
    bundle.create();
    bundle.edit(|config| config["process"]["args"] = json!(["/bin/echo", "second"]));
    bundle.ok(&["start", bundle.id()]);
    wait::until("it runs", || bundle.stdout() == "first\n");
}

#[test]
fn a_container_whose_bundle_is_gone_can_be_deleted() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    fs::remove_file(bundle.dir().join("config.json")).unwrap();
    bundle.ok(&["delete", "-f", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn start_of_an_absent_container_is_refused() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["start", bundle.id()]);
    assert!(errors.contains("does not exist"), "{errors}");
}

#[test]
fn start_of_a_running_container_is_refused_and_changes_nothing() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let pid = bundle.pid();
    let errors = bundle.refused(&["start", bundle.id()]);
    assert!(errors.contains("cannot start an already running container"), "{errors}");
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
}

#[test]
fn start_of_a_stopped_container_is_refused() {
    let bundle = bundle!("true");
    bundle.run_detached();
    await_status(&bundle, "stopped");
    let errors = bundle.refused(&["start", bundle.id()]);
    assert!(errors.contains("cannot start a container that has stopped"), "{errors}");
}

#[test]
fn run_returns_the_exit_code_of_the_command() {
    for code in [0, 1, 42, 255] {
        let bundle = bundle!(&format!("exit {code}"));
        assert_eq!(bundle.run().status.code(), Some(code));
    }
}

#[test]
fn run_returns_128_and_the_signal_that_ended_the_command() {
    // Only from outside its pid namespace can init be killed.
    let bundle = bundle!("sleep 1000");
    let mut run = bundle.command(&["run", bundle.id()]).spawn().unwrap();
    await_status(&bundle, "running");
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    assert_eq!(run.wait().unwrap().code(), Some(128 + 9));
}

#[test]
fn run_deletes_the_container_at_its_end() {
    let bundle = bundle!("true");
    bundle.says();
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn run_keeps_the_container_when_told() {
    let bundle = bundle!("true");
    let output = bundle.runtime(&["run", "--keep", bundle.id()]);
    if !judges_hshim() && stderr(&output).contains("flag provided but not defined") {
        hshim_tests::skip!("this runc has no --keep");
    }
    assert!(output.status.success());
    assert_eq!(bundle.status(), "stopped");
    bundle.ok(&["delete", bundle.id()]);
}

/// Who becomes the parent of a process that the container's command leaves behind, in a container without a pid namespace.
fn parent_of_an_orphan(flags: &[&str]) -> (i32, i32) {
    let mut bundle = Bundle::new("(sleep 1000 & echo $! > /orphan); : > /ready; exec sleep 1000");
    bundle.edit(|config| without_namespace(config, "pid"));
    let mut args = vec!["run"];
    args.extend(flags);
    args.push(bundle.id());
    let mut run = bundle.command(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
    wait::until("the command is ready", || bundle.rootfs().join("ready").exists());
    let orphan = fs::read_to_string(bundle.rootfs().join("orphan")).unwrap().trim().to_owned();
    let status = fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    bundle.ok(&["kill", "--all", bundle.id(), "KILL"]);
    drop(run.wait());
    (parent, i32::try_from(run.id()).unwrap())
}

#[test]
fn run_is_the_parent_of_orphans_unless_told_otherwise() {
    needs_containers!();
    let (parent, run) = parent_of_an_orphan(&[]);
    assert_eq!(parent, run);
    let (parent, run) = parent_of_an_orphan(&["--no-subreaper"]);
    assert_ne!(parent, run);
}

#[test]
fn run_detached_returns_while_the_container_runs() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    assert_eq!(bundle.status(), "running");
}

#[test]
fn run_passes_signals_on_to_the_command() {
    let bundle = bundle!("trap 'exit 7' TERM; echo ready > /ready; while :; do sleep 0.1; done");
    let mut run = bundle.command(&["run", bundle.id()]).spawn().unwrap();
    wait::until("the trap is set", || bundle.rootfs().join("ready").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(7));
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    let bundle = bundle!("true", process.args = ["/no/such/command"]);
    let output = bundle.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no such file or directory"), "{}", stderr(&output));
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn delete_of_a_running_container_is_refused() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let errors = bundle.refused(&["delete", bundle.id()]);
    assert!(errors.contains("that is not stopped: running"), "{errors}");
    assert_eq!(bundle.status(), "running");
}

#[test]
fn delete_of_an_absent_container_is_refused_without_force() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["delete", bundle.id()]);
    assert!(errors.contains("does not exist"), "{errors}");
    bundle.ok(&["delete", "--force", bundle.id()]);
}

#[test]
fn delete_ends_a_created_container() {
    let bundle = bundle!("echo ran");
    bundle.create();
    let pid = bundle.pid();
    bundle.ok(&["delete", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.stdout().as_str()), ("absent", ""));
    wait::until("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}/root")).exists());
}

#[test]
fn delete_with_force_ends_a_running_container() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let pid = bundle.pid();
    bundle.ok(&["delete", "-f", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
    wait::until("its process is gone", || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty());
}

#[test]
fn delete_removes_the_cgroups() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    assert!(!bundle.cgroups().is_empty());
    bundle.ok(&["delete", "-f", bundle.id()]);
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn delete_leaves_what_it_did_not_make() {
    let bundle = bundle!("touch /made");
    bundle.run_detached();
    await_status(&bundle, "stopped");
    bundle.ok(&["delete", bundle.id()]);
    assert!(bundle.rootfs().join("made").exists());
    assert!(bundle.dir().join("config.json").exists());
    assert_eq!(bundle.scratch.mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    let bundle = bundle!("true");
    for _life in 0..3 {
        bundle.run_detached();
        await_status(&bundle, "stopped");
        bundle.ok(&["delete", bundle.id()]);
    }
}

#[test]
fn a_container_outlives_the_program_that_created_it() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    let parent = fs::read_to_string(format!("/proc/{}/stat", bundle.pid())).unwrap();
    assert!(!parent.is_empty());
    bundle.ok(&["start", bundle.id()]);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn the_pid_file_has_the_number_alone() {
    let bundle = bundle!("sleep 1000");
    let file = bundle.scratch.join(unique("pid"));
    assert!(bundle.detached(&["create", "--pid-file", file.to_str().unwrap(), bundle.id()]).success(), "{}", bundle.stderr());
    assert_eq!(fs::read_to_string(&file).unwrap(), bundle.pid().to_string());
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_the_create() {
    let bundle = bundle!("sleep 1000");
    assert!(!bundle.detached(&["create", "--pid-file", "/nowhere/pid", bundle.id()]).success());
    await_status(&bundle, "absent");
}
