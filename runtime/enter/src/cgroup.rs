//! Where a container is in the cgroup trees, and the leaves below it that probes run in.
//!
//! Three layouts: v2 alone; v1 hierarchies with a v2 tree beside them (hybrid); v1 alone. A leaf is a fresh directory
//! `probe-N` for one probe: below the container's own v2 cgroup, or, on a hybrid machine whose runtime leaves the v2 tree alone, in
//! the v2 tree at the container's v1 path, or, without a v2 tree, below its freezer cgroup. A leaf that was killed is removed and never
//! used again: kernels refuse to clone into a cgroup that was once killed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// A container's place in each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// v1 hierarchies that are mounted: controllers (or `name=…`) and directory.
    v1: Vec<(String, PathBuf)>,
    /// Directory in the v2 tree below which leaves are made.
    v2: Option<PathBuf>,
    /// That directory is the container's own cgroup, not merely one of the same name.
    v2_is_home: bool,
}

/// A hierarchy and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// None: v2.
    controllers: Option<Vec<String>>,
    /// Part of the hierarchy that is mounted.
    root: PathBuf,
    at: PathBuf,
}

impl ContainerCgroup {
    /// The cgroups of the container whose init is this process.
    ///
    /// # Errors
    /// When its /proc files cannot be read.
    pub fn of_pid(pid: u32) -> io::Result<Self> {
        let theirs = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let ours = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self::locate(&theirs, &ours, &mounts))
    }

    /// From the texts of /proc/PID/cgroup, /proc/self/cgroup and /proc/self/mountinfo.
    fn locate(theirs: &str, ours: &str, mountinfo: &str) -> Self {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut place = Self::default();
        for (controllers, path) in memberships(theirs).filter(|(controllers, _)| !controllers.is_empty()) {
            let same = |mount: &&Mount| mount.controllers.as_ref().is_some_and(|names| has_all(names, controllers));
            // What we share with the container is not its own, and need not be joined.
            if memberships(ours).any(|own| own == (controllers, path)) {
                continue;
            }
            if let Some(directory) = mounts.iter().find(same).and_then(|mount| mount.directory(path)) {
                place.v1.push((controllers.to_owned(), directory));
            }
        }
        place.locate_v2(theirs, ours, &mounts);
        place
    }

    fn locate_v2(&mut self, theirs: &str, ours: &str, mounts: &[Mount]) {
        let Some(unified) = mounts.iter().find(|mount| mount.controllers.is_none()) else { return };
        let path_of =
            |text| memberships(text).find(|(controllers, _): &(&str, &str)| controllers.is_empty()).map(|(_, path)| path);
        let home = path_of(theirs).filter(|path| self.v1.is_empty() || Some(*path) != path_of(ours));
        self.v2_is_home = home.is_some();
        let by_v1 = || memberships(theirs).find(|(controllers, _)| self.v1.iter().any(|(own, _)| own == controllers));
        self.v2 = home.or_else(|| by_v1().map(|(_, path)| path)).and_then(|path| unified.directory(path));
    }

    /// The `tasks` files of its v1 cgroups, open for writing; none on v2.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open_v1_tasks(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |(_, directory): &(String, PathBuf)| open_to_write(&directory.join("tasks"));
        self.v1.iter().map(open).collect()
    }

    /// Its own cgroup in the v2 tree, to clone into; none when the runtime did not give it one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_v2_home(&self) -> io::Result<Option<OwnedFd>> {
        let home = self.v2.as_ref().filter(|_| self.v2_is_home);
        home.map(|directory| open_directory(directory)).transpose()
    }

    /// Directory of a v1 controller.
    #[must_use]
    pub fn v1_directory(&self, controller: &str) -> Option<&Path> {
        let of = |(names, _): &&(String, PathBuf)| names.split(',').any(|name| name == controller);
        self.v1.iter().find(of).map(|(_, directory)| directory.as_path())
    }

    /// Its own directory in the v2 tree, if the runtime gave it one.
    #[must_use]
    pub fn v2_directory(&self) -> Option<&Path> {
        self.v2.as_deref().filter(|_| self.v2_is_home)
    }

    /// Directory of the v2 tree below which its leaves are made: its own, or on hybrid machines one of the same name.
    #[must_use]
    pub fn leaf_parent(&self) -> Option<&Path> {
        self.v2.as_deref().or_else(|| self.v1_directory("freezer"))
    }

    /// Every directory that is its own, in any hierarchy, leaf parents included.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, directory)| directory.as_path()).chain(self.v2.as_deref())
    }

    /// Go to an existing cgroup below: in the v1 hierarchies of these controllers (`cpu,memory`), or everywhere.
    ///
    /// # Errors
    /// When the path leads out, is not there, or no hierarchy has the controllers.
    pub fn descend(&mut self, controllers: Option<&str>, below: &Path) -> io::Result<()> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
        if !below.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir | Component::CurDir)) {
            return Err(wrong("the path must stay below the container's cgroup"));
        }
        let below = below.strip_prefix("/").unwrap_or(below);
        let is_meant =
            |names: &str| controllers.is_none_or(|wanted| wanted.split(',').any(|one| names.split(',').any(|n| n == one)));
        let v1 = self.v1.iter_mut().filter(|(names, _)| is_meant(names)).map(|(_, directory)| directory);
        let v2 = self.v2.iter_mut().filter(|_| self.v2_is_home && controllers.is_none());
        let mut directories: Vec<&mut PathBuf> = v1.chain(v2).collect();
        if directories.is_empty() {
            return Err(wrong("the container has no cgroup of these controllers"));
        }
        for directory in &mut directories {
            let there = directory.join(below);
            fs::metadata(&there).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", there.display())))?;
            **directory = there;
        }
        Ok(())
    }

    /// Is it frozen (paused), or on the way?
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn is_frozen(&self) -> io::Result<bool> {
        if let Some(freezer) = self.v1_directory("freezer") {
            return Ok(fs::read_to_string(freezer.join("freezer.state"))?.trim() != "THAWED");
        }
        match self.v2_directory() {
            Some(directory) => Ok(fs::read_to_string(directory.join("cgroup.events"))?.lines().any(|line| line == "frozen 1")),
            None => Ok(false),
        }
    }
}

impl Mount {
    /// A line of mountinfo (proc_pid_mountinfo(5)), if it is a cgroup hierarchy.
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?.into(), mount.next()?.into());
        let mut system = system.split(' ');
        let controllers = match system.next()? {
            "cgroup2" => None,
            "cgroup" => Some(system.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Self { controllers, root, at })
    }

    /// Where a path of the hierarchy is in the file system.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        Some(self.at.join(below))
    }
}

/// Lines `N:controllers:path` of /proc/PID/cgroup.
fn memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':').and_then(|(_, rest)| rest.split_once(':')))
}

fn has_all(names: &[String], controllers: &str) -> bool {
    controllers.split(',').all(|controller| names.iter().any(|name| name == controller))
}

fn open_to_write(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new().write(true).open(path).map(OwnedFd::from)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path).map(OwnedFd::from)
}

/// A fresh cgroup for one probe. It is not removed by dropping it.
#[derive(Debug)]
pub struct Leaf {
    path: PathBuf,
    directory: OwnedFd,
    kill: Option<OwnedFd>,
}

/// How long [`Leaf::remove`] waits for dying processes.
const REMOVAL: Duration = Duration::from_millis(100);
/// How long [`Leaf::kill`] waits until all of a v1 leaf stands still.
const FREEZING: Duration = Duration::from_millis(200);

impl Leaf {
    /// Make `probe-N`.
    ///
    /// # Errors
    /// When there is no hierarchy for it, it exists already, or it cannot be made.
    pub fn create(container: &ContainerCgroup, number: u64) -> io::Result<Self> {
        let no_place = || io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy holds the container");
        let parent = container.leaf_parent().ok_or_else(no_place)?;
        let path = parent.join(format!("probe-{number}"));
        if let Err(error) = fs::create_dir(&path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(&path)?;
        }
        let opened = open_directory(&path).and_then(|directory| {
            let kill = container.v2.as_ref().map(|_| open_to_write(&path.join("cgroup.kill"))).transpose()?;
            Ok((directory, kill))
        });
        match opened {
            Ok((directory, kill)) => Ok(Self { path, directory, kill }),
            Err(error) => fs::remove_dir(&path).and(Err(error)),
        }
    }

    /// Its directory, to hand to [`crate::CgroupEntry`].
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its `cgroup.kill`; none on v1.
    #[must_use]
    pub fn kill_file(&self) -> Option<BorrowedFd<'_>> {
        self.kill.as_ref().map(OwnedFd::as_fd)
    }

    /// Kill everything in it (the program does that itself; this is for a program that was killed).
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn kill(&self) -> io::Result<()> {
        if self.kill.is_some() {
            return fs::write(self.path.join("cgroup.kill"), "1");
        }
        let state = self.path.join("freezer.state");
        fs::write(&state, "FROZEN")?;
        // Only what stands still cannot fork past the walk; a member that hangs in the kernel is not waited for any longer.
        let until = Instant::now() + FREEZING;
        while fs::read_to_string(&state)?.trim() != "FROZEN" && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let killed = fs::read_to_string(self.path.join("cgroup.procs")).map(|members| {
            // 0 stands for a process outside this one's pid namespace, and means something else to kill(2).
            for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0) {
                // SAFETY: takes integers only. The cgroup is frozen, so the ids are still those of its members.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        fs::write(&state, "THAWED").and(killed)
    }

    /// Remove it, waiting a tenth of a second at most for processes that are on their way out.
    ///
    /// # Errors
    /// When it is still not empty then.
    pub fn remove(self) -> io::Result<()> {
        let until = Instant::now() + REMOVAL;
        loop {
            match fs::remove_dir(&self.path) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
33 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn on_v2_the_leaf_is_below_the_containers_own_cgroup() {
        let place = ContainerCgroup::locate("0::/hshim/a\n", "0::/user\n", V2);
        assert_eq!(place.v2_directory(), Some(Path::new("/sys/fs/cgroup/hshim/a")));
        assert_eq!(place.leaf_parent(), place.v2_directory());
        assert_eq!(place.v1, []);
    }

    #[test]
    fn on_hybrid_a_runtime_that_leaves_the_v2_tree_alone_gets_leaves_at_its_v1_path() {
        let theirs = "4:memory:/hshim/a\n3:cpu,cpuacct:/hshim/a\n2:freezer:/hshim/a\n1:name=systemd:/\n0::/\n";
        let place = ContainerCgroup::locate(theirs, "4:memory:/\n3:cpu,cpuacct:/\n2:freezer:/\n1:name=systemd:/\n0::/\n", HYBRID);
        assert_eq!(place.v2_directory(), None);
        assert_eq!(place.leaf_parent(), Some(Path::new("/sys/fs/cgroup/unified/hshim/a")));
        assert_eq!(place.v1_directory("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/hshim/a")));
        assert_eq!(place.v1.len(), 3, "what it shares with us is not joined");
    }

    #[test]
    fn on_hybrid_a_runtime_that_joins_the_v2_tree_keeps_its_place_there() {
        let place = ContainerCgroup::locate("2:freezer:/a\n0::/b\n", "2:freezer:/\n0::/\n", HYBRID);
        assert_eq!(place.v2_directory(), Some(Path::new("/sys/fs/cgroup/unified/b")));
    }

    #[test]
    fn without_a_v2_tree_the_leaf_is_below_the_freezer() {
        let v1: String = HYBRID.lines().filter(|line| !line.contains("cgroup2")).collect::<Vec<_>>().join("\n");
        let place = ContainerCgroup::locate("2:freezer:/a\n0::/\n", "2:freezer:/\n0::/\n", &v1);
        assert_eq!(place.leaf_parent(), Some(Path::new("/sys/fs/cgroup/freezer/a")));
    }

    #[test]
    fn v1_lines_of_hierarchies_that_are_not_mounted_here_do_not_count() {
        let theirs = "4:memory:/\n2:freezer:/\n0::/a\n";
        let place = ContainerCgroup::locate(theirs, "4:memory:/\n2:freezer:/\n0::/\n", V2);
        assert_eq!(place.v2_directory(), Some(Path::new("/sys/fs/cgroup/a")));
    }

    #[test]
    fn a_mount_of_a_part_of_the_tree_is_followed() {
        let part = "30 25 0:26 /lxc/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let place = ContainerCgroup::locate("0::/lxc/1/a\n", "0::/lxc/1\n", part);
        assert_eq!(place.v2_directory(), Some(Path::new("/sys/fs/cgroup/a")));
    }
}
