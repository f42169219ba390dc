//! The cgroups of one container: the same path in every mounted hierarchy.
//!
//! On cgroup v2 init is born in its cgroup (birth.rs). On v1 libcontainer joins the controllers; what it leaves out there
//! (`name=systemd`, and the unified hierarchy beside v1 controllers) is joined here, before it clones. Nothing here writes `cgroup.kill`: on recent kernels whoever is cloned
//! into a cgroup that was killed once dies at birth, and a container's cgroup outlives its restarts. A cgroup is emptied by
//! killing what is in it while it is frozen.
//!
//! ```text
//! resources.rs       what linux.resources means for files (pure)      setting.rs       values written, and taken back
//! limits.rs          a container's resources, at create and update    device_rules.rs  rules → device_program.rs on v2
//! freezer.rs         frozen and thawed                                statistics.rs    what is used; oom.rs: out of memory
//! systemd.rs         units of systemd, over dbus.rs                   hierarchies.rs   what is mounted
//! birth.rs           a process cloned into a cgroup (v2)              membership.rs    this process moved into one (v1)
//! ```

pub(crate) mod birth;
mod dbus;
mod device_program;
mod device_rules;
mod freezer;
mod hierarchies;
pub(crate) mod limits;
pub(crate) mod membership;
pub(crate) mod oom;
mod pressure;
mod resources;
mod setting;
pub(crate) mod statistics;
pub(crate) mod systemd;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::sys;
use resources::Version;
use systemd::{Placeholder, Unit, Wishes};

/// The directories of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cgroup {
    dirs: Vec<CgroupDir>,
    /// When systemd made it.
    unit: Option<Unit>,
}

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CgroupDir {
    /// Of its hierarchy.
    pub(crate) kind: HierarchyKind,
    /// Where the hierarchy is mounted.
    pub(crate) mount_point: PathBuf,
    /// Mount options of a cgroup v1 hierarchy: the names of its controllers are among them.
    #[serde(default)]
    pub(crate) options: Vec<String>,
    /// The directory itself.
    pub(crate) path: PathBuf,
}

/// Who makes the directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// hshim.
    Files,
    /// systemd, asked by hshim.
    Systemd,
    /// Nobody: the container stays in the cgroup of its creator, who may not write another.
    Absent,
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
        let relative = path.strip_prefix("/").unwrap_or(path);
        let mounted = hierarchies::mounted()?.into_iter();
        let dirs = mounted.map(|dir| CgroupDir { path: dir.mount_point.join(relative), ..dir }).collect();
        Ok(Self { dirs, unit: None })
    }

    /// The same of a unit of systemd.
    pub(crate) fn locate_unit(unit: Unit) -> anyhow::Result<Self> {
        Unit::require_systemd()?;
        Ok(Self { unit: Some(unit.clone()), ..Self::locate(&unit.cgroup_path())? })
    }

    /// The directories.
    pub(crate) fn dirs(&self) -> &[CgroupDir] {
        &self.dirs
    }

    /// Whether controllers are on cgroup v1 (alone, or beside a unified hierarchy).
    pub(crate) fn is_v1(&self) -> bool {
        self.dirs.iter().any(|dir| matches!(dir.kind, HierarchyKind::Freezer | HierarchyKind::Controllers))
    }

    /// The directory with the files of a controller, by its name on v1 or v2; none when it is not mounted.
    pub(crate) fn dir_of(&self, controller: &str) -> Option<&Path> {
        let v1 = |name: &str| self.dirs.iter().find(|dir| dir.options.iter().any(|option| option == name));
        let other_name = match controller {
            "io" => "blkio",
            name => name,
        };
        let dir = v1(other_name).or_else(|| self.of_kind(HierarchyKind::Unified))?;
        Some(&dir.path)
    }

    /// Which version a controller (by its name on v1) is on; none when this machine has it on neither.
    fn version_of(&self, controller: &str) -> Option<Version> {
        if self.dirs.iter().any(|dir| dir.options.iter().any(|option| option == controller)) {
            return Some(Version::V1);
        }
        let unified = self.of_kind(HierarchyKind::Unified)?;
        // Beside v1 the unified hierarchy has what is left; alone it is where the files have to be.
        let is_there = !self.is_v1() || hierarchies::has_controller(&unified.mount_point, controller);
        is_there.then_some(Version::V2)
    }

    /// Makes the directories, with the controllers that are needed in them. Those that systemd made last as long as what is
    /// returned, or a process in them.
    pub(crate) fn create(&self, wishes: &Wishes<'_>) -> anyhow::Result<Option<Placeholder>> {
        let version = if self.is_v1() { Version::V1 } else { Version::V2 };
        let placeholder = self.unit.as_ref().map(|unit| unit.start(version, wishes)).transpose()?;
        for dir in &self.dirs {
            fs::create_dir_all(&dir.path).with_context(|| {
                format!("create the cgroup {}: hshim needs root and a writable cgroup file system", dir.path.display())
            })?;
            if dir.options.iter().any(|option| option == "cpuset") {
                hierarchies::fill_cpuset(&dir.mount_point, &dir.path)?;
            }
        }
        if !self.is_v1() && self.unit.is_none() {
            self.enable_controllers(|_controller| true);
        }
        Ok(placeholder)
    }

    /// Has systemd know new limits, where it made the cgroup.
    fn tell_systemd(&self, wishes: &Wishes<'_>) -> anyhow::Result<()> {
        let version = if self.is_v1() { Version::V1 } else { Version::V2 };
        self.unit.as_ref().map_or(Ok(()), |unit| unit.set(version, wishes))
    }

    /// On cgroup v2 a cgroup has the files of those controllers that all of its ancestors hand down.
    fn enable_controllers(&self, is_wanted: impl Fn(&str) -> bool) {
        if let Some(unified) = self.of_kind(HierarchyKind::Unified) {
            hierarchies::enable_controllers(&unified.mount_point, &unified.path, is_wanted);
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

    /// Freezes or thaws without waiting; a cgroup without a freezer stays as it is.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        if let Err(error) = freezer::write(self, frozen) {
            log::warn!("{error:#}");
        }
    }

    /// Every process in it, in any hierarchy and any cgroup below.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in &self.dirs {
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
        if let Some(unit) = &self.unit {
            unit.stop()?;
        }
        self.dirs.iter().try_for_each(|dir| remove_tree(&dir.path))
    }

    /// Removes all below the directories and leaves themselves for the next life.
    pub(crate) fn remove_children(&self) -> anyhow::Result<()> {
        self.dirs.iter().flat_map(|dir| children(&dir.path)).try_for_each(|child| remove_tree(&child))
    }

    fn of_kind(&self, kind: HierarchyKind) -> Option<&CgroupDir> {
        self.dirs.iter().find(|dir| dir.kind == kind)
    }
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
