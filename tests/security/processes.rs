//! Processes are who they are: no signal for a stranger, no state that a signal corrupts (L8, L9, L11, L12).

use std::fs;
use std::process::{Command, Stdio};

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;
use serde_json::Value;

use crate::stage::{bundle, exec, needs_containers, only_for_hshim, refused, running};

#[test]
fn a_signal_to_a_created_container_leaves_it_what_it_is() {
    needs_containers!();
    let bundle = Bundle::new("echo started; sleep 1000");
    bundle.create();
    // It has the default action: URG is ignored.
    bundle.ok(&["kill", bundle.id(), "URG"]);
    assert_eq!(bundle.status(), "created");
    bundle.ok(&["start", bundle.id()]);
    wait::until("it runs", || bundle.stdout() == "started\n");
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_signal_to_a_paused_container_leaves_it_paused() {
    needs_containers!();
    let bundle = Bundle::new("echo up; sleep 1000");
    running(&bundle);
    // On a hybrid machine the freezer is the one of v1.
    let freezer = [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")].into_iter().find_map(|(file, word)| {
        bundle.cgroups().into_iter().map(|dir| dir.join(file)).find(|file| file.exists()).map(|file| (file, word))
    });
    let Some((freezer, word)) = freezer else { hshim_tests::skip!("no freezer here") };
    fs::write(&freezer, word).unwrap();
    wait::until("it is paused", || bundle.status() == "paused");
    bundle.ok(&["kill", bundle.id(), "URG"]);
    assert_eq!(bundle.status(), "paused");
    let errors = bundle.refused(&["exec", bundle.id(), "true"]);
    assert!(errors.contains("paused"), "{errors}");
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it ends nevertheless", || bundle.status() == "stopped");
}

#[test]
fn a_stranger_with_the_process_id_is_neither_running_nor_killed() {
    needs_containers!();
    only_for_hshim!();
    let bundle = Bundle::new("echo up; sleep 1000");
    running(&bundle);
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it ends", || bundle.status() == "stopped");
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let file = bundle.root().join("containers").join(bundle.id()).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    state["init"]["pid"] = Value::from(stranger.id());
    for inode in [state["init"]["pidfdInode"].clone(), Value::Null] {
        // As the kernel reuses a process id: everything but the number is that of the dead one.
        state["init"]["pidfdInode"] = inode;
        fs::write(&file, state.to_string()).unwrap();
        assert_eq!(bundle.status(), "stopped");
        bundle.refused(&["kill", bundle.id(), "KILL"]);
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    }
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_container_with_cgroups_of_its_own_is_deleted_with_them() {
    needs_containers!();
    let bundle = Bundle::new("echo up; sleep 1000");
    running(&bundle);
    for dir in bundle.cgroups() {
        fs::create_dir_all(dir.join("deep/er")).unwrap();
    }
    bundle.ok(&["delete", "--force", bundle.id()]);
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn an_exec_leaves_no_file_behind() {
    needs_containers!();
    let bundle = Bundle::new("echo up; sleep 1000");
    running(&bundle);
    let files = || walk(&bundle.root()).len();
    exec(&bundle, "true");
    let before = files();
    for _exec in 0..3 {
        exec(&bundle, "true");
    }
    assert_eq!(files(), before);
}

#[test]
fn two_containers_cannot_have_one_cgroup() {
    needs_containers!();
    only_for_hshim!();
    let first = Bundle::new("echo up; sleep 1000");
    running(&first);
    let second = bundle("true", |config| config["linux"]["cgroupsPath"] = first.config["linux"]["cgroupsPath"].clone());
    let errors = refused(&second);
    assert!(errors.contains("in use"), "{errors}");
    assert_eq!(first.status(), "running");
}

#[test]
fn the_state_directory_is_for_root_alone() {
    needs_containers!();
    only_for_hshim!();
    let bundle = Bundle::new("true");
    bundle.create();
    let mode = fs::metadata(bundle.root().join("containers").join(bundle.id())).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o700);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        files.push(entry.path());
        files.extend(walk(&entry.path()));
    }
    files
}
