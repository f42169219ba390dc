//! The container to step into, by its init process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

use crate::sys;

/// A running container: its init by pidfd, and which namespaces differ from the caller's.
#[derive(Debug)]
pub struct Target {
    pid: u32,
    pidfd: OwnedFd,
    namespaces: u32,
}

/// Names in /proc/PID/ns and their `CLONE_NEW*` bits.
const NAMESPACES: [(&str, i32); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

impl Target {
    /// The container whose init is this process. The caller makes sure that `pid` is still that process: a child that it has
    /// not reaped, or one whose start time it compares after this.
    ///
    /// # Errors
    /// When there is no such process, or its namespaces cannot be read.
    pub fn open(pid: u32) -> io::Result<Self> {
        Self::from_pidfd(pid, sys::pidfd_open(pid)?)
    }

    /// The container whose init is this process, of which `pidfd` is a descriptor.
    ///
    /// # Errors
    /// When its namespaces cannot be read.
    pub fn from_pidfd(pid: u32, pidfd: OwnedFd) -> io::Result<Self> {
        let mut namespaces = 0_u32;
        for (name, bit) in NAMESPACES {
            match (namespace("self", name), namespace(&pid.to_string(), name)) {
                (Ok(ours), Ok(theirs)) if ours == theirs => {}
                (Ok(_), Ok(_)) => namespaces |= bit.cast_unsigned(),
                // The kernel does not have this kind.
                (Err(_), _) => {}
                (Ok(_), Err(error)) => return Err(error),
            }
        }
        Ok(Self { pid, pidfd, namespaces })
    }

    /// Process id of its init.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// `CLONE_NEW*` bits of the namespaces that are not the caller's own.
    #[must_use]
    pub const fn namespaces(&self) -> u32 {
        self.namespaces
    }

    /// It has a user namespace of its own.
    #[must_use]
    pub const fn has_own_users(&self) -> bool {
        self.namespaces & libc::CLONE_NEWUSER.cast_unsigned() != 0
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn namespace(process: &str, name: &str) -> io::Result<(u64, u64)> {
    fs::metadata(format!("/proc/{process}/ns/{name}")).map(|found| (found.dev(), found.ino()))
}
