//! What the finished container shows, looked at from outside before anybody is told that it is there.
//!
//! libcontainer masks paths and makes them read-only by name. A name may have led elsewhere at that moment: a symbolic link in a volume
//! that another container exchanges, a `/dev/null` that is none (CVE-2025-31133, CVE-2025-52881, GHSA-3q8j-pf29-vwv8). So each is opened
//! again through the init process' root directory, below it and through no magic link, and the descriptor is asked what it is:
//! a name can be redirected, a descriptor cannot. A container that does not show what was asked for is not handed out.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{Mount, Spec};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::late_mounts::normal;

/// `TMPFS_MAGIC`, `PROC_SUPER_MAGIC` and `SYSFS_MAGIC` of linux/magic.h.
const TMPFS: u64 = 0x0102_1994;
const PROC: u64 = 0x9fa0;
const SYSFS: u64 = 0x6265_6572;

/// Compares what the container of this waiting init process shows with what its specification asks for.
pub(crate) fn verify(spec: &Spec, init: i32) -> anyhow::Result<()> {
    let root = File::open(format!("/proc/{init}/root")).context("open the container's root directory")?;
    let mut view = View { root, kernel_mounts: Vec::new() };
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        view.take_kernel_mount(mount).with_context(|| format!("mounts[{index}]"))?;
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    for path in linux.masked_paths().iter().flatten() {
        view.verify_path(path, is_masked, "masked").context("linux.maskedPaths")?;
    }
    for path in linux.readonly_paths().iter().flatten() {
        view.verify_path(path, is_read_only, "read-only").context("linux.readonlyPaths")?;
    }
    Ok(())
}

/// The container's root, and what it has of the kernel. A path of /proc is looked for in the /proc that was found, and not by its whole
/// name again: between two looks, that name may lead to another one.
struct View {
    root: File,
    kernel_mounts: Vec<(PathBuf, OwnedFd)>,
}

impl View {
    /// Where /proc and /sys are to be, there they are, and not behind a link: what is written to them would go elsewhere otherwise.
    fn take_kernel_mount(&mut self, mount: &Mount) -> anyhow::Result<()> {
        let wanted = match mount.typ().as_deref() {
            Some("proc") => PROC,
            Some("sysfs") => SYSFS,
            _ => return Ok(()),
        };
        let path = normal(mount.destination());
        let opened = open(&self.root, &path, ResolveFlag::RESOLVE_NO_SYMLINKS)?;
        let found = opened.as_ref().map(magic).transpose()?;
        anyhow::ensure!(found == Some(wanted), "{} of the container is something else than was asked for", path.display());
        self.kernel_mounts.extend(opened.map(|opened| (path, opened)));
        Ok(())
    }

    fn verify_path(&self, path: &str, holds: fn(&OwnedFd) -> nix::Result<bool>, what: &str) -> anyhow::Result<()> {
        let Some(opened) = self.open(&normal(Path::new(path)))? else { return Ok(()) };
        let holds = holds(&opened).with_context(|| format!("look at {path}"))?;
        anyhow::ensure!(holds, "{path} of the container is not {what}: something led libcontainer elsewhere");
        Ok(())
    }

    fn open(&self, path: &Path) -> anyhow::Result<Option<OwnedFd>> {
        let within = self.kernel_mounts.iter().filter(|(mount, _opened)| path.starts_with(mount));
        let Some((mount, opened)) = within.max_by_key(|(mount, _opened)| mount.components().count()) else {
            return open(&self.root, path, ResolveFlag::RESOLVE_NO_MAGICLINKS);
        };
        let below = path.strip_prefix(mount).unwrap_or(path);
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        open(opened, below, ResolveFlag::RESOLVE_NO_MAGICLINKS)
    }
}

/// None when there is nothing of that name, as nothing is masked then.
fn open(root: impl AsFd, path: &Path, links: ResolveFlag) -> anyhow::Result<Option<OwnedFd>> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT | links);
    match openat2(root.as_fd(), path, how) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open {} of the container", path.display())),
    }
}

/// An empty read-only tmpfs, or the null device.
fn is_masked(opened: &OwnedFd) -> nix::Result<bool> {
    let stat = fstat(opened)?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFCHR {
        return Ok((major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3));
    }
    Ok(is_tmpfs(opened)? && is_read_only(opened)?)
}

/// Whether it is of a tmpfs.
pub(crate) fn is_tmpfs(opened: &OwnedFd) -> nix::Result<bool> {
    Ok(magic(opened)? == TMPFS)
}

fn is_read_only(opened: &OwnedFd) -> nix::Result<bool> {
    Ok(fstatvfs(opened)?.flags().contains(FsFlags::ST_RDONLY))
}

fn magic(opened: &OwnedFd) -> nix::Result<u64> {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "signed in glibc, unsigned in musl"
    )]
    Ok(fstatfs(opened)?.filesystem_type().0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_file_or_directory_is_no_mask() {
        let root = File::open("/").unwrap();
        for path in ["/etc", "/etc/passwd", "/dev/zero"] {
            assert!(
                !is_masked(&open(&root, Path::new(path), ResolveFlag::RESOLVE_NO_MAGICLINKS).unwrap().unwrap()).unwrap(),
                "{path}"
            );
        }
        assert!(is_masked(&open(&root, Path::new("/dev/null"), ResolveFlag::RESOLVE_NO_MAGICLINKS).unwrap().unwrap()).unwrap());
        assert!(open(&root, Path::new("/no/such"), ResolveFlag::RESOLVE_NO_MAGICLINKS).unwrap().is_none());
    }

    #[test]
    fn a_path_of_the_kernel_is_looked_for_in_what_was_found() {
        let root = File::open("/").unwrap();
        let other = open(&root, Path::new("/etc"), ResolveFlag::RESOLVE_NO_SYMLINKS).unwrap().unwrap();
        let view = View { root, kernel_mounts: vec![(PathBuf::from("/proc"), other)] };
        assert!(
            view.open(Path::new("/proc/passwd")).unwrap().is_some() && view.open(Path::new("/proc/uptime")).unwrap().is_none()
        );
        assert!(view.open(Path::new("/proc")).unwrap().is_some() && view.open(Path::new("/usr")).unwrap().is_some());
    }

    #[test]
    fn a_path_through_a_magic_link_is_refused() {
        let root = File::open("/").unwrap();
        assert!(open(&root, Path::new("/proc/self/cwd"), ResolveFlag::RESOLVE_NO_MAGICLINKS).is_err());
    }
}
