//! The directory that a layer is unpacked into. The kernel resolves every path below it (openat2(2), RESOLVE_IN_ROOT); the last
//! component is never followed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat};

use crate::sys;

/// An opened root.
#[derive(Debug)]
pub(crate) struct LayerRoot(OwnedFd);

/// What an entry says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    /// Extended attributes.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
}

/// What has no content.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// With its target.
    Symlink(&'a OsStr),
    /// FIFO or device, with its number.
    Special(SFlag, u64),
}

/// A name in an opened directory.
struct Place {
    parent: OwnedFd,
    name: OsString,
}

/// The same for the rest of overlayfs (kernel documentation, filesystems/overlayfs).
const OPAQUE: (&str, &[u8]) = ("trusted.overlay.opaque", b"y");

impl LayerRoot {
    /// Opens an empty directory.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let root = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self(root.into()))
    }

    /// Makes a directory, or changes the one that is there.
    pub(crate) fn directory(&self, path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
        let place = self.place(path)?;
        let was_white_out = match place.metadata()? {
            Some(found) if found.is_dir() => None,
            Some(found) => {
                place.clear(&found)?;
                mkdirat(&place.parent, place.name.as_os_str(), Mode::S_IRWXU)?;
                Some(is_white_out(&found))
            }
            None => {
                mkdirat(&place.parent, place.name.as_os_str(), Mode::S_IRWXU)?;
                None
            }
        };
        place.apply(metadata)?;
        if was_white_out == Some(true) { self.make_opaque(path) } else { Ok(()) }
    }

    /// Makes a file; its size.
    pub(crate) fn file(&self, path: &Path, content: &mut impl Read, metadata: &Metadata) -> anyhow::Result<u64> {
        let place = self.cleared(path)?;
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH);
        let mut file = File::from(openat2(&place.parent, place.name.as_os_str(), how)?);
        let size = io::copy(content, &mut file)?;
        place.apply(metadata)?;
        place.set_time(metadata.modified)?;
        Ok(size)
    }

    /// Makes a link, FIFO or device.
    pub(crate) fn node(&self, path: &Path, node: &Node<'_>, metadata: &Metadata) -> anyhow::Result<()> {
        let place = self.cleared(path)?;
        let name = place.name.as_os_str();
        match *node {
            Node::Symlink(target) => {
                symlinkat(target, &place.parent, name)?;
                fchownat(&place.parent, name, owner(metadata).0, owner(metadata).1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
            Node::Special(kind, device) => {
                mknodat(&place.parent, name, kind, Mode::S_IRUSR, device)?;
                place.apply(metadata)?;
            }
        }
        place.set_time(metadata.modified)
    }

    /// Makes a further name of a file of this layer.
    pub(crate) fn hard_link(&self, path: &Path, target: &Path) -> anyhow::Result<()> {
        let from = self.place(target)?;
        let found =
            from.metadata()?.with_context(|| format!("a hard link to {}, which is not in the layer", target.display()))?;
        anyhow::ensure!(!found.is_dir(), "a hard link to the directory {}", target.display());
        let to = self.place(path)?;
        if let Some(there) = to.metadata()? {
            if there.ino() == found.ino() {
                return Ok(());
            }
            to.clear(&there)?;
        }
        // Without AT_SYMLINK_FOLLOW: of a symbolic link, a further name of the link.
        linkat(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), AtFlags::empty())?;
        Ok(())
    }

    /// Takes back a name of the layers below. What this layer itself has under that name stays.
    pub(crate) fn white_out(&self, path: &Path) -> anyhow::Result<()> {
        let place = self.place(path)?;
        match place.metadata()? {
            Some(found) if found.is_dir() => self.make_opaque(path),
            Some(_) => Ok(()),
            None => Ok(mknodat(&place.parent, place.name.as_os_str(), SFlag::S_IFCHR, Mode::empty(), 0)?),
        }
    }

    /// Hides everything of a directory that the layers below have.
    pub(crate) fn make_opaque(&self, directory: &Path) -> anyhow::Result<()> {
        let directory = self.parent(directory)?;
        let (name, value) = OPAQUE;
        // The dot, because the link in /proc would not be followed.
        sys::set_attribute(&through(&directory).join("."), name, value).with_context(|| format!("set {name}"))
    }

    /// Sets when a directory was changed.
    pub(crate) fn set_time(&self, directory: &Path, modified: u64) -> anyhow::Result<()> {
        self.place(directory)?.set_time(modified)
    }

    fn place(&self, path: &Path) -> anyhow::Result<Place> {
        let name = path.file_name().context("the path is empty")?.to_owned();
        Ok(Place { parent: self.parent(path.parent().unwrap_or(Path::new("")))?, name })
    }

    /// With nothing there.
    fn cleared(&self, path: &Path) -> anyhow::Result<Place> {
        let place = self.place(path)?;
        if let Some(found) = place.metadata()? {
            place.clear(&found)?;
        }
        Ok(place)
    }

    /// Opens a directory, which is made with those above it if it is not there: a layer need not name them.
    fn parent(&self, path: &Path) -> anyhow::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let spelled = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match openat2(&self.0, spelled, how) {
            Ok(directory) => Ok(directory),
            Err(Errno::ENOENT | Errno::ENOTDIR) if !path.as_os_str().is_empty() => {
                self.make_parent(path)?;
                openat2(&self.0, path, how).with_context(|| format!("open the directory {}", path.display()))
            }
            Err(errno) => Err(errno).with_context(|| format!("open the directory {}", path.display())),
        }
    }

    fn make_parent(&self, path: &Path) -> anyhow::Result<()> {
        let place = self.place(path)?;
        let found = place.metadata()?;
        let was_white_out = found.as_ref().is_some_and(is_white_out);
        if let Some(found) = found {
            anyhow::ensure!(was_white_out, "{} is not a directory", path.display());
            place.clear(&found)?;
        }
        mkdirat(&place.parent, place.name.as_os_str(), Mode::from_bits_truncate(0o755))
            .with_context(|| format!("make the directory {}", path.display()))?;
        // Not by the umask of whoever called.
        fchmodat(&place.parent, place.name.as_os_str(), Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)?;
        if was_white_out { self.make_opaque(path) } else { Ok(()) }
    }
}

impl Place {
    /// The place as a path that nobody can redirect.
    fn path(&self) -> PathBuf {
        through(&self.parent).join(&self.name)
    }

    fn metadata(&self) -> io::Result<Option<fs::Metadata>> {
        match fs::symlink_metadata(self.path()) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn clear(&self, found: &fs::Metadata) -> io::Result<()> {
        if found.is_dir() { fs::remove_dir_all(self.path()) } else { fs::remove_file(self.path()) }
    }

    /// Owner, attributes, mode, in this order: a change of owner takes the set-user-id bit and the capabilities away.
    fn apply(&self, metadata: &Metadata) -> anyhow::Result<()> {
        let (uid, gid) = owner(metadata);
        fchownat(&self.parent, self.name.as_os_str(), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        for (name, value) in &metadata.attributes {
            sys::set_attribute(&self.path(), name, value).with_context(|| format!("set {name}"))?;
        }
        let mode = Mode::from_bits_truncate(metadata.mode);
        // What is there was made a moment ago, and is no link.
        fchmodat(&self.parent, self.name.as_os_str(), mode, FchmodatFlags::FollowSymlink)?;
        Ok(())
    }

    fn set_time(&self, modified: u64) -> anyhow::Result<()> {
        let time = TimeSpec::new(i64::try_from(modified)?, 0);
        utimensat(&self.parent, self.name.as_os_str(), &time, &time, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
}

fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Whether overlayfs takes it for a whiteout.
pub(crate) fn is_white_out(found: &fs::Metadata) -> bool {
    found.file_type().is_char_device() && found.rdev() == 0
}
