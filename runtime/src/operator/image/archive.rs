//! The file that `image load` reads: a tar, perhaps compressed, whose members are read in any order.
//!
//! Both formats name things before or after they come, so the members are listed first and opened by name then. Nothing is
//! unpacked here: a member's name is only a key.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::read::MultiGzDecoder;

/// More members than an image archive can have.
const MOST_MEMBERS: usize = 100_000;
/// Of a description; the largest real ones have some ten kilobytes.
const LONGEST_TEXT: u64 = 4 << 20;
/// How many links lead to a member: `docker save` used to write one.
const MOST_LINKS: usize = 8;

/// An opened archive.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    members: BTreeMap<String, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    Data { offset: u64, size: u64 },
    Link(String),
}

/// The bytes of one member.
#[derive(Debug)]
pub(crate) struct MemberReader<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

/// How a stream is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// Known and not supported, by name.
    Other(&'static str),
}

impl Compression {
    /// Of a stream that begins so.
    pub(crate) fn of(beginning: &[u8]) -> Self {
        let known: [(&[u8], Self); 4] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\x28\xb5\x2f\xfd", Self::Other("zstd")),
            (b"\xfd7zXZ\0", Self::Other("xz")),
            (b"BZh", Self::Other("bzip2")),
        ];
        let found = known.into_iter().find(|(magic, _)| beginning.starts_with(magic));
        found.map_or(Self::Plain, |(_, compression)| compression)
    }
}

impl Archive {
    /// Opens a file, or standard input when the path is `-`. What is compressed or cannot be read twice is put into a file
    /// without a name in `staging` first.
    pub(crate) fn open(path: &Path, staging: &Path) -> anyhow::Result<Self> {
        let file = if path == Path::new("-") {
            copied(&mut io::stdin().lock(), staging).context("read standard input")?
        } else {
            File::open(path).with_context(|| format!("open {}", path.display()))?
        };
        let file = plain(file, staging).with_context(|| format!("read {}", path.display()))?;
        let members = list(&file).with_context(|| format!("{} is not an image archive", path.display()))?;
        Ok(Self { file, members })
    }

    /// Whether it has such a member.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Size of a member.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.find(name).map(|(_, size)| size)
    }

    /// Opens a member.
    pub(crate) fn member(&self, name: &str) -> anyhow::Result<MemberReader<'_>> {
        let (offset, left) = self.find(name).with_context(|| format!("the archive has no {name}"))?;
        Ok(MemberReader { file: &self.file, offset, left })
    }

    /// Reads a short member.
    pub(crate) fn text(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let mut reader = self.member(name)?;
        anyhow::ensure!(reader.left <= LONGEST_TEXT, "{name} in the archive is longer than {LONGEST_TEXT} bytes");
        let mut text = Vec::new();
        reader.read_to_end(&mut text).with_context(|| format!("read {name} in the archive"))?;
        Ok(text)
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name.to_owned();
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::Data { offset, size } => return Some((*offset, *size)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.file.read_at(buffer, self.offset)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a member"));
        }
        let advance = u64::try_from(read).unwrap_or_default();
        self.offset += advance;
        self.left -= advance;
        Ok(read)
    }
}

/// The file itself if it is a plain one.
fn plain(mut file: File, staging: &Path) -> anyhow::Result<File> {
    let mut beginning = Vec::new();
    (&mut file).take(6).read_to_end(&mut beginning)?;
    if !file.metadata()?.is_file() {
        let all = beginning.chain(file);
        return plain(copied(&mut { all }, staging)?, staging);
    }
    file.rewind()?;
    match Compression::of(&beginning) {
        Compression::Plain => Ok(file),
        Compression::Gzip => copied(&mut MultiGzDecoder::new(io::BufReader::new(file)), staging),
        Compression::Other(name) => {
            anyhow::bail!("it is compressed with {name}, which is not supported: decompress it, or compress it with gzip")
        }
    }
}

fn copied(from: &mut impl Read, staging: &Path) -> anyhow::Result<File> {
    let path = staging.join("archive");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn list(file: &File) -> anyhow::Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = inside(Path::new(""), &path) else {
            anyhow::bail!("its member {} would lie outside", path.display());
        };
        let kind = entry.header().entry_type();
        let member = if kind.is_file() {
            Member::Data { offset: entry.raw_file_position(), size: entry.size() }
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name()?.map(std::borrow::Cow::into_owned).unwrap_or_default();
            let from = if kind.is_symlink() { path.parent().unwrap_or(Path::new("")) } else { Path::new("") };
            let Some(target) = inside(from, &target) else {
                anyhow::bail!("its link {} leads outside, to {}", path.display(), target.display());
            };
            Member::Link(target)
        } else if kind.is_dir() {
            continue;
        } else {
            anyhow::bail!("its member {} is neither a file nor a directory nor a link", path.display());
        };
        anyhow::ensure!(members.insert(name.clone(), member).is_none(), "it has {name} twice");
        anyhow::ensure!(members.len() <= MOST_MEMBERS, "it has more than {MOST_MEMBERS} members");
    }
    anyhow::ensure!(!members.is_empty(), "it is empty");
    Ok(members)
}

/// A path in the archive in one spelling; none when it leads out of it.
fn inside(from: &Path, path: &Path) -> Option<String> {
    let mut name = PathBuf::new();
    for component in from.join(path).components() {
        match component {
            std::path::Component::Normal(part) => name.push(part),
            std::path::Component::ParentDir => {
                if !name.pop() {
                    return None;
                }
            }
            std::path::Component::CurDir => {}
            std::path::Component::RootDir | std::path::Component::Prefix(_) => return None,
        }
    }
    name.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_archive_have_one_spelling_and_stay_inside() {
        let inside = |from: &str, path: &str| inside(Path::new(from), Path::new(path));
        assert_eq!(inside("", "./a/./b").as_deref(), Some("a/b"));
        assert_eq!(inside("a", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(inside("", "../x"), None);
        assert_eq!(inside("a", "../../x"), None);
        assert_eq!(inside("a", "/etc/passwd"), None);
    }

    #[test]
    fn compressions_are_told_by_their_first_bytes() {
        assert_eq!(Compression::of(b"\x1f\x8b\x08"), Compression::Gzip);
        assert_eq!(Compression::of(b"\x28\xb5\x2f\xfd\0"), Compression::Other("zstd"));
        assert_eq!(Compression::of(b"bin/"), Compression::Plain);
    }
}
