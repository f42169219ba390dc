//! Learns from the kernel when a process of the container is killed for lack of memory: an event descriptor on
//! `memory.oom_control` (v1), or inotify on `memory.events` (v2). Nobody polls.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use super::cgroups::TaskCgroups;
use super::owner::{Effect, Owner, tell};
use crate::cgroup_mounts::count_of_kills;
use crate::sys;

/// What becomes readable when something may have happened.
struct Watch {
    /// Of the cgroup that is watched, and of no later one with its name.
    file: File,
    says: Says,
    changes: Arc<File>,
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
    /// Watches the memory of one life: a runtime may make the cgroup anew for each. Without a memory controller there is nothing to
    /// be watched.
    pub(super) fn watch_memory(&mut self) {
        let watch = match open(&self.task.cgroups) {
            Ok(Some(watch)) => watch,
            Ok(None) => return,
            Err(error) => return log::warn!("watch the memory of container {}: {error}", self.task.id),
        };
        let report = self.report.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = until_removed(&watch, &report).await {
                log::warn!("watch the memory of a container: {error}");
            }
        });
        if let Some(before) = self.memory_watch.replace(task) {
            before.abort();
        }
    }
}

async fn until_removed(watch: &Watch, report: &mpsc::UnboundedSender<Effect>) -> io::Result<()> {
    let mut before = kills(&watch.file).unwrap_or(0);
    let changes = sys::readable(Arc::clone(&watch.changes))?;
    loop {
        let mut ready = changes.readable().await?;
        drain(&watch.changes)?;
        ready.clear_ready();
        // That the cgroup is removed is an event too.
        let Some(now) = kills(&watch.file) else { return Ok(()) };
        if watch.says == Says::OutOfMemory || now > before {
            tell(report, Effect::OutOfMemory);
        }
        before = now;
    }
}

/// None when the cgroup is gone.
fn kills(file: &File) -> Option<u64> {
    let mut buffer = [0_u8; 512];
    let read = file.read_at(&mut buffer, 0).ok()?;
    count_of_kills(std::str::from_utf8(buffer.get(..read)?).ok()?)
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
    file.map(|file| open_v2(&file)).transpose()
}

fn open_v1(directory: &Path) -> io::Result<Watch> {
    let file = File::open(directory.join("memory.oom_control"))?;
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    fs::write(directory.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), file.as_raw_fd()))?;
    Ok(Watch { file, says: Says::OutOfMemory, changes: Arc::new(File::from(OwnedFd::from(event))) })
}

fn open_v2(path: &Path) -> io::Result<Watch> {
    let file = File::open(path)?;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
    Ok(Watch { file, says: Says::Something, changes: Arc::new(File::from(OwnedFd::from(inotify))) })
}
