//! Somebody is responsible for a pod's directory as long as it is locked: the command that makes or clears it, and its shim, which
//! inherits the lock and keeps it all its life.
//!
//! flock(2) on the directory itself: it goes with the last process that has it open, however that ends. So a directory that can be locked
//! has no shim, not even one that is just beginning.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use hshim_health::layout::SupervisionDir;

use crate::init_process::InitProcess;
use crate::shim_process;

/// Held until dropped here and in whoever inherited it.
#[derive(Debug)]
pub(crate) struct PodLock(File);

/// Who is responsible for a pod.
#[derive(Debug)]
pub(crate) enum Responsible {
    /// There is no such pod.
    Nobody,
    /// Its shim.
    Shim(InitProcess),
    /// The caller, from now on: the pod has no shim.
    Caller(PodLock),
}

/// Longer than the making of a pod takes.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const RETRY: Duration = Duration::from_millis(5);

impl PodLock {
    /// Finds out who is responsible, and waits while it is another command.
    pub(crate) fn responsible(dir: &SupervisionDir) -> anyhow::Result<Responsible> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(shim) = shim_process::find(dir)? {
                return Ok(Responsible::Shim(shim));
            }
            let file = match File::open(&dir.0) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Responsible::Nobody),
                Err(error) => return Err(error).with_context(|| format!("open {}", dir.0.display())),
            };
            match file.try_lock() {
                Ok(()) if is_still(&file, dir) => return Ok(Responsible::Caller(Self(file))),
                // Removed, and perhaps made again, since it was opened.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    anyhow::bail!("{}: another hshim has been at it for {} s", dir.0.display(), PATIENCE.as_secs())
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", dir.0.display())),
            }
        }
    }
}

impl AsFd for PodLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn is_still(file: &File, dir: &SupervisionDir) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), std::fs::metadata(&dir.0)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}
