//! The end: nothing of the pod is left. Each step can be repeated; a step that fails is said and the others go on.
//!
//! ```text
//! containers (runtime delete) ─▶ mounts below our directories ─▶ pod data, logs ─▶ cgroup parents ─▶ the directory
//! ```
//! The directory goes last: whoever waits for the end of a pod waits for that.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hshim_health::layout;
use hshim_health::plan::Origin;
use hshim_health::record::{Launch, Stdio};

use crate::bundle_spec::BundleSpec;
use crate::cgroup_mounts;
use crate::pod::Pod;
use crate::rootfs;
use crate::runtime_command::Cgroup;

/// Clears everything that belongs to the pod.
pub(crate) async fn end(pod: &Pod) {
    for (plan, launch) in pod.supervision.plan.containers.iter().zip(&pod.supervision.launches) {
        if let Err(error) = pod.runtime.delete(&launch.id, Cgroup::Remove, &pod.files(plan)).await {
            log::error!("delete container {}: {error}", launch.id);
        }
        remove_traces(pod, launch);
        remove_cgroup(&launch.bundle);
    }
    let plan = &pod.supervision.plan;
    let data = layout::pod_data_dir(&pod.supervision.data, &plan.uid);
    let mut clear = unmount_below(&pod.dir.0);
    if plan.origin == Origin::Manifest {
        clear &= unmount_below(&data);
        if clear {
            remove_tree(&data);
        }
        remove_tree(&layout::pod_log_dir(&pod.supervision.data, &plan.namespace, &plan.name, &plan.uid));
        remove_cgroups(&format!("hshim/pod{}", plan.uid));
    }
    for launch in &pod.supervision.launches {
        if let Stdio::CriLog { directory } = &launch.stdio {
            remove_tree(directory);
        }
    }
    // What is still mounted there is not ours to delete through.
    if clear {
        remove_tree(&pod.dir.0);
    }
}

/// What a runtime that was killed half way leaves of one container: its state directory and its cgroup.
pub(crate) fn remove_traces(pod: &Pod, launch: &Launch) {
    let state = pod.runtime.state_dir(&launch.id);
    if !state.exists() {
        return;
    }
    log::warn!("the runtime left {}: remove it", state.display());
    remove_tree(&state);
    remove_cgroup(&launch.bundle);
}

/// Of a container that is gone: between two lives no runtime knows of the cgroup that is kept for the next one.
pub(crate) fn remove_cgroup(bundle: &Path) {
    if let Some(cgroup) = BundleSpec::load(bundle).ok().as_ref().and_then(BundleSpec::cgroup) {
        remove_cgroups(cgroup.trim_start_matches('/'));
    }
}

fn remove_cgroups(path: &str) {
    for hierarchy in cgroup_mounts::hierarchies() {
        let path = hierarchy.mount.join(path);
        if let Err(error) = cgroup_mounts::remove(&path) {
            log::error!("remove the cgroup {}: {error}", path.display());
        }
    }
}

fn remove_tree(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => log::error!("remove {}: {error}", path.display()),
        Ok(()) | Err(_) => {}
    }
}

/// Unmounts everything at or below a directory, the newest first: overlays, pinned namespaces, volumes in memory. True if
/// nothing is left.
fn unmount_below(directory: &Path) -> bool {
    // The kernel shows paths without symbolic links.
    let Ok(directory) = fs::canonicalize(directory) else { return true };
    let mut clear = true;
    for mount in mounts_below(&directory).iter().rev() {
        if let Err(error) = rootfs::unmount(mount) {
            log::error!("{error}");
            clear = false;
        }
    }
    clear
}

/// The mount points at or below a directory (without symbolic links), the oldest first.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&mountinfo).filter(|mount| mount.starts_with(directory)).collect()
}

/// The fifth field of each line of mountinfo (proc_pid_mountinfo(5)), where space, tab, line feed and backslash are octal.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        let mut path = Vec::new();
        let mut rest = field.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let escape = after.split_at_checked(3).filter(|_| byte == b'\\');
            let decoded = escape.and_then(|(digits, _)| u8::from_str_radix(OsStr::from_bytes(digits).to_str()?, 8).ok());
            path.push(decoded.unwrap_or(byte));
            rest = match (decoded, escape) {
                (Some(_), Some((_, after_escape))) => after_escape,
                _ => after,
            };
        }
        PathBuf::from(std::ffi::OsString::from_vec(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_decoded() {
        let mountinfo = "1 2 0:3 / /a\\040b\\134c rw - x y z\n4 5 0:6 / /plain rw - x y z\n";
        let points: Vec<PathBuf> = mount_points(mountinfo).collect();
        assert_eq!(points, [PathBuf::from("/a b\\c"), PathBuf::from("/plain")]);
    }
}
