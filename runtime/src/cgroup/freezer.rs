//! Frozen and thawed: the freezer controller of cgroup v1, `cgroup.freeze` of cgroup v2.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Cgroup, HierarchyKind};

/// How long processes may take to stand still: one in an uninterruptible system call cannot be frozen before it returns.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(2);
/// A v1 cgroup that is still freezing after so many looks is thawed and frozen again: what was forked meanwhile may have slipped through.
const LOOKS: u32 = 25;

impl Cgroup {
    /// Freezes every process in it and waits until all stand still. When that takes too long they are thawed again.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = 0;
        write(self, true)?;
        while !self.stands_still() {
            if Instant::now() >= deadline {
                write(self, false)?;
                anyhow::bail!("its processes do not stand still after {} s: they run again", PATIENCE.as_secs());
            }
            looks += 1;
            if self.is_v1() && looks % LOOKS == 0 {
                write(self, false)?;
                write(self, true)?;
            }
            std::thread::sleep(RETRY);
        }
        Ok(())
    }

    /// Lets them run again.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        write(self, false)?;
        let deadline = Instant::now() + PATIENCE;
        while self.is_frozen() {
            anyhow::ensure!(Instant::now() < deadline, "they stay frozen: a cgroup above may be frozen too");
            std::thread::sleep(RETRY);
        }
        Ok(())
    }

    fn stands_still(&self) -> bool {
        let Some((file, _)) = file(self) else { return false };
        if file.ends_with("freezer.state") {
            return fs::read_to_string(&file).is_ok_and(|state| state.trim_end() == "FROZEN");
        }
        fs::read_to_string(file.with_file_name("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
    }
}

/// The file, and its words for frozen and thawed.
fn file(cgroup: &Cgroup) -> Option<(PathBuf, [&'static str; 2])> {
    if let Some(freezer) = cgroup.of_kind(HierarchyKind::Freezer) {
        return Some((freezer.path.join("freezer.state"), ["FROZEN", "THAWED"]));
    }
    cgroup.of_kind(HierarchyKind::Unified).map(|unified| (unified.path.join("cgroup.freeze"), ["1", "0"]))
}

/// Asks for it without waiting. A cgroup that is gone needs neither.
pub(super) fn write(cgroup: &Cgroup, frozen: bool) -> anyhow::Result<()> {
    let (file, [freeze, thaw]) = file(cgroup).context("no freezer is mounted on this machine")?;
    let word = if frozen { freeze } else { thaw };
    match fs::write(&file, word) {
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        done => done.with_context(|| format!("write {word} to {}", file.display())),
    }
}
