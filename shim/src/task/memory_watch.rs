//! Learns from the kernel when a process of the container is killed for lack of memory: an event descriptor on
//! `memory.oom_control` (v1), or inotify on `memory.events` (v2). Nobody polls.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use super::cgroups::TaskCgroups;
use super::owner::{Effect, Owner, tell};
use crate::cgroup_mounts::oom_kills;
use crate::sys;

/// What becomes readable when something may have happened.
struct Watch {
    file: PathBuf,
    says: Says,
    changes: Arc<File>,
    /// Of v1: the kernel's registration ends with it.
    _control: Option<File>,
}

/// What a change means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Memory has run out (v1); the kernel counts the kill only afterwards.
    OutOfMemory,
    /// Some number in the file changed (v2).
    Something,
}

impl Owner {
    /// Begins to watch. A container without a memory controller has nothing to be watched.
    pub(super) fn watch_memory(&self) {
        let watch = match open(&self.task.cgroups) {
            Ok(Some(watch)) => watch,
            Ok(None) => return,
            Err(error) => return log::warn!("watch the memory of container {}: {error}", self.task.id),
        };
        let (report, ended) = (self.report.clone(), self.report.clone());
        tokio::spawn(async move {
            tokio::select! {
                ended = until_removed(&watch, &report) => {
                    if let Err(error) = ended { log::warn!("watch the memory of a container: {error}") }
                }
                () = ended.closed() => {}
            }
        });
    }
}

async fn until_removed(watch: &Watch, report: &mpsc::UnboundedSender<Effect>) -> io::Result<()> {
    let mut before = oom_kills(&watch.file).unwrap_or(0);
    let changes = sys::readable(Arc::clone(&watch.changes))?;
    loop {
        let mut ready = changes.readable().await?;
        drain(&watch.changes)?;
        ready.clear_ready();
        // That the cgroup is removed is an event too.
        let Some(now) = oom_kills(&watch.file) else { return Ok(()) };
        if watch.says == Says::OutOfMemory || now > before {
            tell(report, Effect::OutOfMemory);
        }
        before = now;
    }
}

fn drain(mut changes: &File) -> io::Result<()> {
    let mut buffer = [0_u8; 512];
    loop {
        match changes.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
}

fn open(cgroups: &TaskCgroups) -> io::Result<Option<Watch>> {
    if let Some(directory) = cgroups.directory("memory") {
        return open_v1(directory).map(Some);
    }
    let file = cgroups.unified().map(|directory| directory.join("memory.events")).filter(|file| file.exists());
    file.map(open_v2).transpose()
}

fn open_v1(directory: &Path) -> io::Result<Watch> {
    let file = directory.join("memory.oom_control");
    let control = File::open(&file)?;
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    fs::write(directory.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    let changes = Arc::new(File::from(OwnedFd::from(event)));
    Ok(Watch { file, says: Says::OutOfMemory, changes, _control: Some(control) })
}

fn open_v2(file: PathBuf) -> io::Result<Watch> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(&file, AddWatchFlags::IN_MODIFY)?;
    let changes = Arc::new(File::from(OwnedFd::from(inotify)));
    Ok(Watch { file, says: Says::Something, changes, _control: None })
}
