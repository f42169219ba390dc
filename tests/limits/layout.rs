//! Where a container's processes are.

use std::fs;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};

use crate::{containers_or_skip, kernel};

fn cgroups(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_container_is_in_its_cgroup_in_every_hierarchy_that_is_mounted() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let path = format!("/hshim-tests/{}", bundle.id());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in cgroups(bundle.pid()) {
        let names = line.split(':').nth(1).unwrap();
        // A line of a hierarchy that is mounted nowhere here says nothing.
        let is_mounted = if names.is_empty() { kernel::unified().is_some() } else { mounts.contains(&format!(",{names}")) };
        assert!(!is_mounted || line.ends_with(&path) || kernel::is_pure_v2() && !names.is_empty(), "{line}");
    }
}

#[test]
fn the_runtime_itself_leaves_no_process_in_the_cgroup() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let init = bundle.pid().to_string();
    for dir in bundle.cgroups() {
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert!(members.trim().is_empty() || members.trim() == init, "{}: {members}", dir.display());
    }
}

#[test]
fn a_runtime_in_the_foreground_stays_where_it_was() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    let mut running = bundle.command(&["run", "--bundle", ".", bundle.id()]).spawn().unwrap();
    wait::until("it runs", || bundle.status() == "running");
    let own = i32::try_from(running.id()).unwrap();
    assert_eq!(cgroups(own), cgroups(i32::try_from(std::process::id()).unwrap()));
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    assert_eq!(running.wait().unwrap().code(), Some(137));
}

#[test]
fn a_cgroup_with_strangers_in_it_is_refused_and_left_alone() {
    containers_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc shares cgroups");
    }
    let bundle = Bundle::new("sleep 1000");
    bundle.run_detached();
    let mut second = Bundle::new("sleep 1000");
    let path = format!("/hshim-tests/{}", bundle.id());
    second.edit(|config| config["linux"]["cgroupsPath"] = path.into());
    assert!(second.refused(&["create", second.id()]).contains("in use"));
    assert_eq!(bundle.status(), "running");
}
