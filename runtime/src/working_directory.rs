//! `process.cwd`, made where it is missing: runc does, images count on it, and libcontainer refuses.
//!
//! It is made from outside, before there is a container: below the root file system, or below the directory that is bound over that part
//! of it, and never through a link that leads out. In a file system that does not exist yet (a tmpfs) it cannot be made.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Spec};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::late_mounts::is_bind;

/// Of a directory that is made.
const MODE: Mode = Mode::from_bits_truncate(0o755);

/// Makes the working directory of a normal specification, if it is missing.
pub(crate) fn make(spec: &Spec, rootfs: &Path) -> anyhow::Result<()> {
    let Some(cwd) = spec.process().as_ref().map(|process| process.cwd()) else { return Ok(()) };
    let Some((base, below)) = place(spec, rootfs, cwd) else { return Ok(()) };
    let base = File::open(&base).with_context(|| format!("open {}", base.display()))?;
    make_below(&base, &below, owner(spec)).with_context(|| format!("process.cwd: make {}", cwd.display()))
}

/// The directory outside that a path of the container begins in, and the rest of the path; none when that is no directory.
fn place(spec: &Spec, rootfs: &Path, cwd: &Path) -> Option<(PathBuf, PathBuf)> {
    // Of two mounts over one path the later is seen.
    let over = spec.mounts().iter().flatten().filter(|mount| cwd.starts_with(mount.destination()));
    let (base, destination) = match over.max_by_key(|mount| mount.destination().as_os_str().len()) {
        Some(mount) if is_bind(mount) => (mount.source().clone()?, mount.destination().as_path()),
        Some(_not_there_yet) => return None,
        None => (rootfs.to_owned(), Path::new("/")),
    };
    let below = cwd.strip_prefix(destination).ok()?.to_owned();
    base.is_dir().then_some((base, below))
}

fn make_below(base: &File, below: &Path, owner: (Uid, Gid)) -> anyhow::Result<()> {
    let mut path = PathBuf::from(".");
    let mut parent: OwnedFd = base.try_clone().context("open the root file system")?.into();
    for component in below.components() {
        let Component::Normal(name) = component else { continue };
        path.push(name);
        parent = match open(base, &path) {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => {
                match mkdirat(parent.as_fd(), name, MODE) {
                    Ok(()) => {}
                    // A read-only file system, or a link into nothing: that it is not there is told when init goes there.
                    Err(Errno::EROFS | Errno::EEXIST) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
                fchmodat(parent.as_fd(), name, MODE, FchmodatFlags::FollowSymlink)?;
                fchownat(parent.as_fd(), name, Some(owner.0), Some(owner.1), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                open(base, &path)?
            }
            // No directory, or a link in circles: told when init goes there.
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

fn open(base: &File, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(base, path, how)
}

/// Root of the container.
fn owner(spec: &Spec) -> (Uid, Gid) {
    let root = |maps: Option<&Vec<LinuxIdMapping>>| {
        maps.into_iter().flatten().find(|map| map.container_id() == 0).map_or(0, LinuxIdMapping::host_id)
    };
    let linux = spec.linux().as_ref();
    (
        Uid::from_raw(root(linux.and_then(|linux| linux.uid_mappings().as_ref()))),
        Gid::from_raw(root(linux.and_then(|linux| linux.gid_mappings().as_ref()))),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_made_inside_whatever_links_say() {
        let dir = std::env::temp_dir().join(format!("hshim-cwd-{}", std::process::id()));
        let root = dir.join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        symlink(&dir, root.join("out")).unwrap();
        symlink("/real", root.join("in")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        let base = File::open(&root).unwrap();
        let owner = (nix::unistd::geteuid(), nix::unistd::getegid());
        for path in ["a/b/c", "in/made", "dangling/x", "out/made", "real"] {
            make_below(&base, Path::new(path), owner).unwrap();
        }
        assert!(root.join("a/b/c").is_dir() && root.join("real/made").is_dir());
        assert!(!dir.join("made").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
