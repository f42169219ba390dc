//! A process that is born in a container's cgroup (clone3(2), `CLONE_INTO_CGROUP`) and makes the container's init there.
//!
//! Whoever is moved into a cgroup by its `cgroup.procs` waits for a grace period of all processors, 7 to 16 ms on an idle machine;
//! whoever is born there does not. libcontainer can only move, so it is given a directory that is no cgroup to write to:
//!
//! ```text
//! create ── clone3 into the cgroup ──▶ maker ── libcontainer ──▶ intermediate, init: children of `create`, in the maker's cgroup
//!    ◀──────────── the process id of init, or why there is none ───┘
//! ```
//! On cgroup v1 there is nothing to be born into, and libcontainer moves. So it does for a container with hooks that run before
//! init: they would be born into the cgroup too, and bound by its device rules.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};
use serde::{Deserialize, Serialize};

use super::{Cgroup, HierarchyKind};
use crate::sys;

/// Directories above a mount point of cgroups, at most.
const DEEPEST_MOUNT_POINT: usize = 16;
/// Of an error, in characters: it has to fit into a pipe, whatever it is made of.
const LONGEST_REASON: usize = 8192;
/// pipe(7).
const PIPE_CAPACITY: usize = 65_536;

/// Which of the two processes this is.
#[derive(Debug)]
pub(crate) enum Birth {
    /// The new one, in the cgroup.
    Maker(Report),
    /// The one that was there before.
    Parent(Maker),
}

/// Of the maker: where it tells how it went.
#[derive(Debug)]
pub(crate) struct Report(File);

/// Of its parent.
#[derive(Debug)]
pub(crate) struct Maker {
    pid: Pid,
    report: File,
    /// Children of this process before it was cloned.
    elders: Vec<Pid>,
}

/// What the maker tells.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Made(i32),
    Failed(String),
}

impl Cgroup {
    /// Clones this process, which has one thread, into the cgroup. None where that cannot be: on cgroup v1, and where the kernel refuses.
    pub(crate) fn fork_inside(&self) -> anyhow::Result<Option<Birth>> {
        let Some(unified) = self.of_kind(HierarchyKind::Unified).filter(|_unified| !self.is_v1()) else { return Ok(None) };
        let dir = File::open(&unified.path).with_context(|| format!("open the cgroup {}", unified.path.display()))?;
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).context("make a pipe")?;
        let elders = children();
        match sys::fork_into_cgroup(dir.as_fd()) {
            Ok(Some(pid)) => Ok(Some(Birth::Parent(Maker { pid, report: read.into(), elders }))),
            Ok(None) => Ok(Some(Birth::Maker(Report(write.into())))),
            Err(error) => {
                log::debug!("clone into {}: {error}: init will be moved there", unified.path.display());
                Ok(None)
            }
        }
    }
}

impl Report {
    /// Tells how it went, and ends this process.
    pub(crate) fn end(mut self, made: anyhow::Result<i32>) -> ! {
        let reason = |error: anyhow::Error| format!("{error:#}").chars().take(LONGEST_REASON).collect();
        let outcome = made.map_or_else(|error| Outcome::Failed(reason(error)), Outcome::Made);
        // Whoever does not hear it takes it for a failure.
        drop(serde_json::to_vec(&outcome).map(|text| self.0.write_all(&text)));
        sys::exit_now()
    }
}

impl Maker {
    /// Waits for init. None when the maker died before it could say anything: the kernel kills at birth who is cloned from or into a
    /// cgroup that was killed once (`cgroup.kill`), and nothing has been made then.
    pub(crate) fn init(mut self) -> anyhow::Result<Option<Born>> {
        let Some(told) = self.hear().context("hear from the process that makes the container")? else {
            waitpid(self.pid, None).context("wait for the process that makes the container")?;
            anyhow::ensure!(
                self.offspring(None).is_empty(),
                "the process that makes the container was killed: nothing is left of it; try again"
            );
            return Ok(None);
        };
        match serde_json::from_slice(&told).context("hear from the process that makes the container")? {
            Outcome::Made(init) => Ok(Some(Born { init, makers: self.offspring(Some(init)) })),
            Outcome::Failed(reason) => anyhow::bail!(reason),
        }
    }

    /// What it tells; none when it ends without a word. There may be no end of file: init holds the pipe until it executes its command.
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = sys::pidfd_open(self.pid.as_raw())?;
        let mut either = [PollFd::new(self.report.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        while let Err(error) = poll(&mut either, PollTimeout::NONE) {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        let mut told = vec![0; PIPE_CAPACITY];
        match self.report.read(&mut told) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Ok(0) => Ok(None),
            read => {
                told.truncate(read?);
                Ok(Some(told))
            }
        }
    }

    fn offspring(&self, init: Option<i32>) -> Vec<Pid> {
        let is_ours = |pid: &Pid| !self.elders.contains(pid) && Some(pid.as_raw()) != init;
        children().into_iter().filter(is_ours).collect()
    }
}

/// An init process, and those that made it and have nothing more to do than to end, which takes them longer than they are wanted.
#[derive(Debug)]
pub(crate) struct Born {
    /// Its process id.
    pub(crate) init: i32,
    makers: Vec<Pid>,
}

impl Born {
    /// Nobody is left to wait for.
    pub(crate) fn alone(init: i32) -> Self {
        Self { init, makers: Vec::new() }
    }
}

impl Drop for Born {
    fn drop(&mut self) {
        for maker in &self.makers {
            // ECHILD: an undone creation has waited for all of its children.
            waitpid(*maker, None).ok();
        }
    }
}

/// The children of this process, dead ones included until they are waited for: their ids are nobody else's.
pub(crate) fn children() -> Vec<Pid> {
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// For libcontainer: a path, from the root of any hierarchy, to a directory below `dir` that takes a process id and moves nobody.
pub(crate) fn decoy(dir: &Path) -> anyhow::Result<PathBuf> {
    let file = dir.join("cgroup.procs");
    File::create(&file).with_context(|| format!("create {}", file.display()))?;
    let dir = std::path::absolute(dir).context("find the directory of the container")?;
    // libcontainer appends it to where the hierarchy is mounted. `/..` is `/`.
    let up = std::iter::repeat_n(OsStr::new(".."), DEEPEST_MOUNT_POINT);
    Ok(up.chain(dir.iter().skip(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_is_the_directory_itself_from_wherever_cgroups_are_mounted() {
        let dir = std::env::temp_dir().join(format!("hshim-decoy-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = decoy(&dir).unwrap();
        for mount_point in ["/sys/fs/cgroup", "/proc", "/"] {
            assert_eq!(fs::canonicalize(Path::new(mount_point).join(&path)).unwrap(), fs::canonicalize(&dir).unwrap());
        }
        assert!(dir.join("cgroup.procs").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
