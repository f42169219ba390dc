//! The cgroup of a container whose creator may not write the cgroup file systems: none, unless one is named that may be written.
//!
//! runc's rules: without limits and without a path the container goes without a cgroup; limits, or a path that cannot be made, are refused.
//! What a cgroup is for is then done by other means (processes are found by their pid namespace), or refused (pause, update, events).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, access};

use crate::cgroup::{Cgroup, Driver, HierarchyKind};
use crate::cli::{Globals, Rootless};
use crate::late_mounts::has_new_namespace;
use crate::rootless::Privilege;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Who makes the cgroup of a container.
pub(crate) fn driver(spec: &Spec, globals: &Globals) -> anyhow::Result<Driver> {
    let usual = if globals.uses_systemd() { Driver::Systemd } else { Driver::Files };
    if Privilege::own() == Privilege::Root {
        return Ok(usual);
    }
    anyhow::ensure!(
        usual == Driver::Files,
        "--systemd-cgroup: hshim asks the systemd of the machine only, which takes root: leave the flag out"
    );
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let is_named = path.is_some_and(|path| !path.as_os_str().is_empty());
    if is_named || globals.rootless == Rootless::False || is_writable()? {
        return Ok(Driver::Files);
    }
    anyhow::ensure!(
        has_new_namespace(spec, LinuxNamespaceType::Pid),
        "linux.namespaces: a container without a cgroup needs a pid namespace of its own: its processes are found by that"
    );
    Ok(Driver::Absent)
}

/// Whether the parents of usual cgroups may be made here.
fn is_writable() -> anyhow::Result<bool> {
    let usual = Cgroup::locate(Path::new("/hshim"))?;
    Ok(usual.dirs().iter().all(|dir| {
        let nearest = dir.path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        access(nearest, AccessFlags::W_OK).is_ok()
    }))
}

/// Lets libcontainer see no controllers of cgroup v1: it would insist on joining each, where on v2 it passes over what it may not write.
/// For this process and what it clones, in a mount namespace of their own.
pub(crate) fn hide_controllers() -> anyhow::Result<()> {
    let mounted = Cgroup::locate(Path::new("/"))?;
    if !mounted.is_v1() {
        return Ok(());
    }
    let unified = mounted.dirs().iter().find(|dir| dir.kind == HierarchyKind::Unified).context(
        "a container without a cgroup needs cgroup v2, which is not mounted below /sys/fs/cgroup: \
         libcontainer joins all controllers of cgroup v1, and this user may not",
    )?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing).context("keep mounts to this process")?;
    mount(Some(&unified.mount_point), CGROUPS, nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("bind {} to {CGROUPS}", unified.mount_point.display()))
}

/// libcontainer passes over a cgroup that it may not join, and the limits would be nobody's.
pub(crate) fn require_member(cgroup: &Cgroup, init: i32) -> anyhow::Result<()> {
    if cgroup.dirs().is_empty() || Privilege::own() == Privilege::Root {
        return Ok(());
    }
    anyhow::ensure!(
        cgroup.processes().contains(&init),
        "linux.cgroupsPath: the container may not join its cgroup: a user may move a process only within a cgroup that was handed over \
         to them (cgroups(7), delegation), so hshim must run inside of it"
    );
    Ok(())
}

/// A process that was cloned before its creator was killed waits with the container's fifo open.
pub(crate) fn holders(file: &Path) -> Vec<i32> {
    let Ok(wanted) = fs::metadata(file).map(|found| (found.dev(), found.ino())) else { return Vec::new() };
    let is_open = |pid: &i32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| fs::metadata(fd.path()).is_ok_and(|found| (found.dev(), found.ino()) == wanted))
    };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    pids().into_iter().filter(|pid| *pid != own && is_open(pid)).collect()
}

/// The processes in the pid namespace of a process that lives, itself among them.
pub(crate) fn processes_beside(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(init) else { return Vec::new() };
    pids().into_iter().filter(|pid| namespace(*pid).as_ref() == Some(&wanted)).collect()
}

fn pids() -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_file_open_is_found_by_the_file_and_not_by_its_name() {
        let dir = std::env::temp_dir().join(format!("hshim-holders-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (file, link) = (dir.join("a"), dir.join("b"));
        let held = fs::File::create(&file).unwrap();
        fs::hard_link(&file, &link).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").stdin(held).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = (holders(&link), processes_beside(pid).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, (vec![pid], true));
        assert!(holders(&dir.join("none")).is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
