//! A directory with everything below it, copied into another: contents, owners, modes and times, as runc copies them (no extended
//! attributes, and hard links become files of their own).
//!
//! No name is followed: every directory is opened from the top with openat2, below it and without symbolic links, and a file is asked
//! what it is after it was opened. What vanishes or changes its kind meanwhile is left out.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

/// What of the target directory itself stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptAttributes {
    /// Its mode.
    pub(crate) mode: bool,
    /// Its owner.
    pub(crate) owner: bool,
}

/// Copies what is in `source`, and what `source` is, to `target`, which nobody else changes. What `target` has already stays.
pub(crate) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>, kept: KeptAttributes) -> anyhow::Result<()> {
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        let from = match open_directory(source, &path) {
            Ok(from) => from,
            Err(error) if has_changed(error) => continue,
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        let Some(to) = open_target(target, &path)? else { continue };
        let stat = fstat(&from).with_context(|| format!("look at {}", path.display()))?;
        pending.extend(copy_entries(from, &to, &path)?);
        // Now that nothing more is put into it: its time of change stays.
        let kept = if path == Path::new(".") { kept } else { KeptAttributes::default() };
        attribute(&to, &stat, kept).map_err(|error| told(error, &path))?;
    }
    Ok(())
}

/// Copies all but directories, which are made and named.
fn copy_entries(from: OwnedFd, to: &OwnedFd, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    let reading = || format!("read {}", path.display());
    let mut directory = Dir::from_fd(from).with_context(reading)?;
    let entries = directory.iter().collect::<nix::Result<Vec<_>>>().with_context(reading)?;
    for entry in entries.iter().map(nix::dir::Entry::file_name).filter(|name| ![c".", c".."].contains(name)) {
        let at = path.join(OsStr::from_bytes(entry.to_bytes()));
        match copy_entry(directory.as_fd(), to.as_fd(), entry) {
            Ok(Kind::Directory) => below.push(at),
            Ok(Kind::Other) => {}
            // EEXIST: made for a mount, which covers it.
            Err(error) if error == Errno::EEXIST || has_changed(error) => {}
            Err(error) => return Err(told(error, &at)),
        }
    }
    Ok(below)
}

enum Kind {
    Directory,
    Other,
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> nix::Result<Kind> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFDIR {
        // Its attributes come when it is full.
        return match mkdirat(to, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => Ok(Kind::Directory),
            Err(error) => Err(error),
        };
    }
    if kind == SFlag::S_IFREG {
        copy_file(from, to, name)?;
    } else if kind == SFlag::S_IFLNK {
        symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
        fchownat(to, name, owner(&stat).0, owner(&stat).1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let (accessed, modified) = times(&stat);
        utimensat(to, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?;
    } else if kind != SFlag::S_IFSOCK {
        // A socket without its listener would be of no use; pipes and devices are what they were.
        mknodat(to, name, kind, mode(&stat), stat.st_rdev)?;
        fchownat(to, name, owner(&stat).0, owner(&stat).1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        fchmodat(to, name, mode(&stat), FchmodatFlags::FollowSymlink)?;
    }
    Ok(Kind::Other)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    // It may be a pipe by now: that would wait for a writer.
    let source = openat(from, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&source)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Ok(());
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut target = File::from(target);
    // No more than there was: somebody may go on writing to it for ever.
    let mut content = File::from(source).take(u64::try_from(stat.st_size).unwrap_or_default());
    io::copy(&mut content, &mut target).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    attribute(&target.into(), &stat, KeptAttributes::default())
}

/// Owner first: it takes the set-user-id bit away.
fn attribute(file: &OwnedFd, stat: &FileStat, kept: KeptAttributes) -> nix::Result<()> {
    if !kept.owner {
        fchown(file, owner(stat).0, owner(stat).1)?;
    }
    if !kept.mode {
        fchmod(file, mode(stat))?;
    }
    let (accessed, modified) = times(stat);
    futimens(file, &accessed, &modified)
}

/// Opens a directory below another, for reading, through no link and no other mount.
pub(crate) fn open_directory(top: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    openat2(top, path, OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve))
}

/// None when something else stands there, made for a mount.
fn open_target(top: BorrowedFd<'_>, path: &Path) -> anyhow::Result<Option<OwnedFd>> {
    match open_directory(top, path) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open the copy of {}", path.display())),
    }
}

/// Errors of a name that another process has changed since it was read.
fn has_changed(error: Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::ENXIO)
}

fn told(error: Errno, path: &Path) -> anyhow::Error {
    let remedy =
        if error == Errno::ENOSPC { " (the tmpfs is too small for what the image has there: raise its size)" } else { "" };
    anyhow::anyhow!("copy {}: {}{remedy}", path.display(), error.desc().to_ascii_lowercase())
}

fn owner(stat: &FileStat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_copied_as_it_is_and_what_the_target_has_stays() {
        let dir = std::env::temp_dir().join(format!("hshim-tree-{}", std::process::id()));
        let (source, target) = (dir.join("source"), dir.join("target"));
        fs::create_dir_all(source.join("sub/deep")).unwrap();
        fs::create_dir_all(target.join("sub")).unwrap();
        fs::write(source.join("sub/deep/file"), "content").unwrap();
        fs::write(source.join("covered"), "of the source").unwrap();
        fs::write(target.join("covered"), "of the target").unwrap();
        symlink(&dir, source.join("link")).unwrap();
        nix::unistd::mkfifo(&source.join("sub/pipe"), Mode::S_IRWXU).unwrap();
        fs::set_permissions(source.join("sub"), fs::Permissions::from_mode(0o1710)).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o2755)).unwrap();
        let open = |path: &Path| File::open(path).unwrap();
        let kept = KeptAttributes { mode: true, owner: false };
        copy(open(&source).as_fd(), open(&target).as_fd(), kept).unwrap();
        assert_eq!(fs::read_to_string(target.join("sub/deep/file")).unwrap(), "content");
        assert_eq!(fs::read_to_string(target.join("covered")).unwrap(), "of the target");
        assert_eq!(fs::read_link(target.join("link")).unwrap(), dir);
        assert!(fs::metadata(target.join("sub/pipe")).is_ok_and(|found| found.mode() & 0o170_000 == 0o010_000));
        let of =
            |root: &Path| fs::metadata(root.join("sub")).map(|found| (found.mode(), found.mtime(), found.mtime_nsec())).unwrap();
        assert_eq!(of(&target), of(&source));
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o2000, 0, "its mode is kept");
        fs::remove_dir_all(dir).unwrap();
    }
}
