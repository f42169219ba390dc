//! Where mounts go: symbolic links in their destinations, followed as the container would follow them.
//!
//! libcontainer follows links inside the root too, but does not make what a dangling one names, as runc does. So every destination is
//! given to it without links. What an earlier mount covers cannot be seen from here, and is left to libcontainer.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Mount;

use crate::copy_up::is_copied_up;
use crate::late_mounts::normal;

/// The kernel's own limit (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Resolves the destinations of all mounts, in their order. /proc and /sys must be where they are asked for, or what is written to
/// them later would go elsewhere (CVE-2019-19921).
pub(crate) fn resolve(rootfs: &Path, mounts: &mut [Mount]) -> anyhow::Result<()> {
    let mut covered: Vec<PathBuf> = Vec::new();
    for (index, mount) in mounts.iter_mut().enumerate() {
        let written = mount.destination().clone();
        let Some(resolved) = follow(rootfs, &written, &covered) else {
            anyhow::bail!("mounts[{index}].destination: {}: too many levels of symbolic links", written.display())
        };
        let must_be_there = matches!(mount.typ().as_deref(), Some("proc" | "sysfs"));
        anyhow::ensure!(
            !must_be_there || resolved == written,
            "mounts[{index}].destination: {}: must be mounted on an ordinary directory, and this is behind a symbolic link",
            written.display()
        );
        // What an image has there will be there again.
        if !is_copied_up(mount) {
            covered.push(resolved.clone());
        }
        mount.set_destination(resolved);
    }
    Ok(())
}

/// A path with the links that are in the image, in sight between what mounts cover. None when they go in circles.
pub(crate) fn follow(rootfs: &Path, path: &Path, covered: &[PathBuf]) -> Option<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = normal(path).iter().skip(1).map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        let is_visible = !covered.iter().any(|mount| next.starts_with(mount));
        let link = if is_visible { fs::read_link(inside(rootfs, &next)).ok() } else { None };
        let Some(target) = link else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        for part in target.iter().rev().filter(|part| *part != "/" && *part != ".") {
            ahead.push_front(part.to_owned());
        }
    }
    Some(resolved)
}

fn inside(rootfs: &Path, path: &Path) -> PathBuf {
    rootfs.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_root_and_not_below_other_mounts() {
        let rootfs = std::env::temp_dir().join(format!("hshim-targets-{}", std::process::id()));
        fs::create_dir_all(rootfs.join("var")).unwrap();
        for (target, link) in [("/run", "var/run"), ("../../../../etc", "up"), ("/a", "b"), ("/b", "a"), ("up/x", "chain")] {
            symlink(target, rootfs.join(link)).unwrap();
        }
        for (written, resolved) in
            [("/var/run/x", "/run/x"), ("/up/passwd", "/etc/passwd"), ("/chain/y", "/etc/x/y"), ("/new/dir", "/new/dir")]
        {
            assert_eq!(follow(&rootfs, Path::new(written), &[]).unwrap(), Path::new(resolved), "{written}");
        }
        assert_eq!(follow(&rootfs, Path::new("/a/x"), &[]), None);
        assert_eq!(follow(&rootfs, Path::new("/var/run/x"), &[PathBuf::from("/var")]).unwrap(), Path::new("/var/run/x"));
        fs::remove_dir_all(rootfs).unwrap();
    }
}
