//! The init process of a container, recognised again: a process id alone may belong to a stranger by now.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use serde::{Deserialize, Serialize};

use crate::sys;

/// `PIDFS_MAGIC` of linux/magic.h: since Linux 6.9 a pidfd has an inode number that no other process of this boot ever gets.
const PIDFS_MAGIC: libc::c_ulong = 0x5049_4446;

/// What is written down to recognise a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessIdentity {
    /// Process id.
    pub(crate) pid: i32,
    /// Field 22 of /proc/PID/stat, clock ticks since boot (proc_pid_stat(5)).
    pub(crate) start_time: u64,
    /// /proc/sys/kernel/random/boot_id.
    pub(crate) boot_id: String,
    /// Inode number of its pidfd, where pidfds have one of their own.
    pub(crate) pidfd_inode: Option<u64>,
}

impl ProcessIdentity {
    /// Of a process that cannot be gone: the caller is its parent and has not reaped it.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let pidfd = sys::pidfd_open(pid)?;
        Ok(Self { pid, start_time: start_time(pid)?, boot_id: boot_id()?, pidfd_inode: inode(pidfd.as_fd())? })
    }
}

/// A process that lives, or has ended and was not reaped, held by a pidfd.
#[derive(Debug)]
pub(crate) struct InitProcess(OwnedFd);

impl InitProcess {
    /// Opens the process that `identity` describes; none when it is gone.
    pub(crate) fn find(identity: &ProcessIdentity) -> io::Result<Option<Self>> {
        let pidfd = match sys::pidfd_open(identity.pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Opened first and compared then: what is compared is what is held.
        let is_same = match (identity.pidfd_inode, inode(pidfd.as_fd())?) {
            (Some(noted), Some(found)) => noted == found && boot_id()? == identity.boot_id,
            _ => start_time(identity.pid).ok() == Some(identity.start_time) && boot_id()? == identity.boot_id,
        };
        Ok(is_same.then_some(Self(pidfd)))
    }

    /// Reaps it when it has ended and is this process' child; anyone else's is its own parent's to reap.
    pub(crate) fn reap(&self) {
        match waitid(Id::PIDFd(self.0.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(_) | Err(Errno::ECHILD) => {}
            Err(error) => log::debug!("reap an init process: {error}"),
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        self.ends_within(Duration::ZERO)
    }

    /// Waits for its end; false when it still lives after `patience`.
    pub(crate) fn ends_within(&self, patience: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut descriptors, timeout)? > 0)
    }

    /// Sends a signal. A process that has ended is no error: it has got what it was told.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match sys::pidfd_send_signal(self.0.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done,
        }
    }
}

impl From<InitProcess> for OwnedFd {
    fn from(init: InitProcess) -> Self {
        init.0
    }
}

impl AsFd for InitProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn inode(pidfd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let file_system = fstatfs(pidfd)?.filesystem_type().0;
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "signed in glibc, unsigned in musl"
    )]
    let is_pidfs = file_system as libc::c_ulong == PIDFS_MAGIC;
    Ok(if is_pidfs { Some(fstat(pidfd)?.st_ino) } else { None })
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name may contain anything, so fields are counted from its closing parenthesis (field 2).
    let fields = stat.rsplit_once(") ").map_or("", |(_name, fields)| fields);
    let start_time = fields.split(' ').nth(22 - 3).and_then(|field| field.parse().ok());
    start_time.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_identity() -> ProcessIdentity {
        ProcessIdentity::of(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_process_is_found_by_its_identity() {
        let found = InitProcess::find(&own_identity()).unwrap().unwrap();
        assert!(!found.has_ended().unwrap());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_mistaken_for_it() {
        let stranger = ProcessIdentity { pidfd_inode: Some(1), ..own_identity() };
        assert!(InitProcess::find(&stranger).unwrap().is_none());
        let stranger = ProcessIdentity { pidfd_inode: None, start_time: 1, ..own_identity() };
        assert!(InitProcess::find(&stranger).unwrap().is_none());
        let other_boot = ProcessIdentity { boot_id: "other".into(), ..own_identity() };
        assert!(InitProcess::find(&other_boot).unwrap().is_none());
    }
}
