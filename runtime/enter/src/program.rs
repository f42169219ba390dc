//! The program itself: read once into a sealed memfd, and run from there.
//!
//! A container whose command executes `/proc/self/exe` between the join and its own exec gets the memfd, which nobody can write
//! to, and never a file of the host (CVE-2019-5736).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::encode::{Entrance, encode};
use crate::identity::Identity;
use crate::sys::{self, Seal};
use crate::target::Target;
use crate::wire::{fd, flag};

/// File name of the program.
const NAME: &str = "hshim-enter";
/// Where packages put it.
const LIBEXEC: &str = "/usr/libexec/hshim";
/// Probes die first when memory is short, so that the application does not.
const PROBE_OOM_SCORE_ADJ: i32 = 1000;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;

/// The program, ready to run.
#[derive(Debug)]
pub struct EnterProgram {
    memfd: OwnedFd,
}

/// Why the program is not there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is in none of the places.
    #[error("{NAME} is neither beside {} nor in {LIBEXEC}: install it there", .executable.display())]
    NotFound {
        /// The running executable.
        executable: PathBuf,
    },
    /// It cannot be read or kept.
    #[error("read {}: {source}", .path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why an entry was not begun.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Arguments, environment and filter are larger than a block can be.
    #[error("arguments and environment are too long")]
    TooLong,
    /// A system call.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
}

/// How the command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As the caller's own child, for as long as it likes.
    Exec,
    /// Under a timer and a reaper; nothing of it is left afterwards.
    Probe,
}

/// Where the command is to be in the cgroup trees.
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupEntry<'a> {
    /// Directory that the command is cloned into (v2, or the v2 tree of a hybrid machine), or joins (v1, when there is no `kill`).
    pub leaf: Option<BorrowedFd<'a>>,
    /// The leaf's `cgroup.kill`, open for writing.
    pub kill: Option<BorrowedFd<'a>>,
    /// `tasks` files of the container's own v1 cgroups, open for writing.
    pub v1_tasks: &'a [BorrowedFd<'a>],
}

/// One command to run in a container.
#[derive(Debug)]
pub struct Entry<'a> {
    /// How.
    pub shape: Shape,
    /// As whom.
    pub identity: &'a Identity,
    /// What; the first is searched in the identity's PATH unless it has a slash.
    pub argv: &'a [CString],
    /// Where.
    pub target: &'a Target,
    /// Where in the cgroup trees.
    pub cgroup: CgroupEntry<'a>,
    /// Descriptor 0.
    pub stdin: BorrowedFd<'a>,
    /// Descriptor 1.
    pub stdout: BorrowedFd<'a>,
    /// Descriptor 2.
    pub stderr: BorrowedFd<'a>,
    /// Of a probe; without one it may take for ever.
    pub timeout: Option<Duration>,
    /// Descriptor 0 is a terminal, to become the controlling one.
    pub terminal: bool,
    /// Descriptors from 3 on that the command is to have, as the caller has them.
    pub preserve_fds: u32,
}

/// A begun entry. The process is the caller's child and stays a zombie until it is reaped with waitid(2) on its pidfd.
#[derive(Debug)]
pub struct Entered {
    /// Process id of the program (not of the command).
    pub pid: u32,
    /// The same as a descriptor.
    pub pidfd: OwnedFd,
    /// Where [`crate::Report::read`] reads; blocking.
    pub report: OwnedFd,
}

impl EnterProgram {
    /// Read the program from beside the running executable, or from `/usr/libexec/hshim`.
    ///
    /// # Errors
    /// When it is in neither place or cannot be read.
    pub fn load() -> Result<Self, LoadError> {
        Self::load_beside(&std::env::current_exe().unwrap_or_default())
    }

    /// Read the program from beside this one, or from `/usr/libexec/hshim`: for a caller whose `/proc/self/exe` does not tell where
    /// it is installed.
    ///
    /// # Errors
    /// When it is in neither place or cannot be read.
    pub fn load_beside(executable: &Path) -> Result<Self, LoadError> {
        let beside = executable.parent().map(|directory| directory.join(NAME));
        let installed = Path::new(LIBEXEC).join(NAME);
        let found = beside.into_iter().chain([installed]).find(|path| path.is_file());
        Self::load_from(&found.ok_or(LoadError::NotFound { executable: executable.to_owned() })?)
    }

    /// Read the program from this file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_from(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
        let content = std::fs::read(path).map_err(unreadable)?;
        let memfd = sys::memfd(c"hshim-enter", &content, Seal::Everything).map_err(unreadable)?;
        Ok(Self { memfd })
    }

    /// Begin an entry.
    ///
    /// # Errors
    /// When the program cannot be started. What happens later is in the report.
    pub fn spawn(&self, entry: &Entry<'_>) -> Result<Entered, SpawnError> {
        let system = |doing| move |source| SpawnError::System { doing, source };
        let block = encode(&entrance(entry)).ok_or(SpawnError::TooLong)?;
        let block = sys::memfd(c"hshim-entry", &block, Seal::Nothing).map_err(system("write the description"))?;
        let (report, report_to) = sys::pipe().map_err(system("make a pipe"))?;
        let base = 3 + entry.preserve_fds;
        let wanted = descriptors(entry, base, block.as_fd(), report_to.as_fd());
        let placed = Placed::new(&wanted).map_err(system("duplicate descriptors"))?;
        // Out of the way too: its own number may be one that the program's descriptors take.
        let memfd = sys::duplicate_above(self.memfd.as_fd(), placed.highest + 1).map_err(system("duplicate descriptors"))?;
        let program = CString::new(format!("/proc/self/fd/{}", memfd.as_raw_fd())).unwrap_or_default();
        let argv = [CString::from(c"hshim-enter"), CString::new(base.to_string()).unwrap_or_default()];
        let pid = sys::spawn(&program, &argv, &placed.pairs).map_err(system("start hshim-enter"))?;
        let pidfd = sys::pidfd_open(pid).map_err(system("open the pidfd of hshim-enter"))?;
        Ok(Entered { pid, pidfd, report })
    }
}

fn entrance<'a>(entry: &'a Entry<'_>) -> Entrance<'a> {
    let when = |condition: bool, bit: u32| if condition { bit } else { 0 };
    let probe = entry.shape == Shape::Probe;
    let flags = when(probe, flag::PROBE)
        | when(entry.cgroup.leaf.is_some(), flag::LEAF)
        | when(entry.cgroup.kill.is_some(), flag::LEAF_KILL)
        | when(entry.identity.no_new_privs, flag::NO_NEW_PRIVS)
        | when(entry.terminal, flag::TERMINAL)
        | when(may_trace(entry), flag::OWN_MEMORY);
    let milliseconds = entry.timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1));
    Entrance {
        identity: entry.identity,
        argv: entry.argv,
        flags,
        namespaces: entry.target.namespaces(),
        timeout_milliseconds: milliseconds,
        oom_score_adj: if probe { Some(PROBE_OOM_SCORE_ADJ) } else { entry.identity.oom_score_adj },
        v1_tasks: u32::try_from(entry.cgroup.v1_tasks.len()).unwrap_or(0),
        preserved: entry.preserve_fds,
    }
}

/// Something in the container may be able to trace an undumpable process of ours.
fn may_trace(entry: &Entry<'_>) -> bool {
    let has = |capability: u32| entry.identity.capabilities.bounding >> capability & 1 == 1;
    !entry.target.has_own_users() && (has(CAP_SYS_PTRACE) || has(CAP_SYS_ADMIN))
}

/// The program's descriptors, each with its number there.
fn descriptors<'a>(entry: &'a Entry<'_>, base: u32, block: BorrowedFd<'a>, report: BorrowedFd<'a>) -> Vec<(BorrowedFd<'a>, u32)> {
    let mut wanted = vec![
        (entry.stdin, 0),
        (entry.stdout, 1),
        (entry.stderr, 2),
        (block, base + fd::DESCRIPTION),
        (entry.target.as_fd(), base + fd::TARGET),
        (report, base + fd::REPORT),
    ];
    wanted.extend(entry.cgroup.leaf.map(|leaf| (leaf, base + fd::LEAF)));
    wanted.extend(entry.cgroup.kill.map(|kill| (kill, base + fd::LEAF_KILL)));
    wanted.extend(entry.cgroup.v1_tasks.iter().copied().zip(base + fd::V1_TASKS..));
    wanted
}

/// Descriptors moved out of the way of each other's numbers.
struct Placed {
    pairs: Vec<(RawFd, RawFd)>,
    highest: RawFd,
    _kept: Vec<OwnedFd>,
}

impl Placed {
    fn new(wanted: &[(BorrowedFd<'_>, u32)]) -> io::Result<Self> {
        let highest = wanted.iter().map(|(_, there)| there.cast_signed()).max().unwrap_or(0);
        let (mut pairs, mut kept) = (Vec::new(), Vec::new());
        for (ours, there) in wanted {
            let there = there.cast_signed();
            if ours.as_raw_fd() > highest {
                pairs.push((ours.as_raw_fd(), there));
                continue;
            }
            let moved = sys::duplicate_above(*ours, highest + 1)?;
            pairs.push((moved.as_raw_fd(), there));
            kept.push(moved);
        }
        Ok(Self { pairs, highest, _kept: kept })
    }
}
