//! The cgroups of one container: the same path in every mounted hierarchy.
//!
//! libcontainer joins the controllers; what it leaves out on cgroup v1 (`name=systemd`, and the unified hierarchy beside v1
//! controllers) is joined here, before it clones. Nothing here writes `cgroup.kill`: on recent kernels whoever is cloned
//! into a cgroup that was killed once dies at birth, and a container's cgroup outlives its restarts. A cgroup is emptied by
//! killing what is in it while it is frozen.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::sys;

/// The directories of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cgroup(Vec<CgroupDir>);

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CgroupDir {
    /// Of its hierarchy.
    pub(crate) kind: HierarchyKind,
    /// Where the hierarchy is mounted.
    pub(crate) mount_point: PathBuf,
    /// The directory itself.
    pub(crate) path: PathBuf,
}

/// What a hierarchy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HierarchyKind {
    /// cgroup v1 with the freezer controller.
    Freezer,
    /// cgroup v1 with other controllers.
    Controllers,
    /// cgroup v1 without a controller (`name=systemd`).
    Named,
    /// cgroup v2.
    Unified,
}

/// How long dying processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to remove a directory that is busy.
const RETRY: Duration = Duration::from_millis(2);

impl Cgroup {
    /// Where `path` (absolute, from the root of each hierarchy) is in what is mounted now.
    pub(crate) fn locate(path: &Path) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let relative = path.strip_prefix("/").unwrap_or(path);
        let dirs: Vec<CgroupDir> = hierarchies(&mounts)
            .into_iter()
            .map(|(kind, mount_point)| CgroupDir { kind, path: mount_point.join(relative), mount_point })
            .collect();
        anyhow::ensure!(
            !dirs.is_empty(),
            "no cgroup file system is mounted below /sys/fs/cgroup: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup)"
        );
        Ok(Self(dirs))
    }

    /// The directories.
    pub(crate) fn dirs(&self) -> &[CgroupDir] {
        &self.0
    }

    /// Whether controllers are on cgroup v1 (alone, or beside a unified hierarchy).
    pub(crate) fn is_v1(&self) -> bool {
        self.0.iter().any(|dir| matches!(dir.kind, HierarchyKind::Freezer | HierarchyKind::Controllers))
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        for dir in &self.0 {
            fs::create_dir_all(&dir.path).with_context(|| {
                format!("create the cgroup {}: hshim needs root and a writable cgroup file system", dir.path.display())
            })?;
        }
        Ok(())
    }

    /// Moves this process into the hierarchies that libcontainer leaves out on cgroup v1.
    ///
    /// A v1 `tasks` file takes a single thread without the global lock that `cgroup.procs` waits for.
    pub(crate) fn join_what_libcontainer_leaves_out(&self) -> anyhow::Result<()> {
        if !self.is_v1() {
            return Ok(());
        }
        for dir in &self.0 {
            let file = match dir.kind {
                HierarchyKind::Named => "tasks",
                HierarchyKind::Unified => "cgroup.procs",
                HierarchyKind::Freezer | HierarchyKind::Controllers => continue,
            };
            let file = dir.path.join(file);
            fs::write(&file, "0").with_context(|| format!("join the cgroup {}", file.display()))?;
        }
        Ok(())
    }

    /// Moves this process back to the root of the hierarchies that it joined, so that the directories can be removed.
    pub(crate) fn leave(&self) {
        for dir in self.0.iter().filter(|dir| matches!(dir.kind, HierarchyKind::Named | HierarchyKind::Unified)) {
            if let Err(error) = fs::write(dir.mount_point.join("cgroup.procs"), "0") {
                log::debug!("leave {}: {error}", dir.path.display());
            }
        }
    }

    /// Whether its processes are frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        let reads = |dir: &CgroupDir, file: &str, word: &str| {
            fs::read_to_string(dir.path.join(file)).is_ok_and(|text| text.lines().any(|line| line == word))
        };
        if let Some(freezer) = self.of_kind(HierarchyKind::Freezer) {
            return reads(freezer, "freezer.state", "FROZEN") || reads(freezer, "freezer.state", "FREEZING");
        }
        self.of_kind(HierarchyKind::Unified).is_some_and(|unified| reads(unified, "cgroup.events", "frozen 1"))
    }

    /// Freezes or thaws; a cgroup without a freezer stays as it is.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        let (file, word) = match (self.of_kind(HierarchyKind::Freezer), self.of_kind(HierarchyKind::Unified)) {
            (Some(freezer), _) => (freezer.path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
            (None, Some(unified)) => (unified.path.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            (None, None) => return,
        };
        match fs::write(&file, word) {
            Err(error) if error.kind() != ErrorKind::NotFound => log::warn!("write {word} to {}: {error}", file.display()),
            _done_or_gone => {}
        }
    }

    /// Every process in it, in any hierarchy and any cgroup below.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in &self.0 {
            collect_processes(&dir.path, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Sends a signal to every process in it but the caller, none of which can escape meanwhile.
    pub(crate) fn signal_all(&self, signal: i32) -> Vec<std::os::fd::OwnedFd> {
        self.set_frozen(true);
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let mut signalled = Vec::new();
        for pid in self.processes().into_iter().filter(|pid| *pid != own) {
            let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
            match sys::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), signal) {
                Ok(()) => signalled.push(pidfd),
                Err(error) => log::debug!("signal process {pid}: {error}"),
            }
        }
        self.set_frozen(false);
        signalled
    }

    /// Kills every process in it but the caller, and waits until they have ended.
    pub(crate) fn kill_all(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let killed = self.signal_all(libc::SIGKILL);
            if killed.is_empty() {
                return Ok(());
            }
            for pidfd in &killed {
                wait_readable(pidfd, deadline.saturating_duration_since(Instant::now()))?;
            }
            anyhow::ensure!(Instant::now() < deadline, "processes {:?} do not end after SIGKILL", self.processes());
        }
    }

    /// Removes the directories with all below them.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        self.0.iter().try_for_each(|dir| remove_tree(&dir.path))
    }

    /// Removes all below the directories and leaves themselves for the next life.
    pub(crate) fn remove_children(&self) -> anyhow::Result<()> {
        self.0.iter().flat_map(|dir| children(&dir.path)).try_for_each(|child| remove_tree(&child))
    }

    fn of_kind(&self, kind: HierarchyKind) -> Option<&CgroupDir> {
        self.0.iter().find(|dir| dir.kind == kind)
    }
}

/// The mounted hierarchies of a mountinfo file (proc_pid_mountinfo(5)), each once.
fn hierarchies(mountinfo: &str) -> Vec<(HierarchyKind, PathBuf)> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut mount = mount.split(' ').skip(2);
        let (Some(device), Some(_root), Some(mount_point)) = (mount.next(), mount.next(), mount.next()) else { continue };
        let mut file_system = file_system.split(' ');
        let kind = match (file_system.next(), file_system.nth(1)) {
            (Some("cgroup2"), _) => HierarchyKind::Unified,
            (Some("cgroup"), Some(options)) if options.split(',').any(|option| option == "freezer") => HierarchyKind::Freezer,
            (Some("cgroup"), Some(options)) if options.contains("name=") => HierarchyKind::Named,
            (Some("cgroup"), _) => HierarchyKind::Controllers,
            _ => continue,
        };
        if mount_point.starts_with("/sys/fs/cgroup") && !seen.contains(&device) {
            seen.push(device);
            found.push((kind, PathBuf::from(mount_point)));
        }
    }
    found
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in children(dir) {
        collect_processes(&child, pids);
    }
}

fn remove_tree(dir: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The bottom first. Most cgroups have no children, and rmdir says so without a look at the directory.
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("remove the cgroup {}", dir.display()));
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("remove the cgroup {}", dir.display())),
        }
        let below = children(dir);
        if below.is_empty() {
            // A process that has just ended takes a moment to leave.
            std::thread::sleep(RETRY);
        }
        below.iter().try_for_each(|child| remove_tree(child))?;
    }
}

fn wait_readable(pidfd: &impl std::os::fd::AsFd, patience: Duration) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut descriptors = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut descriptors, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
52 31 0:38 / /run/other rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn every_hierarchy_is_found_once() {
        let kinds: Vec<HierarchyKind> = hierarchies(HYBRID).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [HierarchyKind::Controllers, HierarchyKind::Freezer, HierarchyKind::Named, HierarchyKind::Unified]);
    }

    #[test]
    fn a_pure_v2_host_has_one_hierarchy() {
        let found = hierarchies("35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(found, [(HierarchyKind::Unified, PathBuf::from("/sys/fs/cgroup"))]);
    }
}
