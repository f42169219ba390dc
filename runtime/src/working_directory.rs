//! The working directory of a container, made when the root file system has none: runc does that, and images count on it.
//! libcontainer does not, and fails with nothing but "failed to unix syscall".

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::Spec;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, fchmod, mkdirat};

/// Makes `process.cwd` below a root file system. Below a mount of the container it is the mount's own business.
pub(crate) fn make(spec: &Spec, rootfs: &Path) -> anyhow::Result<()> {
    let Some(cwd) = spec.process().as_ref().map(|process| process.cwd()) else { return Ok(()) };
    let is_mounted = spec.mounts().iter().flatten().any(|mount| cwd.starts_with(mount.destination()));
    let is_read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let Some(path) = cwd.strip_prefix("/").ok().filter(|path| !path.as_os_str().is_empty()) else { return Ok(()) };
    if is_mounted || is_read_only {
        return Ok(());
    }
    let root = File::open(rootfs).with_context(|| format!("open the root file system {}", rootfs.display()))?;
    open(&root.into(), path).with_context(|| format!("process.cwd: make {} in the root file system", cwd.display())).map(drop)
}

/// Links are followed as the container would follow them, never out of it.
fn open(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let spelled = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match (openat2(root, spelled, how), path.file_name()) {
        (Err(Errno::ENOENT), Some(name)) => {
            let parent = open(root, path.parent().unwrap_or(Path::new("")))?;
            mkdirat(&parent, name, Mode::S_IRWXU)?;
            let made = openat2(root, path, how)?;
            // Not by the umask of whoever called.
            fchmod(&made, Mode::from_bits_truncate(0o755))?;
            Ok(made)
        }
        (opened, _) => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_made_below_the_root_and_nowhere_else() {
        let base = std::env::temp_dir().join(format!("hshim-cwd-{}", std::process::id()));
        let rootfs = base.join("rootfs");
        fs::create_dir_all(&rootfs).unwrap();
        std::os::unix::fs::symlink("../../outside", rootfs.join("link")).unwrap();
        std::os::unix::fs::symlink("/real", rootfs.join("honest")).unwrap();
        fs::create_dir(rootfs.join("real")).unwrap();
        let make = |cwd: &str, mounts: serde_json::Value| {
            let spec = serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": mounts,
                "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": cwd}});
            make(&serde_json::from_value(spec).unwrap(), &rootfs)
        };
        let none = serde_json::json!([]);
        make("/a/b", none.clone()).unwrap();
        assert_eq!(fs::metadata(rootfs.join("a/b")).unwrap().permissions().mode() & 0o777, 0o755);
        make("/honest/x", none.clone()).unwrap();
        assert!(rootfs.join("real/x").is_dir());
        assert!(make("/link/x", none.clone()).is_err());
        assert!(!base.join("outside").exists());
        make("/vol/x", serde_json::json!([{"destination": "/vol", "type": "tmpfs"}])).unwrap();
        assert!(!rootfs.join("vol").exists());
        make("/", none).unwrap();
        fs::remove_dir_all(base).unwrap();
    }
}
