//! This process in a container's cgroup, for as long as it makes the container: what it clones is born there.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::{Cgroup, CgroupDir, HierarchyKind};

/// Until it is dropped, or for good, this process is in a container's cgroup, in the hierarchies that libcontainer leaves out.
#[derive(Debug)]
pub(crate) struct Membership {
    /// Files that take it back to where it was.
    back: Vec<PathBuf>,
}

impl Cgroup {
    /// Moves this process into the hierarchies that libcontainer leaves out on cgroup v1.
    pub(crate) fn join_what_libcontainer_leaves_out(&self) -> anyhow::Result<Membership> {
        let mut membership = Membership { back: Vec::new() };
        if !self.is_v1() {
            return Ok(membership);
        }
        let former = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        for dir in &self.dirs {
            let Some(name) = member_file(dir) else { continue };
            let file = dir.path.join(name);
            fs::write(&file, "0").with_context(|| format!("join the cgroup {}", file.display()))?;
            membership.back.push(former_dir(dir, &former).join(name));
        }
        Ok(membership)
    }

    /// Moves this process to the root of those hierarchies, so that a container which is undone can lose its cgroup. The process ends next:
    /// where it was before is of no matter.
    pub(crate) fn leave(&self) {
        for dir in &self.dirs {
            let Some(name) = member_file(dir).filter(|_name| self.is_v1()) else { continue };
            if let Err(error) = fs::write(dir.mount_point.join(name), "0") {
                log::warn!("leave {}: {error}", dir.path.display());
            }
        }
    }
}

/// A v1 `tasks` file takes a single thread without the global lock that `cgroup.procs` waits for.
fn member_file(dir: &CgroupDir) -> Option<&'static str> {
    match dir.kind {
        HierarchyKind::Named => Some("tasks"),
        HierarchyKind::Unified => Some("cgroup.procs"),
        HierarchyKind::Freezer | HierarchyKind::Controllers => None,
    }
}

/// Where this process was, by its /proc/self/cgroup (`ID:OPTIONS:PATH`). What is above this mount is its root for us.
fn former_dir(dir: &CgroupDir, cgroups: &str) -> PathBuf {
    let is_meant = |options: &str| match dir.kind {
        HierarchyKind::Unified => options.is_empty(),
        HierarchyKind::Named | HierarchyKind::Freezer | HierarchyKind::Controllers => {
            dir.options.iter().any(|option| option == options)
        }
    };
    let paths = cgroups.lines().filter_map(|line| {
        let (options, path) = line.split_once(':')?.1.split_once(':')?;
        is_meant(options).then_some(path)
    });
    let path = paths.into_iter().next().filter(|path| !path.contains("/..")).unwrap_or("/");
    dir.mount_point.join(path.trim_start_matches('/'))
}

impl Membership {
    /// Stays: the process that makes a container ends soon, and going back would cost milliseconds.
    pub(crate) fn keep(mut self) {
        self.back.clear();
    }
}

impl Drop for Membership {
    /// Goes back; for `cgroup.procs` that is one wait for all processors more (7 to 16 ms).
    fn drop(&mut self) {
        for file in &self.back {
            if let Err(error) = fs::write(file, "0") {
                log::warn!("go back to {}: {error}", file.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_goes_back_to_where_it_was() {
        let cgroups = "9:name=systemd:/user.slice\n4:memory:/m\n0::/a/b\n";
        let dir = |kind, option: &str| CgroupDir {
            kind,
            mount_point: "/sys/fs/cgroup/x".into(),
            options: vec!["rw".to_owned(), option.to_owned()],
            path: PathBuf::new(),
        };
        let former = |dir: &CgroupDir, cgroups: &str| former_dir(dir, cgroups).display().to_string();
        assert_eq!(former(&dir(HierarchyKind::Named, "name=systemd"), cgroups), "/sys/fs/cgroup/x/user.slice");
        assert_eq!(former(&dir(HierarchyKind::Unified, ""), cgroups), "/sys/fs/cgroup/x/a/b");
        assert_eq!(former(&dir(HierarchyKind::Unified, ""), "0::/../outside\n"), "/sys/fs/cgroup/x/");
    }
}
