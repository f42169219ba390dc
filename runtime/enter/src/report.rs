//! What the program says when it is done.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use crate::wire::{Record, kind, step};

/// The one report of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Exec shape: the command runs as the caller's child.
    Running {
        /// Its process id, as the caller sees it.
        pid: u32,
    },
    /// A step on the way in was refused: no word about the command.
    CouldNotEnter {
        /// Which, see [`Report::step_name`].
        step: i32,
        /// Error number.
        errno: i32,
        /// A child to reap, if it came that far (exec shape); else 0.
        pid: u32,
    },
    /// The command could not be executed: not found (`ENOENT`), not executable (`EACCES`, `ENOEXEC` …).
    CouldNotExec {
        /// Error number of execve(2).
        errno: i32,
        /// A child to reap (exec shape); else 0.
        pid: u32,
    },
    /// Probe shape: the command ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// It left processes behind, which were killed.
        leftovers: bool,
    },
    /// Probe shape: the command was killed by a signal that nobody here sent.
    Signaled {
        /// Which.
        signal: i32,
        /// It left processes behind, which were killed.
        leftovers: bool,
    },
    /// Probe shape: the time was over; all of it has been killed.
    TimedOut,
    /// Probe shape: the reaper inside the container was killed, by the command or by somebody else in the container.
    ReaperKilled,
    /// The program ended without a word: it was killed.
    Nothing,
}

impl Report {
    /// Read the report; blocks until the program has written it or ended, unless the descriptor is non-blocking.
    ///
    /// # Errors
    /// Of read(2), `WouldBlock` among them.
    pub fn read(from: &OwnedFd) -> io::Result<Self> {
        let mut bytes = [0; size_of::<Record>()];
        let mut file = std::fs::File::from(from.try_clone()?);
        let length = file.read(&mut bytes)?;
        Ok(if length == bytes.len() { Self::of(decode(bytes)) } else { Self::Nothing })
    }

    fn of(record: Record) -> Self {
        let Record { kind, value, errno, leftovers } = record;
        let pid = |value: i32| u32::try_from(value).unwrap_or(0);
        let left = leftovers != 0;
        match kind {
            kind::RUNNING => Self::Running { pid: pid(value) },
            kind::COULD_NOT_ENTER => Self::CouldNotEnter { step: value, errno, pid: leftovers },
            kind::COULD_NOT_EXEC => Self::CouldNotExec { errno, pid: pid(value) },
            kind::EXITED => Self::Exited { code: value, leftovers: left },
            kind::SIGNALED => Self::Signaled { signal: value, leftovers: left },
            kind::TIMED_OUT => Self::TimedOut,
            kind::REAPER_KILLED => Self::ReaperKilled,
            _ => Self::Nothing,
        }
    }

    /// A step in words.
    #[must_use]
    pub const fn step_name(step: i32) -> &'static str {
        match step {
            step::DESCRIPTION => "read the description",
            step::OOM_SCORE_ADJ => "set oom_score_adj",
            step::PROC => "open /proc",
            step::CGROUP => "join the cgroup",
            step::NAMESPACES => "join the namespaces",
            step::MEMORY => "map memory",
            step::CLONE => "clone",
            step::SUBREAPER => "become subreaper",
            step::LEAF => "join the leaf cgroup",
            step::SESSION => "begin a session",
            step::TERMINAL => "take the terminal",
            step::DESCRIPTORS => "close descriptors",
            step::RLIMITS => "set resource limits",
            step::LABEL => "set the AppArmor profile",
            step::SECCOMP => "load the seccomp filter",
            step::BOUNDING => "drop the bounding set",
            step::GROUPS => "set groups",
            step::GID => "set the group id",
            step::UID => "set the user id",
            step::CAPABILITIES => "set capabilities",
            step::AMBIENT => "raise ambient capabilities",
            step::DIRECTORY => "change to the working directory",
            step::DIRECTORY_OUTSIDE => "stay inside the container's root: the working directory is outside",
            step::NO_NEW_PRIVS => "set no_new_privs",
            step::EXEC => "execute",
            step::FIRST_PROCESSORS => "set the processors before the cgroup (execCPUAffinity.initial)",
            step::PROCESSORS => "set the processors (execCPUAffinity.final)",
            step::SCHEDULER => "set the scheduler",
            step::IO_PRIORITY => "set the I/O priority",
            step::MEMORY_POLICY => "set the memory policy",
            step::PERSONALITY => "set the personality",
            _ => "an unknown step",
        }
    }
}

fn decode(bytes: [u8; 16]) -> Record {
    let word = |n: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(bytes.get(n * 4..n * 4 + 4).unwrap_or(&[0; 4]));
        u32::from_ne_bytes(word)
    };
    Record { kind: word(0), value: word(1).cast_signed(), errno: word(2).cast_signed(), leftovers: word(3) }
}
