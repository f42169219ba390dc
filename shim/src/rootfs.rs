//! The writable layer of a container: an overlay, fresh in every life, as the kubelet does it.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hshim_health::record::OverlayRootfs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use thiserror::Error;

/// The overlay could not be made or removed.
#[derive(Debug, Error)]
pub(crate) enum RootfsError {
    /// A layer could not be emptied or made.
    #[error("prepare the writable layer {}: {source}", path.display())]
    Layer {
        /// Of the layer.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The overlay could not be mounted.
    #[error("mount the overlay {}: {source}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The overlay of the life before could not be unmounted.
    #[error("unmount {}: {source}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Unmounts what is left of the life before, empties the layers, mounts the overlay.
pub(crate) fn mount_fresh(overlay: &OverlayRootfs) -> Result<(), RootfsError> {
    unmount(&overlay.target)?;
    for path in [&overlay.upper, &overlay.work] {
        empty(path).map_err(|source| RootfsError::Layer { path: path.clone(), source })?;
    }
    make(&overlay.target).map_err(|source| RootfsError::Layer { path: overlay.target.clone(), source })?;
    mount(Some("overlay"), &overlay.target, Some("overlay"), MsFlags::empty(), Some(options(overlay).as_os_str()))
        .map_err(|errno| RootfsError::Mount { path: overlay.target.clone(), source: errno.into() })
}

/// Detaches every mount at this place; none is no error.
pub(crate) fn unmount(target: &Path) -> Result<(), RootfsError> {
    loop {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, or not there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => return Err(RootfsError::Unmount { path: target.to_owned(), source: errno.into() }),
        }
    }
}

/// The container's root directory has the mode of the upper layer, so that is what a root directory should have.
fn empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    make(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn options(overlay: &OverlayRootfs) -> std::ffi::OsString {
    let mut options = b"lowerdir=".to_vec();
    for (position, layer) in overlay.lower.iter().enumerate() {
        if position > 0 {
            options.push(b':');
        }
        escape(layer, &mut options);
    }
    for (key, path) in [(&b",upperdir="[..], &overlay.upper), (&b",workdir="[..], &overlay.work)] {
        options.extend_from_slice(key);
        escape(path, &mut options);
    }
    std::ffi::OsString::from_vec(options)
}

/// Overlayfs reads `:` as the next layer and `,` as the next option, unless a backslash stands before them.
fn escape(path: &Path, options: &mut Vec<u8>) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_joined_topmost_first_and_special_characters_are_escaped() {
        let overlay = OverlayRootfs {
            lower: vec!["/l/b:2".into(), "/l/a".into()],
            upper: "/u,1".into(),
            work: "/w".into(),
            target: "/t".into(),
        };
        assert_eq!(options(&overlay), r"lowerdir=/l/b\:2:/l/a,upperdir=/u\,1,workdir=/w");
    }
}
