//! Cgroups of containers, in whatever hierarchies this machine has.

use std::fs;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Where cgroup `path` (absolute, without a hierarchy) exists.
#[must_use]
pub fn cgroup_directories(path: &str) -> Vec<PathBuf> {
    let below = path.trim_start_matches('/');
    hierarchies().into_iter().map(|root| root.join(below)).filter(|directory| directory.is_dir()).collect()
}

/// The first file of cgroup `path` that exists under one of `names`, trimmed: the v1 and the v2 name of a value.
#[must_use]
pub fn cgroup_value(path: &str, names: &[&str]) -> Option<String> {
    let directories = cgroup_directories(path);
    let files = names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    files.into_iter().find_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned())
}

fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(MOUNT);
    if root.join("cgroup.procs").exists() {
        return vec![root.to_owned()];
    }
    fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The directories below `directory`, the deepest first, it itself last.
pub(super) fn tree(directory: &Path) -> Vec<PathBuf> {
    let children = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = children.filter(|path| path.is_dir()).flat_map(|path| tree(&path)).collect();
    found.push(directory.to_owned());
    found
}
