//! What libcontainer does not do in a container's mount namespace, done from outside between `create` and `start`.
//!
//! * A propagation that a mount asks for (`rslave`, `rprivate`, `rshared` …) is not applied by libcontainer: every bind stays a
//!   slave of the host's mount. When all that is asked for is private, it is enough to make the whole tree private at the
//!   beginning, which costs nothing.
//! * `ro` on `/dev` and `nosymfollow` are left out.
//! * Devices outside `/dev` are refused.
//! * `tmpcopyup` is not known ([`crate::copy_up`]). Until it is full, such a tmpfs is not read-only.
//! * A directory of the host that is bound to `/dev` would be filled with links and devices, and its `ptmx` be replaced. Libcontainer
//!   gets a tmpfs there instead, which is exchanged for the bind afterwards: nothing is written to what the caller binds.
//!
//! Who steps in is a child of this process: it joins the mount namespace and ends. While init waits for `start`, nothing of the
//! container's own runs in a mount namespace of its own.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Mount, MountBuilder, Spec};
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, chown};

use crate::copy_up::{self, CopyUp, LateFiles};
use crate::errand;
use crate::rootless;
use crate::sys::{self, MountAttributes, Tree};

const DEV: &str = "/dev";

/// To be done after `create`, in this order.
#[derive(Debug, Default)]
pub(crate) struct LateMounts {
    /// Bound to `/dev`.
    dev: Option<BoundDev>,
    /// To be filled with what they cover.
    copies: Vec<CopyUp>,
    /// Whether the container has a user namespace of its own.
    has_users: bool,
    /// Outside `/dev`.
    devices: Vec<LinuxDevice>,
    /// Per destination.
    attributes: Vec<(PathBuf, MountAttributes)>,
}

/// A directory for `/dev`, taken while the host's file system is in sight.
#[derive(Debug)]
struct BoundDev {
    tree: OwnedFd,
    /// Destinations below `/dev`, in order.
    below: Vec<PathBuf>,
}

impl LateMounts {
    /// Takes out of a specification what is to be done late.
    pub(crate) fn take(spec: &mut Spec) -> anyhow::Result<Self> {
        let has_users = has_namespace(spec, LinuxNamespaceType::User);
        let mut late = Self { dev: bound_dev(spec)?, has_users, ..Self::default() };
        late.take_devices(spec)?;
        let propagates = spec.mounts().iter().flatten().any(|mount| asked_propagation(mount).is_some());
        let all_private = propagates && asks_for_private_only(spec);
        if let Some(linux) = spec.linux_mut().as_mut().filter(|_| all_private) {
            linux.set_rootfs_propagation(Some("private".to_owned()));
        }
        for mount in spec.mounts_mut().iter_mut().flatten() {
            let copy = CopyUp::take(mount);
            let wanted = attributes(mount, all_private, copy.is_some());
            late.copies.extend(copy);
            if wanted.set != 0 || wanted.propagation != 0 {
                late.attributes.push((normal(mount.destination()), wanted));
            }
        }
        Ok(late)
    }

    /// What is not there until it is done.
    pub(crate) fn late_files(&self, rootfs: &Path, spec: &mut Spec) -> LateFiles {
        LateFiles::take(&self.copies, rootfs, spec.process_mut().as_mut())
    }

    /// Does it for the container whose init process (a child of this one, waiting) is behind this pidfd.
    pub(crate) fn perform(&self, init: BorrowedFd<'_>) -> anyhow::Result<()> {
        if self.dev.is_none() && self.copies.is_empty() && self.devices.is_empty() && self.attributes.is_empty() {
            return Ok(());
        }
        errand::run(|| self.perform_inside(init))
    }

    fn perform_inside(&self, init: BorrowedFd<'_>) -> anyhow::Result<()> {
        setns(init, CloneFlags::CLONE_NEWNS).context("join the container's mount namespace")?;
        if let Some(dev) = &self.dev {
            dev.replace().context("bind /dev")?;
        }
        copy_up::perform(&self.copies, Some(init).filter(|_| self.has_users))?;
        for device in &self.devices {
            make_device(device).with_context(|| format!("linux.devices: make {}", device.path().display()))?;
        }
        for (destination, wanted) in &self.attributes {
            let path = destination.to_str().context("a destination is not UTF-8")?;
            sys::mount_setattr(AT_FDCWD, path, *wanted)
                .with_context(|| format!("mounts: set the attributes of {}", destination.display()))?;
        }
        Ok(())
    }

    fn take_devices(&mut self, spec: &mut Spec) -> anyhow::Result<()> {
        let Some(devices) = spec.linux_mut().as_mut().and_then(|linux| linux.devices_mut().as_mut()) else { return Ok(()) };
        let (inside, outside) = devices.drain(..).partition(|device| normal(device.path()).starts_with(DEV));
        *devices = inside;
        self.devices = outside;
        let has_users = self.has_users || rootless::in_user_namespace();
        if let Some(device) = self.devices.first().filter(|_| has_users) {
            anyhow::bail!(
                "linux.devices: {}: a device outside /dev cannot be made in a user namespace: bind it as a mount",
                device.path().display()
            );
        }
        Ok(())
    }
}

impl BoundDev {
    /// Puts the tree where libcontainer has mounted a tmpfs, with what is mounted on that.
    fn replace(&self) -> anyhow::Result<()> {
        let mut kept = Vec::new();
        let console = PathBuf::from("/dev/console");
        for path in self.below.iter().chain([&console].into_iter().filter(|path| is_mount(path))) {
            let text = path.to_str().context("a destination is not UTF-8")?;
            kept.push((text, sys::open_tree(AT_FDCWD, text, Tree::Whole).with_context(|| format!("take {text}"))?));
        }
        umount2(DEV, MntFlags::MNT_DETACH).context("detach the provisional one")?;
        sys::move_mount(self.tree.as_fd(), DEV).context("mount it")?;
        for (path, tree) in kept {
            sys::move_mount(tree.as_fd(), path)
                .with_context(|| format!("mount {path}: it must exist in what is bound to /dev"))?;
        }
        Ok(())
    }
}

/// Takes a bind on `/dev` out of a specification and puts a tmpfs in its place.
fn bound_dev(spec: &mut Spec) -> anyhow::Result<Option<BoundDev>> {
    let mounts = spec.mounts_mut().get_or_insert_default();
    let Some(at) = mounts.iter().rposition(|mount| normal(mount.destination()) == Path::new(DEV)) else { return Ok(None) };
    let Some(bind) = mounts.get_mut(at).filter(|mount| is_bind(mount)) else { return Ok(None) };
    let source = bind.source().clone().context("mounts: /dev: a bind needs a source")?;
    let text = source.to_str().context("mounts: /dev: the source is not UTF-8")?;
    let has = |name: &str| bind.options().iter().flatten().any(|option| option == name);
    let tree = if has("rbind") { Tree::Whole } else { Tree::Alone };
    let tree = sys::open_tree(AT_FDCWD, text, tree).with_context(|| format!("mounts: /dev: take {text}"))?;
    // What is asked for late stays; the rest is the tmpfs' own.
    let kept = bind.options().iter().flatten().filter(|option| *option == "ro" || propagation(option).is_some());
    let options: Vec<String> = kept.cloned().chain(["mode=755", "size=64k"].map(str::to_owned)).collect();
    let provisional = MountBuilder::default().typ("tmpfs").source("tmpfs").destination(DEV).options(options);
    *bind = provisional.build().context("mounts: /dev")?;
    let below = mounts.iter().skip(at + 1).map(|mount| normal(mount.destination()));
    let below = below.filter(|path| path.starts_with(DEV) && path != Path::new(DEV)).collect();
    Ok(Some(BoundDev { tree, below }))
}

fn make_device(device: &LinuxDevice) -> anyhow::Result<()> {
    let path = device.path();
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    let kind = match device.typ() {
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => anyhow::bail!("its type cannot be \"a\""),
    };
    let number = makedev(u64::try_from(device.major())?, u64::try_from(device.minor())?);
    let umask = nix::sys::stat::umask(Mode::empty());
    let made = mknod(path, kind, Mode::from_bits_truncate(device.file_mode().unwrap_or(0o666)), number);
    nix::sys::stat::umask(umask);
    made?;
    Ok(chown(path, device.uid().map(Uid::from_raw), device.gid().map(Gid::from_raw))?)
}

/// What libcontainer would leave out; the options that it would not understand are taken out.
fn attributes(mount: &mut Mount, all_private: bool, is_filled_late: bool) -> MountAttributes {
    let mut wanted = MountAttributes::default();
    if let Some((propagation, recursive)) = asked_propagation(mount).filter(|_| !all_private) {
        (wanted.propagation, wanted.recursive) = (propagation, recursive);
    }
    let is_dev = normal(mount.destination()) == Path::new(DEV);
    if let Some(options) = mount.options_mut() {
        let last = options.iter().rev().find(|option| *option == "ro" || *option == "rw");
        if (is_dev || is_filled_late) && last.is_some_and(|option| option == "ro") {
            wanted.set |= libc::MOUNT_ATTR_RDONLY;
        }
        if is_filled_late {
            options.retain(|option| option != "ro");
        }
        let links = ["nosymfollow", "symfollow"];
        if options.iter().rev().find(|option| links.contains(&option.as_str())).is_some_and(|option| option == "nosymfollow") {
            wanted.set |= libc::MOUNT_ATTR_NOSYMFOLLOW;
        }
        options.retain(|option| !links.contains(&option.as_str()));
    }
    wanted
}

/// A propagation by its name: flag of mount(2), and whether it is for the mounts below too.
pub(crate) fn propagation(option: &str) -> Option<(u64, bool)> {
    let (name, recursive) = match option {
        "rshared" | "rslave" | "rprivate" | "runbindable" => (option.get(1..)?, true),
        name => (name, false),
    };
    let flag = match name {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some((flag, recursive))
}

fn asked_propagation(mount: &Mount) -> Option<(u64, bool)> {
    mount.options().iter().flatten().rev().find_map(|option| propagation(option))
}

/// Every bind wants to be private, and so may the rest.
fn asks_for_private_only(spec: &Spec) -> bool {
    let root = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    let may = matches!(root, None | Some("private"));
    may && spec.mounts().iter().flatten().all(|mount| match asked_propagation(mount) {
        Some((flag, recursive)) => flag == libc::MS_PRIVATE && (recursive || !is_recursive(mount)),
        None => !is_bind(mount),
    })
}

fn is_recursive(mount: &Mount) -> bool {
    mount.options().iter().flatten().any(|option| option == "rbind")
}

pub(crate) fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
}

pub(crate) fn has_namespace(spec: &Spec, typ: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == typ))
}

/// Whether it asks for a namespace of its own, not for another container's.
pub(crate) fn has_new_namespace(spec: &Spec, typ: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == typ && namespace.path().is_none()))
}

/// Absolute, without `.`, `..` and repeated slashes, as seen in the container.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

fn is_mount(path: &Path) -> bool {
    sys::is_mount_root(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(mounts: serde_json::Value) -> Spec {
        serde_json::from_value(serde_json::json!({"ociVersion": "1.0.2", "mounts": mounts, "linux": {}})).unwrap()
    }

    fn bind(options: &[&str]) -> serde_json::Value {
        serde_json::json!({"destination": "/v", "source": "/tmp", "options": options})
    }

    #[test]
    fn private_binds_cost_nothing_and_all_others_are_done_late() {
        for (options, late, root) in [
            (&["rbind", "rprivate"][..], 0, Some("private")),
            (&["bind"][..], 0, None),
            (&["rbind", "rslave"][..], 1, None),
            (&["rbind", "private"][..], 1, None),
            (&["bind", "private"][..], 0, Some("private")),
        ] {
            let mut spec = spec(serde_json::json!([bind(options)]));
            let taken = LateMounts::take(&mut spec).unwrap();
            assert_eq!(taken.attributes.len(), late, "{options:?}");
            assert_eq!(spec.linux().as_ref().unwrap().rootfs_propagation().as_deref(), root, "{options:?}");
        }
        let mut mixed = spec(serde_json::json!([bind(&["rbind", "rprivate"]), bind(&["rbind"])]));
        assert_eq!(LateMounts::take(&mut mixed).unwrap().attributes.len(), 1);
    }

    #[test]
    fn a_bound_dev_becomes_a_tmpfs_and_what_is_below_is_remembered() {
        let mut spec = spec(serde_json::json!([
            {"destination": "/dev/", "source": "/tmp", "type": "none", "options": ["rbind", "ro"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}
        ]));
        let late = LateMounts::take(&mut spec).unwrap();
        let dev = late.dev.unwrap();
        assert_eq!(dev.below, [PathBuf::from("/dev/pts")]);
        assert_eq!(late.attributes.len(), 1, "ro is done late");
        let mounts = spec.mounts().as_ref().unwrap();
        assert_eq!((mounts[0].typ().as_deref(), is_bind(&mounts[0])), (Some("tmpfs"), false));
    }

    #[test]
    fn paths_are_normal_without_a_look_at_the_disk() {
        for (written, normal_form) in [("/a/./b//c", "/a/b/c"), ("a/../../b", "/b"), ("/..", "/"), ("", "/")] {
            assert_eq!(normal(Path::new(written)), Path::new(normal_form), "{written:?}");
        }
    }
}
