//! Waiting for a change: inotify(7) on directories, pidfds of shims, and whether anybody still reads. Nothing is polled.

use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::screen::ReaderGone;
use crate::init_process::InitProcess;

/// Watched directories. To watch one again is no harm.
#[derive(Debug)]
pub(crate) struct Watch(Inotify);

impl Watch {
    /// Of nothing yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        Ok(Self(inotify.context("watch for changes")?))
    }

    /// Watches a directory from now on. False when it is not there.
    pub(crate) fn directory(&self, dir: &Path) -> anyhow::Result<bool> {
        let mask = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match self.0.add_watch(dir, mask) {
            Ok(_) => Ok(true),
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("watch {}", dir.display())),
        }
    }

    /// Watches a directory of ours that may not be there yet, by making it.
    pub(crate) fn own_directory(&self, dir: &Path) -> anyhow::Result<()> {
        if !self.directory(dir)? {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("create {}", dir.display()))?;
            self.directory(dir)?;
        }
        Ok(())
    }

    /// Waits until something has changed in a directory, or one of the shims has ended. That nobody reads any more is an error.
    pub(crate) fn wait<'a>(&self, shims: impl IntoIterator<Item = &'a InitProcess>) -> anyhow::Result<()> {
        let stdout = std::io::stdout();
        let mut descriptors =
            vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        descriptors.extend(shims.into_iter().map(|shim| PollFd::new(shim.as_fd(), PollFlags::POLLIN)));
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("wait for a change"),
        }
        let reader = descriptors.get(1).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if !reader.is_empty() {
            return Err(ReaderGone.into());
        }
        loop {
            match self.0.read_events() {
                Ok(_seen) => {}
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(()),
                Err(error) => return Err(error).context("read what has changed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_a_missing_directory_is_told() {
        let dir = std::env::temp_dir().join(format!("hshim-watch-{}", std::process::id()));
        let watch = Watch::new().unwrap();
        assert!(!watch.directory(&dir).unwrap());
        watch.own_directory(&dir).unwrap();
        std::fs::write(dir.join("x"), "y").unwrap();
        watch.wait([]).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        watch.wait([]).unwrap();
    }
}
