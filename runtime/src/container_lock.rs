//! One verb at a time changes a container.
//!
//! A record lock (fcntl(2), F_SETLK) and not flock(2): the init process inherits every open file, and would keep an flock
//! until it executes its command; a record lock belongs to this process alone and goes with it, however it ends.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::{FcntlArg, fcntl};

/// How long a verb waits for another.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(5);

/// Held until dropped. No other descriptor of the file may be closed meanwhile: that would release it.
#[derive(Debug)]
pub(crate) struct ContainerLock(#[allow(dead_code, reason = "held, not read")] File);

impl ContainerLock {
    /// Makes the lock of a new container and takes it.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path(dir));
        Self::wait(file.with_context(|| format!("create {}", path(dir).display()))?, dir)
    }

    /// Takes the lock of a container; none when the container is gone by then.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Option<Self>> {
        let lock = match OpenOptions::new().write(true).open(path(dir)) {
            Ok(file) => Self::wait(file, dir)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("open {}", path(dir).display())),
        };
        Ok(path(dir).exists().then_some(lock))
    }

    /// Which process holds the lock of a container now.
    pub(crate) fn holder(dir: &Path) -> Option<i32> {
        let file = OpenOptions::new().write(true).open(path(dir)).ok()?;
        let mut lock = write_lock();
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
        (lock.l_type != unlocked()).then_some(lock.l_pid)
    }

    fn wait(file: File, dir: &Path) -> anyhow::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fcntl(&file, FcntlArg::F_SETLK(&write_lock())) {
                Ok(_) => return Ok(Self(file)),
                Err(nix::Error::EAGAIN | nix::Error::EACCES) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(nix::Error::EAGAIN | nix::Error::EACCES) => anyhow::bail!(
                    "another hshim (process {}) has been changing this container for {} s",
                    Self::holder(dir).unwrap_or_default(),
                    PATIENCE.as_secs()
                ),
                Err(error) => return Err(error).with_context(|| format!("lock {}", path(dir).display())),
            }
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

fn unlocked() -> libc::c_short {
    i16::try_from(libc::F_UNLCK).unwrap_or_default()
}

fn write_lock() -> libc::flock {
    libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
