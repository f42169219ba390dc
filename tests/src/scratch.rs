//! A directory that a test makes and that goes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, umount2};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A private directory on the file system of `std::env::temp_dir()`. Mounts below it are detached before it is removed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    name: String,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Makes it.
    ///
    /// # Panics
    /// The directory cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let name = unique("t");
        let path = std::env::temp_dir().join(format!("hshim-{name}"));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Self { path, name }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A word that no other test on this machine has, for container ids and cgroups.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mounts below it, innermost last.
    #[must_use]
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|point| point.starts_with(&self.path)).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for mount in self.mounts().iter().rev() {
            if let Err(error) = umount2(mount, MntFlags::MNT_DETACH) {
                println!("still mounted: {}: {error}", mount.display());
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            println!("left behind: {}: {error}", self.path.display());
        }
    }
}

/// `PREFIX-PID-START-N`: a process id comes again, and what an ended test left behind must not be met by the next one of its number; with
/// its start time (field 22 of /proc/PID/stat, clock ticks since boot) it does not.
///
/// # Panics
/// There is no /proc.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let stat = fs::read_to_string("/proc/self/stat").expect("read /proc/self/stat");
    let after_name = stat.rsplit_once(") ").map_or("", |(_name, rest)| rest);
    let start: u64 =
        after_name.split(' ').nth(19).and_then(|field| field.parse().ok()).expect("/proc/self/stat has a start time");
    format!("{prefix}-{}-{start:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
