//! linux.cgroupsPath and linux.resources, read back from the file system and from inside.

use std::fs;
use std::path::PathBuf;

use crate::support::*;

/// The file of a controller in the container's cgroup, whichever hierarchy has it.
fn file(bundle: &hshim_tests::bundle::Bundle, name: &str) -> Option<PathBuf> {
    bundle.cgroups().into_iter().map(|dir| dir.join(name)).find(|path| path.exists())
}

/// What a limit's file says: that of cgroup v1 or that of v2.
fn limit(bundle: &hshim_tests::bundle::Bundle, v1: &str, v2: &str) -> Option<String> {
    let file = file(bundle, v1).or_else(|| file(bundle, v2))?;
    Some(fs::read_to_string(file).unwrap().trim().to_owned())
}

/// Whether a controller is there: in a v1 hierarchy of its own, or on v2.
pub(crate) fn has_controller(name: &str) -> bool {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let on_v2 = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    root.join(name).join("release_agent").exists() || on_v2.split_whitespace().any(|controller| controller == name)
}

macro_rules! needs_controllers {
    ($($name:literal),+) => {
        if let Some(missing) = [$($name),+].into_iter().find(|name| !has_controller(name)) {
            hshim_tests::skip!("no {missing} controller here");
        }
    };
}

#[test]
fn the_process_is_in_the_cgroup_that_is_asked_for() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    let path = format!(":/hshim-tests/{}", bundle.id());
    assert!(cgroups.lines().any(|line| line.ends_with(&path)), "{cgroups}");
}

#[test]
fn without_a_path_every_container_has_a_cgroup_of_its_own() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| drop(config["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    bundle.create();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(cgroups.lines().any(|line| line.ends_with(&format!("/{}", bundle.id()))), "{cgroups}");
    bundle.ok(&["delete", "-f", bundle.id()]);
}

#[test]
fn the_pids_limit_is_set() {
    needs_controllers!("pids");
    let bundle = bundle!("sleep 1000", linux.resources = {"pids": {"limit": 33}});
    bundle.create();
    match limit(&bundle, "pids.max", "pids.max") {
        Some(limit) => assert_eq!(limit, "33"),
        None => hshim_tests::skip!("no pids controller here"),
    }
}

#[test]
fn the_pids_limit_is_kept() {
    let bundle =
        bundle!("i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; echo all", linux.resources = {"pids": {"limit": 8}});
    needs_controllers!("pids");
    let output = bundle.run();
    assert!(!stdout(&output).contains("all"), "{}", stdout(&output));
}

#[test]
fn the_memory_limit_is_set() {
    needs_controllers!("memory");
    let bundle = bundle!("sleep 1000", linux.resources = {"memory": {"limit": 67108864}});
    bundle.create();
    match limit(&bundle, "memory.limit_in_bytes", "memory.max") {
        Some(limit) => assert_eq!(limit, "67108864"),
        None => hshim_tests::skip!("no memory controller here"),
    }
}

#[test]
fn cpu_quota_and_period_are_set() {
    needs_controllers!("cpu");
    let bundle = bundle!("sleep 1000", linux.resources = {"cpu": {"quota": 20000, "period": 50000, "shares": 512}});
    bundle.create();
    let Some(quota) = limit(&bundle, "cpu.cfs_quota_us", "cpu.max") else { hshim_tests::skip!("no cpu controller here") };
    assert!(quota == "20000" || quota == "20000 50000", "{quota}");
    assert!(limit(&bundle, "cpu.shares", "cpu.weight").is_some_and(|shares| shares == "512" || shares == "20"));
}

#[test]
fn the_set_of_cpus_is_set() {
    let bundle = bundle!("grep Cpus_allowed_list /proc/self/status", linux.resources = {"cpu": {"cpus": "0", "mems": "0"}});
    needs_controllers!("cpuset");
    assert_eq!(bundle.says().split_whitespace().nth(1), Some("0"));
}

#[test]
fn a_limit_that_the_kernel_refuses_fails_the_create() {
    let bundle = bundle!("sleep 1000", linux.resources = {"cpu": {"cpus": "4000-4001"}});
    needs_controllers!("cpuset");
    bundle.refused(&["create", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn exec_is_in_the_containers_cgroups() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert_eq!(bundle.exec(&[bundle.id(), "cat", "/proc/self/cgroup"]), own.trim_end());
}

#[test]
fn sub_cgroups_go_with_the_container() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    for cgroup in bundle.cgroups() {
        fs::create_dir_all(cgroup.join("made/below")).unwrap();
    }
    bundle.ok(&["delete", "-f", bundle.id()]);
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn a_cgroup_mount_is_read_only() {
    let mut bundle =
        bundle!("for d in /sys/fs/cgroup/*/; do mkdir $d/made 2>/dev/null && echo $d; done; ls /sys/fs/cgroup | wc -l");
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
        );
    });
    let said = bundle.says();
    assert!(said.lines().count() == 1 && said.parse::<u32>().unwrap() > 0, "written to: {said}");
}

#[test]
fn a_paused_container_is_shown_as_such_and_takes_no_exec() {
    let bundle = bundle!("while :; do sleep 0.01; done");
    bundle.run_detached();
    bundle.ok(&["pause", bundle.id()]);
    assert_eq!(bundle.status(), "paused");
    let errors = bundle.refused(&["exec", bundle.id(), "true"]);
    assert!(errors.contains("cannot exec in a paused container"), "{errors}");
    bundle.refused(&["delete", bundle.id()]);
    bundle.ok(&["resume", bundle.id()]);
    assert_eq!(bundle.status(), "running");
    bundle.exec(&[bundle.id(), "true"]);
}

#[test]
fn a_paused_container_can_be_killed_and_deleted_with_force() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    bundle.ok(&["pause", bundle.id()]);
    bundle.ok(&["delete", "-f", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}
