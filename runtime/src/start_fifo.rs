//! The FIFO by which an init process tells how its execve went; [`crate::init_executor`] draws the conversation.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::init_executor::ABOUT_TO_EXECUTE;

/// How a start went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// The command was executed.
    Executed,
    /// It was not.
    Failed(String),
    /// Init ended before it came so far.
    EndedBefore,
}

/// The reading side.
#[derive(Debug)]
pub(crate) struct StartFifo(File);

impl StartFifo {
    /// Makes the FIFO and opens its write side, close-on-exec.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<OwnedFd> {
        let path = path(dir);
        mkfifo(&path, Mode::from_bits_truncate(0o600)).with_context(|| format!("create {}", path.display()))?;
        // Opening the write side alone would wait for a reader.
        let both = OpenOptions::new().read(true).write(true).open(&path);
        let both = both.with_context(|| format!("open {}", path.display()))?;
        let write = OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        drop(both);
        Ok(write.into())
    }

    /// Opens the reading side; none when the container has been started already.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Option<Self>> {
        match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path(dir)) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open {}", path(dir).display())),
        }
    }

    /// Whether init still waits at the barrier. Only while no `start` reads.
    pub(crate) fn init_waits(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.0.read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Waits until init has executed its command, or has failed to.
    pub(crate) fn outcome(mut self) -> anyhow::Result<Started> {
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::empty())).context("wait for the init process")?;
        let mut told = Vec::new();
        self.0.read_to_end(&mut told).context("wait for the init process")?;
        Ok(match told.split_first() {
            Some((&ABOUT_TO_EXECUTE, [])) => Started::Executed,
            Some((_, reason)) => Started::Failed(String::from_utf8_lossy(reason).into_owned()),
            None => Started::EndedBefore,
        })
    }

    /// Removes it: the container has been started.
    pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
        fs::remove_file(path(dir)).with_context(|| format!("remove {}", path(dir).display()))
    }
}

/// Where it is: every process of a create has it open until it executes something.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("exec.fifo")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hshim-fifo-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_closed_writer_means_that_init_went_on() {
        let dir = dir("closed");
        let write = StartFifo::create(&dir).unwrap();
        assert!(StartFifo::open(&dir).unwrap().unwrap().init_waits());
        drop(write);
        assert!(!StartFifo::open(&dir).unwrap().unwrap().init_waits());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_outcomes_of_a_start_are_told_apart() {
        let dir = dir("told");
        for (told, outcome) in
            [("+", Started::Executed), ("+no such file", Started::Failed("no such file".into())), ("", Started::EndedBefore)]
        {
            let mut write = File::from(StartFifo::create(&dir).unwrap());
            let read = StartFifo::open(&dir).unwrap().unwrap();
            write.write_all(told.as_bytes()).unwrap();
            drop(write);
            assert_eq!(read.outcome().unwrap(), outcome);
            StartFifo::remove(&dir).unwrap();
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
