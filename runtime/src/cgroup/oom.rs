//! Being told when a container runs out of memory: `cgroup.event_control` of cgroup v1, `memory.events` of cgroup v2.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Cgroup;
use super::resources::Version;

/// Readable when there may be something to be told.
#[derive(Debug)]
pub(crate) enum OomWatch {
    /// The kernel counts on the descriptor; the file has to stay open.
    V1 {
        /// What is waited on.
        events: EventFd,
        /// `memory.oom_control`.
        _control: File,
        /// The cgroup: a removed one is told as an event too.
        dir: PathBuf,
    },
    /// A file that is changed for other reasons too.
    V2 {
        /// What is waited on.
        changes: Inotify,
        /// `memory.events`.
        file: PathBuf,
        /// As often as has been told.
        told: u64,
    },
}

impl OomWatch {
    /// Of a container; none where its memory is not accounted for.
    pub(crate) fn open(cgroup: &Cgroup) -> anyhow::Result<Option<Self>> {
        let Some(version) = cgroup.version_of("memory") else { return Ok(None) };
        let Some(dir) = cgroup.dir_of("memory") else { return Ok(None) };
        match version {
            Version::V1 => open_v1(dir).map(Some),
            Version::V2 if dir.join("memory.events").exists() => open_v2(dir).map(Some),
            Version::V2 => Ok(None),
        }
    }

    /// Whether the container ran out of memory since the last look.
    pub(crate) fn has_happened(&mut self) -> bool {
        match self {
            Self::V1 { events, dir, .. } => events.read().is_ok() && dir.exists(),
            Self::V2 { changes, file, told } => {
                while matches!(changes.read_events(), Ok(some) if !some.is_empty()) {}
                let killed = kills(file);
                let happened = killed > *told;
                *told = killed;
                happened
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V1 { events, .. } => events.as_fd(),
            Self::V2 { changes, .. } => changes.as_fd(),
        }
    }
}

fn open_v1(dir: &Path) -> anyhow::Result<OomWatch> {
    let file = dir.join("memory.oom_control");
    let control = File::open(&file).with_context(|| format!("open {}", file.display()))?;
    let events = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).context("make an eventfd")?;
    let registration = dir.join("cgroup.event_control");
    fs::write(&registration, format!("{} {}", events.as_fd().as_raw_fd(), control.as_raw_fd()))
        .with_context(|| format!("ask for events of {}", file.display()))?;
    Ok(OomWatch::V1 { events, _control: control, dir: dir.to_owned() })
}

fn open_v2(dir: &Path) -> anyhow::Result<OomWatch> {
    let file = dir.join("memory.events");
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("make an inotify descriptor")?;
    match changes.add_watch(&file, AddWatchFlags::IN_MODIFY) {
        Ok(_watch) => {}
        Err(Errno::ENOENT) => anyhow::bail!("{} is gone", file.display()),
        Err(error) => return Err(error).with_context(|| format!("watch {}", file.display())),
    }
    let told = kills(&file);
    Ok(OomWatch::V2 { changes, file, told })
}

/// How many processes the kernel has killed for want of memory, in the cgroup and below.
fn kills(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}
