//! The cgroups of one container: who is in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroup_mounts::{self, Hierarchy};

/// Its directories, found once while its first process lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskCgroups {
    /// Each hierarchy with the container's directory in it; the root of a hierarchy is left out: it is not the container's.
    directories: Vec<(Hierarchy, PathBuf)>,
}

impl TaskCgroups {
    /// Those of this process.
    pub(crate) fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Self::parse(&text, cgroup_mounts::hierarchies())
    }

    fn parse(text: &str, hierarchies: Vec<Hierarchy>) -> Self {
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        let directory = |hierarchy: &Hierarchy| {
            let of_hierarchy = |controllers: &str| {
                if hierarchy.controllers.is_empty() {
                    controllers.is_empty()
                } else {
                    controllers.split(',').any(|controller| hierarchy.controllers.iter().any(|it| it == controller))
                }
            };
            let (_, path) = lines.iter().find(|(controllers, _)| of_hierarchy(controllers))?;
            (*path != "/").then(|| hierarchy.mount.join(path.trim_start_matches('/')))
        };
        let found = hierarchies.into_iter().filter_map(|hierarchy| Some((directory(&hierarchy)?, hierarchy)));
        Self { directories: found.map(|(directory, hierarchy)| (hierarchy, directory)).collect() }
    }

    /// Every process in them, those of groups below included.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        let tracking = self.directory("pids").or_else(|| self.directory("memory")).or_else(|| self.directory("devices"));
        let mut pids = BTreeSet::new();
        if let Some(directory) = tracking.or_else(|| self.unified()).or_else(|| Some(&self.directories.first()?.1)) {
            collect(directory, &mut pids);
        }
        pids
    }

    /// The directory where a controller of v1 is.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Path> {
        let found = self.directories.iter().find(|(hierarchy, _)| hierarchy.controllers.iter().any(|it| it == controller));
        found.map(|(_, directory)| directory.as_path())
    }

    /// The directory in the unified hierarchy.
    pub(crate) fn unified(&self) -> Option<&Path> {
        self.directories.iter().find(|(hierarchy, _)| hierarchy.controllers.is_empty()).map(|(_, directory)| directory.as_path())
    }

    /// There is no hierarchy of v1 with a controller: statistics are those of cgroup v2.
    pub(crate) fn is_unified(&self) -> bool {
        self.directories.iter().all(|(hierarchy, _)| hierarchy.controllers.iter().all(|it| it.starts_with("name=")))
    }
}

fn collect(directory: &Path, pids: &mut BTreeSet<u32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of another pid namespace.
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|&pid| pid != 0));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(mount: &str, controllers: &[&str]) -> Hierarchy {
        Hierarchy { mount: mount.into(), controllers: controllers.iter().map(|&it| it.to_owned()).collect() }
    }

    #[test]
    fn each_hierarchy_has_its_directory_and_the_root_is_nobodys() {
        let all = vec![
            hierarchy("/c/memory", &["memory"]),
            hierarchy("/c/cpu", &["cpu", "cpuacct"]),
            hierarchy("/c/systemd", &["name=systemd"]),
            hierarchy("/c/unified", &[]),
        ];
        let cgroups = TaskCgroups::parse("4:memory:/x/y\n3:cpu,cpuacct:/x/y\n1:name=systemd:/\n0::/x/y\n", all);
        assert_eq!(cgroups.directory("memory"), Some(Path::new("/c/memory/x/y")));
        assert_eq!(cgroups.directory("cpuacct"), Some(Path::new("/c/cpu/x/y")));
        assert_eq!((cgroups.directory("name=systemd"), cgroups.unified()), (None, Some(Path::new("/c/unified/x/y"))));
        assert!(!cgroups.is_unified());
        assert!(TaskCgroups::parse("0::/x\n", vec![hierarchy("/c", &[])]).is_unified());
    }
}
