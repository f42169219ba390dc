//! Where the cgroup hierarchies are mounted, and what is in them of a container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its mount point.
    pub(crate) mount: PathBuf,
    /// Its controllers (v1), as in the fourth field of /proc/PID/cgroup; empty for the unified one.
    pub(crate) controllers: Vec<String>,
}

/// All mounted hierarchies, each once.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Removes a cgroup and those below it. One that is not there is no error; one with processes is.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// There is no cgroup below it, and none of its controllers is enabled for such. One that is not there is plain as well.
pub(crate) fn is_plain(path: &Path) -> bool {
    let has_child =
        fs::read_dir(path).into_iter().flatten().flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    !has_child && fs::read_to_string(path.join("cgroup.subtree_control")).map_or(true, |enabled| enabled.trim().is_empty())
}

/// Counts how often the kernel killed for lack of memory in the cgroup of one life.
///
/// Read from the file itself: cgroups-rs has no reader for `memory.events` of cgroup v2, and for v1's `memory.oom_control` it
/// opens fourteen files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OomCounter {
    file: PathBuf,
    before: u64,
}

impl OomCounter {
    /// Counts from now on, in the cgroup that this process is in. None without a memory controller.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let file = oom_file(&text, &hierarchies())?;
        let before = oom_kills(&file)?;
        Some(Self { file, before })
    }

    /// Whether it has happened since.
    pub(crate) fn has_moved(&self) -> bool {
        oom_kills(&self.file).is_some_and(|now| now > self.before)
    }
}

fn oom_kills(file: &Path) -> Option<u64> {
    count_of_kills(&fs::read_to_string(file).ok()?)
}

/// The count in the text of `memory.events` or `memory.oom_control`.
pub(crate) fn count_of_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The file that counts: of the v1 memory controller where there is one, else of the unified hierarchy.
fn oom_file(cgroups: &str, hierarchies: &[Hierarchy]) -> Option<PathBuf> {
    let paths: Vec<(&str, &str)> = cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    let find = |wanted: fn(&str) -> bool| paths.iter().find(|(controllers, _)| wanted(controllers)).map(|(_, path)| *path);
    let mount = |wanted: fn(&Hierarchy) -> bool| hierarchies.iter().find(|it| wanted(it)).map(|it| it.mount.as_path());
    let v1 = find(|controllers| controllers.split(',').any(|it| it == "memory"));
    let (mount, path, name) = match v1 {
        Some(path) => (mount(|it| it.controllers.iter().any(|it| it == "memory"))?, path, "memory.oom_control"),
        None => (mount(|it| it.controllers.is_empty())?, find(str::is_empty)?, "memory.events"),
    };
    Some(mount.join(path.trim_start_matches('/')).join(name))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next().unwrap_or_default(), tail.nth(1).unwrap_or_default());
        let controllers = match kind {
            "cgroup2" => Vec::new(),
            "cgroup" => options.split(',').filter(|it| !matches!(*it, "rw" | "ro" | "xattr")).map(str::to_owned).collect(),
            _ => continue,
        };
        let Some(mount) = head.split(' ').nth(4).map(PathBuf::from) else { continue };
        if found.iter().all(|it| it.controllers != controllers) {
            found.push(Hierarchy { mount, controllers });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
30 25 0:26 / /elsewhere rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_machine_has_its_v1_hierarchies_and_the_unified_one_once() {
        let mounts: Vec<String> = parse(HYBRID).iter().map(|it| it.mount.display().to_string()).collect();
        let expected = ["memory", "cpu,cpuacct", "systemd", "unified"].map(|name| format!("/sys/fs/cgroup/{name}"));
        assert_eq!(mounts, expected);
    }

    #[test]
    fn oom_kills_are_counted_where_the_memory_controller_is() {
        let hybrid = oom_file("9:memory:/hshim/p/c\n3:cpu,cpuacct:/x\n0::/hshim/p/c\n", &parse(HYBRID));
        assert_eq!(hybrid, Some("/sys/fs/cgroup/memory/hshim/p/c/memory.oom_control".into()));
        let unified = parse("29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert_eq!(oom_file("0::/hshim/p/c\n", &unified), Some("/sys/fs/cgroup/hshim/p/c/memory.events".into()));
    }
}
