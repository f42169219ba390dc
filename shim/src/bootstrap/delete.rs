//! `delete`: cleans up after one container whose shim is gone, or that is long deleted. It can be repeated, says nothing unless it
//! fails, and touches neither the shim nor the other containers of the pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::flags::Flags;
use super::socket;
use crate::children::{self, Children};
use crate::process_record;
use crate::runtime_command::{Cgroup, Runtime};
use crate::streams;
use crate::sys;
use crate::task::messages::{DeleteResponse, Timestamp};
use crate::task::record::{self, TaskRecord};
use crate::task::unmount_below;
use crate::wire::Message;

/// containerd kills us after five seconds.
const DEADLINE: Duration = Duration::from_millis(3500);

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
    fs::create_dir_all(&record.files)?;
    let runtime = Runtime::new(record.runtime.clone(), Arc::new(Children::default())).with_deadline(DEADLINE);
    let deleted = runtime.delete(id, Cgroup::Remove, &record.files).await;
    let unmounted = unmount_below(&bundle.join("rootfs")).await;
    deleted.map_err(io::Error::other)?;
    unmounted.map_err(io::Error::other)?;
    record::forget(bundle, &record.files);
    Ok(pid)
}

/// The runtime may hang; the process is killed whatever it does. Its id may be somebody else's by now.
fn kill(record: &TaskRecord) {
    let Some(process) = &record.process else { return };
    let Ok(pidfd) = sys::pidfd_open(process.pid) else { return };
    if process_record::identity(process.pid).is_ok_and(|now| now == *process) {
        drop(sys::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL));
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
