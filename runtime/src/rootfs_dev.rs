//! `/dev` of the root file system, before libcontainer fills it.
//!
//! libcontainer makes links and device nodes below `<rootfs>/dev` from outside, by path. A symbolic link there would lead it out of
//! the root file system (L6, the class of CVE-2026-41579); and what an earlier container of the same bundle left there would be in its
//! way when no tmpfs is mounted on it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::Spec;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::late_mounts::is_bind;

/// Made by libcontainer in every container.
const MADE: [&str; 12] = ["fd", "stdin", "stdout", "stderr", "kcore", "ptmx", "null", "zero", "full", "tty", "urandom", "random"];

/// Makes sure that `/dev` is a directory of the root file system, and empties it of what will be made.
pub(crate) fn prepare_dev(rootfs: &Path, spec: &Spec) -> anyhow::Result<()> {
    let dev = open_dev(rootfs)?;
    let mounts = || spec.mounts().iter().flatten();
    for mount in mounts().filter(|mount| mount.destination() == Path::new("/") && is_bind(mount)) {
        // Mounted over the root file system: its /dev is the one then.
        open_dev(mount.source().as_deref().unwrap_or(Path::new("/")))?;
    }
    let is_covered = mounts().any(|mount| ["/", "/dev"].map(Path::new).contains(&mount.destination().as_path()));
    let Some(dev) = dev.filter(|_| !is_covered) else { return Ok(()) };
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref()).into_iter().flatten();
    let listed = listed.filter_map(|device| device.path().strip_prefix("/dev").ok()?.to_str()).filter(|name| !name.contains('/'));
    for name in MADE.into_iter().chain(listed) {
        match unlinkat(dev.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("replace {}", rootfs.join("dev").join(name).display()));
            }
        }
    }
    Ok(())
}

/// None when there is none yet.
fn open_dev(rootfs: &Path) -> anyhow::Result<Option<OwnedFd>> {
    let root = File::open(rootfs).with_context(|| format!("open the root file system {}", rootfs.display()))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH);
    let dev = rootfs.join("dev");
    match openat2(&root, "dev", how) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP) => anyhow::bail!(
            "{}: is a symbolic link, which would lead out of the container: the image must have a directory there",
            dev.display()
        ),
        Err(error) => Err(error).with_context(|| format!("open {}: it must be a directory", dev.display())),
    }
}
