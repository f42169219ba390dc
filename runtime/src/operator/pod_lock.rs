//! Who makes or clears a pod holds its directory. The shim does not need it: it is the pod's own.
//!
//! flock(2) on the directory itself: it goes with the process, however that ends.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct PodLock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

/// Longer than the making of a pod takes.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(10);

impl PodLock {
    /// Takes a pod's directory; none when it is gone.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Option<Self>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = match File::open(dir) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).with_context(|| format!("open {}", dir.display())),
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if is_still(&lock, dir) => return Ok(Some(Self(lock))),
                // Removed, and perhaps made again, while we waited.
                Ok(_other) => {}
                Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err((_, Errno::EWOULDBLOCK)) => {
                    anyhow::bail!("{}: another hshim has been at it for {} s", dir.display(), PATIENCE.as_secs())
                }
                Err((_, errno)) => return Err(errno).with_context(|| format!("lock {}", dir.display())),
            }
        }
    }
}

fn is_still(lock: &Flock<File>, dir: &Path) -> bool {
    let (Ok(held), Ok(found)) = (lock.metadata(), std::fs::metadata(dir)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}
