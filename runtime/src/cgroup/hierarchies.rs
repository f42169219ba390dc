//! The cgroup hierarchies of this machine: where they are mounted, and what their directories need before they can be used.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{CgroupDir, HierarchyKind};

/// The mounted hierarchies, with their roots as paths.
pub(super) fn mounted() -> anyhow::Result<Vec<CgroupDir>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let found = in_mountinfo(&mounts);
    anyhow::ensure!(
        !found.is_empty(),
        "no cgroup file system is mounted below /sys/fs/cgroup: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup)"
    );
    Ok(found)
}

/// The mounted hierarchies of a mountinfo file (proc_pid_mountinfo(5)), each once.
fn in_mountinfo(mountinfo: &str) -> Vec<CgroupDir> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut mount = mount.split(' ').skip(2);
        let (Some(device), Some(_root), Some(mount_point)) = (mount.next(), mount.next(), mount.next()) else { continue };
        let mut file_system = file_system.split(' ');
        let Some((kind, options)) = kind(file_system.next(), file_system.nth(1)) else { continue };
        if mount_point.starts_with("/sys/fs/cgroup") && !seen.contains(&device) {
            seen.push(device);
            found.push(CgroupDir { kind, options, mount_point: mount_point.into(), path: mount_point.into() });
        }
    }
    found
}

fn kind(file_system: Option<&str>, options: Option<&str>) -> Option<(HierarchyKind, Vec<String>)> {
    match (file_system, options) {
        (Some("cgroup2"), _) => Some((HierarchyKind::Unified, Vec::new())),
        (Some("cgroup"), Some(options)) => {
            let options: Vec<String> = options.split(',').map(str::to_owned).collect();
            let has = |wanted: &str| options.iter().any(|option| option.starts_with(wanted));
            let kind = match (has("freezer"), has("name=")) {
                (true, _) => HierarchyKind::Freezer,
                (false, true) => HierarchyKind::Named,
                (false, false) => HierarchyKind::Controllers,
            };
            Some((kind, options))
        }
        _ => None,
    }
}

/// Whether a cgroup v2 hierarchy has a controller, by its name on v1.
pub(super) fn has_controller(mount_point: &Path, controller: &str) -> bool {
    let name = if controller == "blkio" { "io" } else { controller };
    words(&mount_point.join("cgroup.controllers")).iter().any(|word| word == name)
}

/// Has every cgroup from the root down to the parent of `path` hand down the wanted controllers. One that cannot be handed
/// down is missed by who writes to its files, with a better message than could be given here.
pub(super) fn enable_controllers(mount_point: &Path, path: &Path, is_wanted: impl Fn(&str) -> bool) {
    for dir in ancestors(mount_point, path) {
        let control = dir.join("cgroup.subtree_control");
        let enabled = words(&control);
        let available = words(&dir.join("cgroup.controllers"));
        let missing =
            available.into_iter().filter(|word| is_wanted(word) && !enabled.contains(word)).map(|word| format!("+{word}"));
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() || fs::write(&control, missing.join(" ")).is_ok() {
            continue;
        }
        for controller in missing {
            if let Err(error) = fs::write(&control, &controller) {
                log::debug!("write {controller} to {}: {error}", control.display());
            }
        }
    }
}

/// Nothing can join a cpuset (cgroup v1) without processors and memory nodes, and a new one has none: it gets its parent's.
pub(super) fn fill_cpuset(mount_point: &Path, path: &Path) -> anyhow::Result<()> {
    let chain: Vec<PathBuf> = ancestors(mount_point, path).into_iter().chain([path.to_owned()]).collect();
    for (parent, child) in chain.iter().zip(chain.iter().skip(1)) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = child.join(file);
            if !fs::read_to_string(&own).is_ok_and(|list| list.trim().is_empty()) {
                continue;
            }
            let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
            fs::write(&own, inherited.trim()).with_context(|| format!("write {}", own.display()))?;
        }
    }
    Ok(())
}

/// From the root to the parent of `path`.
fn ancestors(mount_point: &Path, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|dir| dir.starts_with(mount_point));
    let mut above: Vec<PathBuf> = above.map(Path::to_owned).collect();
    above.reverse();
    above
}

fn words(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
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
    fn every_hierarchy_is_found_once_with_its_controllers() {
        let found = in_mountinfo(HYBRID);
        let kinds: Vec<HierarchyKind> = found.iter().map(|dir| dir.kind).collect();
        assert_eq!(kinds, [HierarchyKind::Controllers, HierarchyKind::Freezer, HierarchyKind::Named, HierarchyKind::Unified]);
        assert_eq!(found[0].options, ["rw", "cpu", "cpuacct"]);
    }

    #[test]
    fn a_pure_v2_host_has_one_hierarchy() {
        let found = in_mountinfo("35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].mount_point.as_path()), (HierarchyKind::Unified, Path::new("/sys/fs/cgroup")));
    }

    #[test]
    fn controllers_are_handed_down_from_the_root_to_the_parent() {
        let chain = ancestors(Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/a/b"));
        assert_eq!(chain, [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/a")]);
    }
}
