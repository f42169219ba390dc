//! The root file system that containerd asks for: its mounts, in order, onto `<bundle>/rootfs`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::error::TaskError;
use super::messages::Mount;
use crate::cleanup;

/// The kernel takes one page of options.
const MOST_OPTIONS: usize = 4096 - 512;
/// How often an unmount that is refused is tried again.
const TRIES: u32 = 20;

/// Mounts all, or nothing.
pub(super) async fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), TaskError> {
    if mounts.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(rootfs).map_err(|error| TaskError::Failed(format!("make {}: {error}", rootfs.display())))?;
    for one in mounts {
        if let Err(error) = mount_one(one, rootfs) {
            unmount_below(rootfs).await?;
            return Err(TaskError::Failed(format!("mount {} ({}) onto {}: {error}", one.source, one.kind, rootfs.display())));
        }
    }
    Ok(())
}

/// Unmounts everything at or below a directory, the newest first, waiting a while for those that are in use.
pub(crate) async fn unmount_below(directory: &Path) -> Result<(), TaskError> {
    let Ok(directory) = fs::canonicalize(directory) else { return Ok(()) };
    for target in cleanup::mounts_below(&directory).iter().rev() {
        unmount(target).await.map_err(|errno| TaskError::Failed(format!("unmount {}: {errno}", target.display())))?;
    }
    Ok(())
}

async fn unmount(target: &Path) -> nix::Result<()> {
    for attempt in 0.. {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => break,
            Err(nix::Error::EBUSY) if attempt < TRIES => tokio::time::sleep(Duration::from_millis(50)).await,
            // Somebody keeps a file of it open and will not let go: they keep it, the path is free.
            Err(nix::Error::EBUSY) => return umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn mount_one(one: &Mount, rootfs: &Path) -> io::Result<()> {
    let inside: PathBuf = Path::new(&one.target).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let target = rootfs.join(inside);
    let options = Options::parse(&one.options);
    let kind = Some(one.kind.as_str()).filter(|kind| !kind.is_empty() && *kind != "bind" && *kind != "rbind");
    let bind = options.flags.contains(MsFlags::MS_BIND);
    let (data, base) = shorten(&options.data);
    let home = base.as_ref().map(|_| std::env::current_dir()).transpose()?;
    if let Some(base) = &base {
        // This process has one thread, and nothing else runs before it is back.
        std::env::set_current_dir(base)?;
    }
    let data = Some(data.as_str()).filter(|data| !data.is_empty());
    let mounted = mount(Some(one.source.as_str()), &target, kind, options.flags, data);
    if let Some(home) = home {
        std::env::set_current_dir(home)?;
    }
    mounted?;
    let further = options.flags & (MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
    if bind && !further.is_empty() {
        // A bind mount takes its flags only in a second step.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | further;
        mount(None::<&str>, &target, None::<&str>, flags, None::<&str>)?;
    }
    if let Some(propagation) = options.propagation {
        mount(None::<&str>, &target, None::<&str>, propagation, None::<&str>)?;
    }
    Ok(())
}

/// Options of mount(8), told apart.
struct Options {
    flags: MsFlags,
    propagation: Option<MsFlags>,
    data: Vec<String>,
}

impl Options {
    fn parse(words: &[String]) -> Self {
        let mut options = Self { flags: MsFlags::empty(), propagation: None, data: Vec::new() };
        for word in words {
            let flag = match word.as_str() {
                "ro" => MsFlags::MS_RDONLY,
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                "sync" => MsFlags::MS_SYNCHRONOUS,
                "dirsync" => MsFlags::MS_DIRSYNC,
                "noatime" => MsFlags::MS_NOATIME,
                "nodiratime" => MsFlags::MS_NODIRATIME,
                "relatime" => MsFlags::MS_RELATIME,
                "strictatime" => MsFlags::MS_STRICTATIME,
                "mand" => MsFlags::MS_MANDLOCK,
                "bind" => MsFlags::MS_BIND,
                "rbind" => MsFlags::MS_BIND | MsFlags::MS_REC,
                "rw" | "suid" | "dev" | "exec" | "async" | "atime" | "diratime" | "defaults" | "norelatime" | "nomand"
                | "loop" => MsFlags::empty(),
                "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "runbindable" => {
                    options.propagation = Some(propagation(word));
                    MsFlags::empty()
                }
                other => {
                    options.data.push(other.to_owned());
                    MsFlags::empty()
                }
            };
            options.flags |= flag;
        }
        options
    }
}

fn propagation(word: &str) -> MsFlags {
    let recursive = if word.starts_with('r') { MsFlags::MS_REC } else { MsFlags::empty() };
    recursive
        | match word.trim_start_matches('r') {
            "shared" => MsFlags::MS_SHARED,
            "slave" => MsFlags::MS_SLAVE,
            "unbindable" => MsFlags::MS_UNBINDABLE,
            _ => MsFlags::MS_PRIVATE,
        }
}

/// The options as one word; if that is too long for the kernel, with lower directories relative to the answered directory.
fn shorten(data: &[String]) -> (String, Option<PathBuf>) {
    let whole = data.join(",");
    let lower = data.iter().find_map(|word| word.strip_prefix("lowerdir="));
    let Some(lower) = lower.filter(|_| whole.len() > MOST_OPTIONS) else { return (whole, None) };
    let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let Some(base) = common_parent(&layers) else { return (whole, None) };
    let relative = layers.iter().filter_map(|layer| layer.strip_prefix(&base).ok());
    let relative: Vec<OsString> = relative.map(|layer| layer.as_os_str().to_owned()).collect();
    let relative = relative.join(std::ffi::OsStr::new(":"));
    let words = data.iter().map(|word| {
        if word.starts_with("lowerdir=") { format!("lowerdir={}", relative.to_string_lossy()) } else { word.clone() }
    });
    (words.collect::<Vec<_>>().join(","), Some(base))
}

fn common_parent(paths: &[&Path]) -> Option<PathBuf> {
    let (first, rest) = paths.split_first()?;
    let candidates = first.ancestors().skip(1);
    candidates
        .filter(|parent| parent.is_absolute())
        .find(|parent| rest.iter().all(|path| path.starts_with(parent)))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_data() {
        let words = ["rbind", "ro", "rslave", "nosuid", "index=off"].map(str::to_owned);
        let options = Options::parse(&words);
        assert_eq!(options.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(options.propagation, Some(MsFlags::MS_SLAVE | MsFlags::MS_REC));
        assert_eq!(options.data, ["index=off"]);
    }

    #[test]
    fn a_long_list_of_layers_becomes_relative_to_their_common_directory() {
        let layers: Vec<String> = (0..100).map(|n| format!("/var/lib/containerd/snapshots/overlayfs/snapshots/{n}/fs")).collect();
        let data = vec![format!("lowerdir={}", layers.join(":")), "upperdir=/u".to_owned()];
        let (words, base) = shorten(&data);
        assert_eq!(base.as_deref(), Some(Path::new("/var/lib/containerd/snapshots/overlayfs/snapshots")));
        assert!(words.starts_with("lowerdir=0/fs:1/fs:") && words.ends_with(",upperdir=/u") && words.len() < MOST_OPTIONS);
        assert_eq!(shorten(&["lowerdir=/a:/b".to_owned()]), ("lowerdir=/a:/b".to_owned(), None));
    }
}
