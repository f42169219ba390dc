//! The clearing of a pod that has no shim: it was killed, or never came to life. Every step can be repeated.
//!
//! ```text
//! containers (asked to end, then runtime delete --force) ─▶ processes in its cgroup ─▶ mounts ─▶ cgroup ─▶ data, logs ─▶ directory
//! ```

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use hshim_health::control;
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::record::{Launch, Supervision, TakeOver};
use nix::mount::{MntFlags, umount2};

use super::container_spec::pod_cgroup;
use super::pod_lock::PodLock;
use super::pod_records;
use crate::cgroup::Cgroup;
use crate::init_process::{InitProcess, ProcessIdentity};

/// Removes everything. With a grace, the containers are asked to end first. The lock is the pod's.
pub(crate) fn clear(dir: &SupervisionDir, _lock: &PodLock, grace: Option<Duration>) -> anyhow::Result<()> {
    if let Some(supervision) = pod_records::supervision(dir)? {
        if let Some(grace) = grace {
            ask_to_end(dir, &supervision, grace)?;
        }
        for launch in &supervision.launches {
            delete_container(&supervision, launch)?;
        }
        let uid = &supervision.plan.uid;
        let cgroup = Cgroup::locate(Path::new(&pod_cgroup(uid)))?;
        cgroup.kill_all()?;
        let data = layout::pod_data_dir(&supervision.data, uid);
        unmount_below(&dir.0)?;
        unmount_below(&data)?;
        cgroup.remove()?;
        remove_tree(&data)?;
        let plan = &supervision.plan;
        remove_tree(&layout::pod_log_dir(&supervision.data, &plan.namespace, &plan.name, uid))?;
    }
    unmount_below(&dir.0)?;
    remove_tree(&dir.0)
}

/// Sends each init process its stop signal, and waits for them together.
fn ask_to_end(dir: &SupervisionDir, supervision: &Supervision, grace: Duration) -> anyhow::Result<()> {
    let Some(state) = pod_records::json::<TakeOver>(&dir.state())? else { return Ok(()) };
    let mut asked = Vec::new();
    for (noted, plan) in state.processes.into_iter().zip(&supervision.plan.containers) {
        let Some(noted) = noted else { continue };
        let identity = ProcessIdentity {
            pid: i32::try_from(noted.pid)?,
            start_time: noted.start_time,
            boot_id: noted.boot_id,
            pidfd_inode: None,
        };
        if let Some(init) = InitProcess::find(&identity).with_context(|| format!("find the process {}", noted.pid))? {
            init.signal(plan.stop_signal).with_context(|| format!("stop the container {}", plan.name))?;
            asked.push(init);
        }
    }
    let deadline = Instant::now() + grace;
    for init in asked {
        init.ends_within(deadline.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}

fn delete_container(supervision: &Supervision, launch: &Launch) -> anyhow::Result<()> {
    let runtime = &supervision.runtime;
    let mut command = Command::new(&runtime.path);
    command.arg("--root").arg(&runtime.root).args(["delete", "--force", &launch.id]);
    command.env(control::WITHOUT_SUPERVISION, "1").stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().with_context(|| format!("run {}", runtime.path.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "delete the container {}: {}", launch.id, said.trim());
    // What a runtime that was killed half way leaves.
    let state = if runtime.is_hshim { layout::container_dir(&runtime.root, &launch.id) } else { runtime.root.join(&launch.id) };
    remove_tree(&state)
}

/// Unmounts everything at or below a directory, the newest first.
fn unmount_below(directory: &Path) -> anyhow::Result<()> {
    // The kernel shows paths without symbolic links.
    let directory = match fs::canonicalize(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("find {}", directory.display())),
    };
    let mountinfo = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let mounts: Vec<PathBuf> = mount_points(&mountinfo).into_iter().filter(|mount| mount.starts_with(&directory)).collect();
    for mount in mounts.iter().rev() {
        match umount2(mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(|| format!("unmount {}", mount.display())),
        }
    }
    Ok(())
}

/// The fifth field of each line (proc_pid_mountinfo(5)), where space, tab, line feed and backslash are octal.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let fields = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescaped(field)))).collect()
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.split_at_checked(3).filter(|_| byte == b'\\');
        let decoded = digits.and_then(|(digits, _)| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (decoded, digits) {
            (Some(decoded), Some((_, behind))) => {
                out.push(decoded);
                rest = behind;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", path.display())),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_decoded() {
        let mountinfo = b"1 2 0:3 / /a\\040b\\134c rw - x y z\n4 5 0:6 / /plain rw - x y z\n";
        assert_eq!(mount_points(mountinfo), [PathBuf::from("/a b\\c"), PathBuf::from("/plain")]);
    }
}
