//! What the kernel says: which controllers there are, and what stands in the files of a container's cgroup.

use std::fs;
use std::path::{Path, PathBuf};

use hshim_tests::bundle::Bundle;

/// Of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

const ROOT: &str = "/sys/fs/cgroup";

/// Where a controller (by its name on v1) is; none when this kernel does not have it.
pub(crate) fn version_of(controller: &str) -> Option<Version> {
    if hierarchy(controller) {
        return Some(Version::V1);
    }
    let name = if controller == "blkio" { "io" } else { controller };
    let available = fs::read_to_string(unified()?.join("cgroup.controllers")).unwrap_or_default();
    let is_there = available.split_whitespace().any(|word| word == name) || (is_pure_v2() && name == "devices");
    is_there.then_some(Version::V2)
}

/// Whether a controller has a v1 hierarchy of its own (they may be mounted together).
fn hierarchy(controller: &str) -> bool {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let on_v1 =
        cgroups.lines().any(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller)));
    on_v1 && !is_pure_v2()
}

/// The mount point of cgroup v2.
pub(crate) fn unified() -> Option<PathBuf> {
    if is_pure_v2() {
        return Some(ROOT.into());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Whether `/sys/fs/cgroup` is cgroup v2.
pub(crate) fn is_pure_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The directory of a process in the hierarchy of a controller.
pub(crate) fn dir_of(pid: i32, controller: &str) -> PathBuf {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
    let find = |matches: &dyn Fn(&str) -> bool| {
        let line = cgroups.lines().find(|line| line.split(':').nth(1).is_some_and(matches))?;
        line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned())
    };
    if version_of(controller) == Some(Version::V1) {
        let path = find(&|names| names.split(',').any(|name| name == controller)).expect("it has a cgroup there");
        let mounted = [controller.to_owned(), "cpu,cpuacct".to_owned(), "net_cls,net_prio".to_owned()];
        let root = mounted.iter().map(|name| Path::new(ROOT).join(name)).find(|dir| dir.exists()).expect("it is mounted");
        return root.join(path);
    }
    unified().expect("cgroup v2 is mounted").join(find(&str::is_empty).expect("it has a cgroup there"))
}

/// A file of a container's cgroup, by its name on the version that the controller is on.
pub(crate) fn file(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let name = if version_of(controller) == Some(Version::V1) { v1 } else { v2 };
    dir_of(bundle.pid(), controller).join(name)
}

/// What stands in it, without the last line break.
pub(crate) fn read(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let file = file(bundle, controller, v1, v2);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    text.trim_end().to_owned()
}

/// The number behind a key in a file of `key number` lines.
pub(crate) fn count(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}
