//! What a test has left on the machine: processes, mounts, cgroups, sockets, state. Found by the names that only this test has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroups::{cgroup_directories, tree};
use super::daemon::Daemon;
use super::shim::{command_line, processes};

/// The names to look for.
pub(super) struct Leftovers<'a> {
    pub(super) daemon: &'a Daemon,
    /// Tasks and pods that were.
    pub(super) ids: Vec<String>,
    /// containerd itself is no leftover.
    pub(super) containerd: Option<u32>,
}

impl Leftovers<'_> {
    /// Everything that is left, in words.
    pub(super) fn find(&self) -> Vec<String> {
        let processes = self.processes().into_iter().map(|pid| format!("process {pid} {:?}", command_line(pid)));
        let mounts =
            self.mounts().into_iter().filter(|path| !self.is_snapshotter_mount(path)).map(|path| format!("mount {path}"));
        let files = [self.cgroups(), self.sockets(), self.states()].concat();
        processes.chain(mounts).chain(files.into_iter().map(|path| path.display().to_string())).collect()
    }

    /// Take everything away, without a word: a test has failed, or this is its regular end.
    pub(super) fn destroy(&self) {
        for pid in self.processes() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        comes_true(|| self.processes().is_empty());
        for mount in self.mounts().iter().rev() {
            umount2(mount.as_str(), MntFlags::MNT_DETACH).ok();
        }
        let own = cgroup_directories(self.daemon.name()).into_iter();
        for cgroup in own.flat_map(|directory| tree(&directory)) {
            fs::remove_dir(cgroup).ok();
        }
        for socket in self.sockets() {
            fs::remove_file(socket).ok();
        }
        for state in self.states() {
            fs::remove_dir_all(state).ok();
        }
        let own = |path: &Path| path.file_name().is_some_and(|name| name == self.daemon.name());
        for place in self.places() {
            let parent = place.parent().map(Path::to_owned);
            for directory in [Some(place), parent].into_iter().flatten().filter(|path| path.ancestors().take(2).any(own)) {
                fs::remove_dir(directory).ok();
            }
        }
    }

    /// Whoever has our directory in its command line or lives in our cgroups; zombies hold nothing.
    fn processes(&self) -> Vec<i32> {
        let home = self.daemon.home().to_str().unwrap();
        let cgroup = format!("/{}/", self.daemon.name());
        let own = [Some(std::process::id()), self.containerd].map(|pid| pid.map(u32::cast_signed));
        let ours = |pid: &i32| {
            let named = command_line(*pid).iter().any(|word| word.contains(home));
            named || fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&cgroup))
        };
        processes().into_iter().filter(|pid| !own.contains(&Some(*pid)) && ours(pid) && !is_ours_or_dead(*pid)).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let home = self.daemon.home().to_str().unwrap().to_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| path.contains(&home)).map(str::to_owned).collect()
    }

    /// containerd keeps a private mount of its own in some snapshotters' directories.
    fn is_snapshotter_mount(&self, path: &str) -> bool {
        Path::new(path).starts_with(self.daemon.home().join("root"))
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let own = cgroup_directories(self.daemon.name());
        own.into_iter()
            .flat_map(|directory| tree(&directory).into_iter().filter(move |path| *path != directory).collect::<Vec<_>>())
            .collect()
    }

    fn sockets(&self) -> Vec<PathBuf> {
        self.ids.iter().map(|id| self.daemon.shim_socket(id)).filter(|path| path.exists()).collect()
    }

    /// Bundles, and what shims and runtimes keep about a container.
    fn states(&self) -> Vec<PathBuf> {
        let bundles = ["state", "root"].map(|place| self.daemon.home().join(place).join("io.containerd.runtime.v2.task"));
        let bundles = bundles.map(|directory| directory.join(self.daemon.namespace()));
        let entries = bundles.into_iter().chain(self.places()).filter_map(|directory| fs::read_dir(directory).ok());
        let entries = entries.flatten().flatten().map(|entry| entry.path());
        let known = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.ids.iter().any(|id| id == name))
        };
        entries.filter(known).collect()
    }

    /// Where shims and runtimes keep what they know, by containerd's namespace.
    fn places(&self) -> [PathBuf; 3] {
        let namespace = self.daemon.namespace();
        let hshim = Path::new("/run/hshim/containerd").join(namespace);
        [Path::new("/run/containerd/runc").join(namespace), hshim.join("bundles"), hshim.join("containers")]
    }
}

/// Whether it comes true in the time that an orderly end may take.
pub(super) fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    condition()
}

/// A zombie, which holds nothing, or a command of the test itself, which ends with it.
fn is_ours_or_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let (state, parent) = (fields.next(), fields.next());
    state.is_none_or(|state| state == "Z") || parent == Some(std::process::id().to_string().as_str())
}
