//! What a container will see of its image's layers, without mounting them: for the questions that `apply` has before it makes
//! anything.
//!
//! A merged directory is a list of directories, one of each layer that has it, the topmost first; overlayfs' whiteouts and opaque marks
//! end the list.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::layer_root::is_white_out;
use crate::sys;

/// The layers of an image, the topmost first.
#[derive(Debug)]
pub(crate) struct MergedTree<'a>(pub(crate) &'a [PathBuf]);

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A directory.
    Directory,
    /// A file: where the node has it.
    File {
        /// In the layer that shows.
        path: PathBuf,
        /// Somebody may execute it.
        executable: bool,
    },
    /// A device, a FIFO …
    Other,
}

/// As the kernel has it (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// More than this of a file is not read: the image's author may have written it.
const LONGEST_TEXT: u64 = 1 << 20;

enum Step {
    Directory(Vec<PathBuf>),
    Leaf(PathBuf, fs::Metadata),
}

impl MergedTree<'_> {
    /// What an absolute path leads to, links followed as the container would follow them.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let mut todo = reversed(path);
        let mut trail: Vec<Vec<PathBuf>> = vec![self.0.to_vec()];
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let Some(directory) = trail.last() else { return Ok(None) };
            match step(directory, &part)? {
                None => return Ok(None),
                Some(Step::Directory(directory)) => trail.push(directory),
                Some(Step::Leaf(leaf, metadata)) if metadata.is_symlink() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = fs::read_link(leaf)?;
                    if target.is_absolute() {
                        trail.truncate(1);
                    }
                    todo.extend(reversed(&target));
                }
                Some(Step::Leaf(..)) if !todo.is_empty() => return Ok(None),
                Some(Step::Leaf(path, metadata)) if metadata.is_file() => {
                    return Ok(Some(Found::File { path, executable: metadata.mode() & 0o111 != 0 }));
                }
                Some(Step::Leaf(..)) => return Ok(Some(Found::Other)),
            }
        }
        Ok(Some(Found::Directory))
    }

    /// Reads a text file; none when there is none.
    pub(crate) fn text(&self, path: &str) -> io::Result<Option<String>> {
        let Some(Found::File { path, .. }) = self.find(Path::new(path))? else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, LONGEST_TEXT), &mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn reversed(path: &Path) -> Vec<std::ffi::OsString> {
    let parts = path.components().rev().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

fn step(directory: &[PathBuf], name: &std::ffi::OsStr) -> io::Result<Option<Step>> {
    let mut merged = Vec::new();
    for layer in directory {
        let path = layer.join(name);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_white_out(&metadata) {
            break;
        }
        if !metadata.is_dir() {
            if merged.is_empty() {
                return Ok(Some(Step::Leaf(path, metadata)));
            }
            break;
        }
        let opaque = sys::has_attribute(&path, "trusted.overlay.opaque", b"y")?;
        merged.push(path);
        if opaque {
            break;
        }
    }
    Ok(if merged.is_empty() { None } else { Some(Step::Directory(merged)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_hides_and_links_stay_inside() {
        let base = std::env::temp_dir().join(format!("hshim-merged-{}", std::process::id()));
        let (upper, lower) = (base.join("upper"), base.join("lower"));
        for dir in [upper.join("bin"), lower.join("bin"), lower.join("usr/bin")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(upper.join("bin/tool"), "new").unwrap();
        fs::write(lower.join("bin/tool"), "old").unwrap();
        fs::write(lower.join("bin/only"), "below").unwrap();
        std::os::unix::fs::symlink("/../../usr/../bin/only", lower.join("usr/bin/link")).unwrap();
        std::os::unix::fs::symlink("loop", lower.join("loop")).unwrap();
        let layers = [upper, lower];
        let tree = MergedTree(&layers);
        assert_eq!(tree.text("/bin/tool").unwrap().as_deref(), Some("new"));
        assert_eq!(tree.text("/bin/only").unwrap().as_deref(), Some("below"));
        assert_eq!(tree.text("/usr/bin/link").unwrap().as_deref(), Some("below"));
        assert_eq!(tree.find(Path::new("/bin")).unwrap(), Some(Found::Directory));
        assert_eq!(tree.find(Path::new("/bin/tool/x")).unwrap(), None);
        assert_eq!(tree.find(Path::new("/nothing")).unwrap(), None);
        assert!(tree.find(Path::new("/loop")).is_err());
        fs::remove_dir_all(base).unwrap();
    }
}
