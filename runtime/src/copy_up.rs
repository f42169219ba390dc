//! `tmpcopyup`, an option of runc for a tmpfs: it begins with what the image has at that place.
//!
//! libcontainer mounts an empty tmpfs, and it is filled afterwards, from the container's mount namespace, while init waits. What is under
//! the tmpfs is seen in a clone of the mount that it stands on, which leaves out everything mounted there; the clone is read-only,
//! without devices and without symbolic links. So nothing that somebody exchanges in a shared volume at that moment leads outside.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{Mount, Process};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use crate::container_view;
use crate::errand;
use crate::late_mounts::normal;
use crate::mount_targets;
use crate::sys::{self, MountAttributes, Tree};
use crate::tree_copy::{self, KeptAttributes};

/// The option's name.
const OPTION: &str = "tmpcopyup";

/// A tmpfs to be filled.
#[derive(Debug)]
pub(crate) struct CopyUp {
    /// Absolute, in the container.
    pub(crate) destination: PathBuf,
    /// Of the tmpfs itself: what its options say.
    kept: KeptAttributes,
}

/// The same with both sides at hand.
struct Opened<'a> {
    copy: &'a CopyUp,
    /// The directory above, without what is mounted there.
    above: OwnedFd,
    tmpfs: OwnedFd,
}

/// Whether a mount asks for it.
pub(crate) fn is_copied_up(mount: &Mount) -> bool {
    mount.options().iter().flatten().any(|option| option == OPTION)
}

/// What init finds only when it is started, and libcontainer not at all: it looks before the directories are filled.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateFiles {
    directories: Vec<PathBuf>,
    /// The working directory, if it is in one of them.
    cwd: Option<PathBuf>,
}

impl LateFiles {
    /// Takes the working directory out of a process if it will be in one of these.
    pub(crate) fn take(copies: &[CopyUp], rootfs: &Path, process: Option<&mut Process>) -> Self {
        let directories: Vec<PathBuf> = copies.iter().map(|copy| copy.destination.clone()).collect();
        let is_late = |path: &Path| {
            let followed = mount_targets::follow(rootfs, path, &[]);
            followed.is_some_and(|followed| directories.iter().any(|directory| followed.starts_with(directory)))
        };
        let cwd = process.filter(|process| is_late(process.cwd())).map(|process| {
            let cwd = process.cwd().clone();
            process.set_cwd(PathBuf::from("/"));
            cwd
        });
        Self { directories, cwd }
    }

    /// Whether a command that is not there yet may come with them.
    pub(crate) fn may_hold(&self, command: &str, path: &str) -> bool {
        let is_late = |place: &str| self.directories.iter().any(|directory| normal(Path::new(place)).starts_with(directory));
        match command.contains('/') {
            true if command.starts_with('/') => is_late(command),
            true => self.cwd.is_some(),
            false => path.split(':').any(is_late),
        }
    }

    /// Goes to the working directory. As for every other, it must be one of the container (CVE-2024-21626).
    pub(crate) fn enter_cwd(&self) -> Result<(), String> {
        let Some(cwd) = &self.cwd else { return Ok(()) };
        let entered = std::env::set_current_dir(cwd).and_then(|()| std::env::current_dir());
        match entered {
            Ok(entered) if entered.is_absolute() => Ok(()),
            Ok(_outside) => Err(format!("process.cwd: {} is outside the container", cwd.display())),
            Err(error) => Err(format!("process.cwd: change to {}: {error}", cwd.display())),
        }
    }
}

impl CopyUp {
    /// Takes it out of a mount, if it is there.
    pub(crate) fn take(mount: &mut Mount) -> Option<Self> {
        if !is_copied_up(mount) {
            return None;
        }
        let destination = normal(mount.destination());
        let options = mount.options_mut().as_mut()?;
        options.retain(|option| option != OPTION);
        let says = |name: &str| options.iter().any(|option| option.starts_with(name));
        let kept = KeptAttributes { mode: says("mode="), owner: says("uid=") || says("gid=") };
        Some(Self { destination, kept })
    }

    fn open(&self) -> anyhow::Result<Opened<'_>> {
        let root = File::open("/").context("open the container's root directory")?;
        let parent = self.destination.parent().context("the root directory cannot be copied into itself")?;
        let parent = open_in(&root, parent)?;
        let above = sys::open_tree(parent.as_fd(), "", Tree::Alone).context("see what is under it")?;
        let harmless = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSYMFOLLOW;
        sys::mount_setattr(above.as_fd(), "", MountAttributes { set: harmless, ..MountAttributes::default() })
            .context("make the view of what is under it read-only")?;
        let top = open_in(&root, &self.destination)?;
        anyhow::ensure!(container_view::is_tmpfs(&top)?, "is no tmpfs: something led libcontainer elsewhere");
        let tmpfs = sys::open_tree(top.as_fd(), "", Tree::Alone).context("take the tmpfs")?;
        Ok(Opened { copy: self, above, tmpfs })
    }
}

/// Fills them, in this order. The caller is in the container's mount namespace; `users` is the init process if that is in a user
/// namespace of its own.
pub(crate) fn perform(copies: &[CopyUp], users: Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
    let opened = copies.iter().map(|copy| copy.open().with_context(|| described(copy)));
    let opened = opened.collect::<anyhow::Result<Vec<_>>>()?;
    let Some(users) = users.filter(|_| !opened.is_empty()) else { return fill(&opened) };
    // Its tmpfs takes files of its own users only.
    errand::run(|| {
        setns(users, CloneFlags::CLONE_NEWUSER).context("join the container's user namespace")?;
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(gid, gid, gid).and_then(|()| setresuid(uid, uid, uid)).context("become root of the container")?;
        fill(&opened)
    })
}

fn fill(opened: &[Opened<'_>]) -> anyhow::Result<()> {
    for Opened { copy, above, tmpfs } in opened {
        let Some(name) = copy.destination.file_name() else { continue };
        let Some(source) = open_source(above, Path::new(name)).with_context(|| described(copy))? else { continue };
        tree_copy::copy(source.as_fd(), tmpfs.as_fd(), copy.kept).with_context(|| described(copy))?;
    }
    Ok(())
}

fn described(copy: &CopyUp) -> String {
    format!("mounts: {OPTION} of {}", copy.destination.display())
}

fn open_in(root: &File, path: &Path) -> anyhow::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).with_context(|| format!("open {} of the container", path.display()))
}

/// None when there is no directory any more.
fn open_source(above: &OwnedFd, name: &Path) -> anyhow::Result<Option<OwnedFd>> {
    match tree_copy::open_directory(above.as_fd(), name) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(error) => Err(error).context("open the directory of the image"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(options: &[&str]) -> Mount {
        let mount = serde_json::json!({"destination": "/run/", "type": "tmpfs", "source": "tmpfs", "options": options});
        serde_json::from_value(mount).unwrap()
    }

    #[test]
    fn the_option_is_taken_out_and_what_the_others_say_is_kept() {
        let mut plain = mount(&["rw", "tmpcopyup"]);
        let copy = CopyUp::take(&mut plain).unwrap();
        assert_eq!((copy.destination.as_path(), copy.kept), (Path::new("/run"), KeptAttributes::default()));
        assert_eq!(plain.options().as_ref().unwrap(), &["rw"]);
        let kept = CopyUp::take(&mut mount(&["tmpcopyup", "mode=700", "uid=5"])).unwrap().kept;
        assert!(kept.mode && kept.owner);
        assert!(CopyUp::take(&mut mount(&["rw"])).is_none());
    }

    #[test]
    fn a_command_may_come_with_what_is_copied() {
        let late = LateFiles { directories: vec![PathBuf::from("/opt")], cwd: None };
        for (command, path, may) in [
            ("/opt/x", "", true),
            ("/optional/x", "", false),
            ("x", "/bin:/opt/bin", true),
            ("x", "/bin", false),
            ("./x", "/opt", false),
        ] {
            assert_eq!(late.may_hold(command, path), may, "{command} {path}");
        }
        assert!(LateFiles { cwd: Some(PathBuf::from("/opt")), ..late }.may_hold("./x", ""));
    }
}
