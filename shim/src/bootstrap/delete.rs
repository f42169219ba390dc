//! `delete`: cleans up after one container whose shim is gone, or that is long deleted. It can be repeated, says nothing unless it
//! fails, and touches neither the shim nor the other containers of the pod.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::flags::Flags;
use super::socket;
use crate::children::{self, Children};
use crate::cleanup;
use crate::process_record;
use crate::runtime_command::{Cgroup, Runtime};
use crate::streams;
use crate::sys;
use crate::task::messages::{DeleteResponse, Timestamp};
use crate::task::record::{self, TaskRecord};
use crate::task::unmount_below;
use crate::wire::Message;

/// containerd kills us after five seconds.
const DEADLINE: Duration = Duration::from_millis(3000);
/// How long a command of the dead shim may take to end.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Cleans up and prints how the container ended.
pub(super) fn delete(flags: &Flags) -> io::Result<()> {
    let bundle = flags.bundle.clone().map_or_else(std::env::current_dir, Ok)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    children::block_sigchld()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // What is cleared first cannot be kept by what hangs.
    remove_stale_sockets(&bundle, TaskRecord::load(&bundle).map_or(0, |record| record.shim));
    let pid = runtime.block_on(clear(&flags.id, &bundle))?;
    let exited_at = Some(Timestamp::of(jiff::Timestamp::now()));
    let code = 128 + libc::SIGKILL.unsigned_abs();
    super::say(&DeleteResponse { pid, exit_status: code, exited_at }.to_bytes())
}

async fn clear(id: &str, bundle: &Path) -> io::Result<u32> {
    let Some(record) = TaskRecord::load(bundle) else {
        // Nothing was ever created here.
        unmount_below(&bundle.join("rootfs")).await.map_err(io::Error::other)?;
        return Ok(0);
    };
    let pid = record.process.as_ref().map_or(0, |process| process.pid);
    kill(&record);
    commands_have_ended(&record.files).await;
    fs::create_dir_all(&record.files)?;
    let runtime = Runtime::new(record.runtime.clone(), Arc::new(Children::default())).with_deadline(DEADLINE);
    let deleted = runtime.delete(id, Cgroup::Remove, &record.files).await;
    let unmounted = unmount_below(&bundle.join("rootfs")).await;
    deleted.map_err(io::Error::other)?;
    cleanup::remove_cgroup(bundle);
    unmounted.map_err(io::Error::other)?;
    record::forget(bundle, &record.files);
    Ok(pid)
}

/// A command that the dead shim gave is seen through first: a `create` would make its container after all has been cleared away. One that
/// does not end is killed.
async fn commands_have_ended(files: &Path) {
    let begun = tokio::time::Instant::now();
    loop {
        let running = commands_about(files);
        if running.is_empty() {
            return;
        }
        if begun.elapsed() > PATIENCE {
            for pid in running {
                drop(sys::pidfd_open(pid).and_then(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)));
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes that were told of files in this directory.
fn commands_about(files: &Path) -> Vec<u32> {
    let mut directory = files.as_os_str().as_bytes().to_vec();
    directory.push(b'/');
    let is_one = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument.starts_with(&directory))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

/// The runtime may hang; the process is killed whatever it does. Its id may be somebody else's by now.
fn kill(record: &TaskRecord) {
    let Some(process) = &record.process else { return };
    let Ok(pidfd) = sys::pidfd_open(process.pid) else { return };
    if process_record::identity(process.pid).is_ok_and(|now| now == *process) {
        drop(sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL));
    }
}

/// A shim that was killed leaves its sockets behind: its own, and those where it took over terminals. One that somebody serves is left
/// alone, and so is everything of a shim that lives.
fn remove_stale_sockets(bundle: &Path, shim: u32) {
    let Ok(address) = fs::read_to_string(bundle.join("address")) else { return };
    let own = PathBuf::from(address.trim().trim_start_matches("unix://"));
    let names = [socket::aside(&own), own];
    if names.iter().any(|path| socket::is_served(path)) {
        return;
    }
    for path in names.into_iter().chain(streams::console_sockets(shim)) {
        // A process with the same id may have come since.
        if path.exists() && !socket::is_served(&path) {
            drop(socket::remove(&path));
        }
    }
}
