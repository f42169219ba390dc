//! A layer unpacked into a directory, as overlayfs wants it.
//!
//! ```text
//! .wh.NAME        ─▶  NAME, a character device 0:0   (whiteout: NAME of the layers below is gone)
//! .wh..wh..opq    ─▶  trusted.overlay.opaque=y       (nothing of this directory shows from below)
//! ```
//! The tar is a stranger's. Every path is resolved below the layer's own root by the kernel (layer_root.rs); names that lead out of it,
//! and links that could, make the whole image refused.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;
use nix::sys::stat::SFlag;
use tar::{Entry, EntryType};

use super::archive::Compression;
use super::digest::{HashingReader, Measured};
use super::layer_root::{LayerRoot, Metadata, Node};

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Of the blob as it was read.
    pub(crate) blob: Measured,
    /// `sha256:…` of the tar in it.
    pub(crate) diff_id: String,
    /// Bytes of all files.
    pub(crate) size: u64,
}

/// What takes back a name of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// What takes back a whole directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
const XATTR: &str = "SCHILY.xattr.";

/// Unpacks a layer into an empty directory.
pub(crate) fn unpack(blob: impl Read, into: &Path) -> anyhow::Result<Unpacked> {
    let mut blob = HashingReader::new(blob);
    let (tar, size) = {
        let mut stream = BufReader::new(&mut blob);
        let compression = Compression::of(stream.fill_buf().context("read the layer")?);
        match compression {
            Compression::Plain => unpack_tar(stream, into)?,
            Compression::Gzip => unpack_tar(MultiGzDecoder::new(stream), into)?,
            Compression::Other(name) => anyhow::bail!(
                "the layer is compressed with {name}, which is not supported: save the image with layers that are plain or compressed with gzip"
            ),
        }
    };
    let blob = blob.finish().context("read the layer")?;
    Ok(Unpacked { blob, diff_id: tar.digest, size })
}

fn unpack_tar(tar: impl Read, into: &Path) -> anyhow::Result<(Measured, u64)> {
    let mut tar = HashingReader::new(tar);
    let mut layer = Layer { root: LayerRoot::open(into)?, size: 0, directories: Vec::new() };
    let mut archive = tar::Archive::new(&mut tar);
    for entry in archive.entries().context("read the layer")? {
        let mut entry = entry.context("read the layer")?;
        let name = entry.path_bytes().into_owned();
        layer.add(&mut entry).with_context(|| format!("unpack {}", OsStr::from_bytes(&name).display()))?;
    }
    let size = layer.finish()?;
    Ok((tar.finish().context("read the layer")?, size))
}

struct Layer {
    root: LayerRoot,
    size: u64,
    /// Their times are set last: what is made in them changes those.
    directories: Vec<(PathBuf, u64)>,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the kinds of a foreign library, which may have more")]
impl Layer {
    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> anyhow::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = inside(&entry.path_bytes())?;
        let metadata = metadata(entry)?;
        let Some(name) = path.file_name() else {
            // The root directory itself; its mode is the writable layer's.
            return Ok(());
        };
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.white_out(&path, name, OsStr::from_bytes(hidden));
        }
        match kind {
            EntryType::Directory => {
                self.root.directory(&path, &metadata)?;
                self.directories.push((path, metadata.modified));
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.size += self.root.file(&path, entry, &metadata)?;
            }
            EntryType::Symlink => self.root.node(&path, &Node::Symlink(&symlink_target(entry, &path)?), &metadata)?,
            EntryType::Link => {
                let target = entry.link_name_bytes().context("a hard link without a target")?.into_owned();
                self.root.hard_link(&path, &inside(&target)?)?;
            }
            EntryType::Fifo => self.root.node(&path, &Node::Special(SFlag::S_IFIFO, 0), &metadata)?,
            EntryType::Char => self.root.node(&path, &Node::Special(SFlag::S_IFCHR, device(entry)?), &metadata)?,
            EntryType::Block => self.root.node(&path, &Node::Special(SFlag::S_IFBLK, device(entry)?), &metadata)?,
            other => anyhow::bail!("an entry of the unknown type {:?}", char::from(other.as_byte())),
        }
        Ok(())
    }

    fn white_out(&self, path: &Path, name: &OsStr, hidden: &OsStr) -> anyhow::Result<()> {
        if name.as_bytes() == OPAQUE {
            return self.root.make_opaque(path.parent().unwrap_or(Path::new("")));
        }
        // Other names of aufs' own (`.wh..wh.plnk` …) mean nothing to anybody else.
        if hidden.as_bytes().starts_with(WHITEOUT) {
            return Ok(());
        }
        let is_name = !hidden.is_empty() && hidden != "." && hidden != "..";
        anyhow::ensure!(is_name, "a whiteout of nothing");
        self.root.white_out(&path.with_file_name(hidden))
    }

    fn finish(self) -> anyhow::Result<u64> {
        for (path, modified) in self.directories.iter().rev() {
            self.root.set_time(path, *modified)?;
        }
        Ok(self.size)
    }
}

/// The path of an entry from the layer's root; a leading `/` means that root.
fn inside(name: &[u8]) -> anyhow::Result<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => anyhow::bail!("the path leads out of the layer"),
        }
    }
    Ok(path)
}

/// A relative target that climbs above the root can only be meant to lead out.
fn symlink_target<R: Read>(entry: &Entry<'_, R>, path: &Path) -> anyhow::Result<OsString> {
    let target = OsString::from_vec(entry.link_name_bytes().context("a symbolic link without a target")?.into_owned());
    let mut depth = path.components().count().saturating_sub(1);
    for component in Path::new(&target).components() {
        match component {
            Component::RootDir => depth = 0,
            Component::Normal(_) => depth += 1,
            Component::ParentDir => {
                // An absolute target may climb: above the root is the root.
                anyhow::ensure!(
                    depth > 0 || target.as_bytes().starts_with(b"/"),
                    "the symbolic link leads out of the layer, to {}",
                    target.display()
                );
                depth = depth.saturating_sub(1);
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(target)
}

fn metadata<R: Read>(entry: &mut Entry<'_, R>) -> anyhow::Result<Metadata> {
    let mut attributes = Vec::new();
    if let Some(extensions) = entry.pax_extensions().context("read the extended header")? {
        for extension in extensions {
            let extension = extension.context("read the extended header")?;
            let name = extension.key().ok().and_then(|key| key.strip_prefix(XATTR));
            if let Some(name) = name.filter(|name| is_taken_over(name)) {
                attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
            }
        }
    }
    let header = entry.header();
    let id = |id: io::Result<u64>| anyhow::Ok(u32::try_from(id?)?);
    Ok(Metadata {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid()).context("the owner")?,
        gid: id(header.gid()).context("the group")?,
        modified: header.mtime()?,
        attributes,
    })
}

/// File capabilities and what users set. What overlayfs reads (`*.overlay.*`) is not a layer's to say.
fn is_taken_over(attribute: &str) -> bool {
    attribute == "security.capability" || (attribute.starts_with("user.") && !attribute.starts_with("user.overlay."))
}

fn device<R: Read>(entry: &Entry<'_, R>) -> anyhow::Result<u64> {
    let header = entry.header();
    let (major, minor) = (header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default());
    Ok(nix::sys::stat::makedev(major.into(), minor.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for (name, path) in
            [("./a/b", Some("a/b")), ("/etc/x", Some("etc/x")), ("a/../b", None), ("../x", None), ("./", Some(""))]
        {
            assert_eq!(inside(name.as_bytes()).ok().as_deref(), path.map(Path::new), "{name}");
        }
    }

    #[test]
    fn attributes_that_overlayfs_reads_are_not_taken_over() {
        for (name, taken) in [
            ("security.capability", true),
            ("user.note", true),
            ("user.overlay.opaque", false),
            ("trusted.overlay.redirect", false),
            ("security.selinux", false),
        ] {
            assert_eq!(is_taken_over(name), taken, "{name}");
        }
    }
}
