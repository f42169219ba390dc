//! hshim for a user without privileges: `create` and `run` go on as root of the user namespace that the container gets.
//!
//! libcontainer would make that namespace half-way through, after this program was loaded outside of it: its processes would then be out of
//! their own creator's reach (undumpable, and owned by a program of the outer namespace), and no mount of this process could be made
//! read-only before. So the namespace is entered first, and everything after that is as it is for root:
//!
//! ```text
//! hshim create (uid 1000) ─ unshare(user, mount) ─ ids mapped ─ uid 0 in it ─ executed again, read-only ─ hshim create (root of the namespace)
//! hshim exec, kill, delete … (uid 1000): the creator of a user namespace has every capability in it
//! ```

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use hshim_health::layout;
use libcontainer::oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, fchown, geteuid, setresgid, setresuid};

use crate::bundle::Bundle;
use crate::cli::Globals;
use crate::errand;
use crate::rootless_mapping::{IdMap, Mapper};
use crate::sealed_executable;
use crate::sys;

/// User id of the caller, handed from the execution outside the namespace to the one inside.
const OWNER_VARIABLE: &str = "_HSHIM_OWNER";
static OWNER: OnceLock<u32> = OnceLock::new();
/// Not cleared away with what is old in `$XDG_RUNTIME_DIR` (XDG Base Directory Specification): the sticky bit.
const ROOT_MODE: u32 = 0o1700;

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Everything.
    Root,
    /// Everything in a user namespace.
    Namespace,
    /// What any user may.
    User,
}

impl Privilege {
    /// Of this process.
    pub(crate) fn own() -> Self {
        match (geteuid().is_root(), in_user_namespace()) {
            (true, false) => Self::Root,
            (true, true) => Self::Namespace,
            (false, _) => Self::User,
        }
    }
}

/// Whether this process is in a user namespace other than the machine's own.
pub(crate) fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !has_every_id(&map)))
}

/// The map of the initial user namespace (user_namespaces(7)).
fn has_every_id(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Takes over what the execution outside has handed on, so that neither hooks nor the container see it.
pub(crate) fn remember_owner() {
    let Some(owner) = env::var_os(OWNER_VARIABLE) else { return };
    sys::remove_env(OWNER_VARIABLE);
    if let Some(owner) = owner.to_str().and_then(|owner| owner.parse().ok()).filter(|_owner| in_user_namespace()) {
        OWNER.get_or_init(|| owner);
    }
}

/// Whether this process has gone into the container's own user namespace, in which nothing is left to be made of it.
pub(crate) fn has_entered() -> bool {
    OWNER.get().is_some()
}

/// User id of the caller, as the outside knows it.
pub(crate) fn owner() -> u32 {
    OWNER.get().copied().unwrap_or_else(|| geteuid().as_raw())
}

/// `--root` when it is not given, as runc chooses it.
pub(crate) fn default_root() -> PathBuf {
    let honours = match Privilege::own() {
        Privilege::Root => false,
        Privilege::User => true,
        // Root of a container, or of a podman that has entered its own namespace.
        Privilege::Namespace => has_entered() || env::var_os("USER").is_none_or(|user| user != "root"),
    };
    let dir = env::var_os("XDG_RUNTIME_DIR").filter(|dir| honours && !dir.is_empty());
    dir.map_or_else(|| PathBuf::from(layout::ROOT), |dir| Path::new(&dir).join("hshim"))
}

/// Goes on as root of the container's user namespace. Returns if there is nothing to enter.
pub(crate) fn enter(bundle: &Bundle, globals: &Globals) -> anyhow::Result<()> {
    if Privilege::own() != Privilege::User {
        return Ok(());
    }
    make_root(&globals.root)?;
    let owner = geteuid();
    let args: Vec<_> = env::args_os().collect();
    let linux = bundle.spec.linux().as_ref();
    let entered = match linux.and_then(user_namespace) {
        Some(Some(path)) => join(&path),
        Some(None) => make(&bundle.spec),
        None => Err(anyhow::anyhow!(
            "linux.namespaces: a user without privileges needs one of type \"user\", and linux.uidMappings and linux.gidMappings: \
             \"hshim spec --rootless\" writes an example"
        )),
    };
    entered.with_context(|| bundle.dir.join("config.json").display().to_string())?;
    // Groups first: it takes what the change of the user takes away.
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).context("become root of the user namespace")?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).context("become root of the user namespace")?;
    sealed_executable::execute_again(&args, Some((OWNER_VARIABLE, owner.to_string())))
        .context("execute hshim from a read-only mount in the user namespace")
}

/// Gives a file to a user of the user namespace that a process is in, with the power that its creator has there: in a child, because there
/// is no way back.
pub(crate) fn give(file: BorrowedFd<'_>, process: i32, uid: u32) -> anyhow::Result<()> {
    let namespace = File::open(format!("/proc/{process}/ns/user")).context("open the container's user namespace")?;
    errand::run(|| {
        setns(namespace, CloneFlags::CLONE_NEWUSER)?;
        Ok(fchown(file, Some(Uid::from_raw(uid)), None::<Gid>)?)
    })
}

/// Takes out of a specification what has been done by [`enter`].
pub(crate) fn take_user_namespace(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| has_entered()) else { return };
    if let Some(namespaces) = linux.namespaces_mut() {
        namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::User);
    }
    linux.set_uid_mappings(None).set_gid_mappings(None);
}

/// The one that is asked for, with its path if it is another container's.
fn user_namespace(linux: &Linux) -> Option<Option<PathBuf>> {
    let all = linux.namespaces().iter().flatten();
    all.into_iter().find(|namespace| namespace.typ() == LinuxNamespaceType::User).map(|namespace| namespace.path().clone())
}

fn join(path: &Path) -> anyhow::Result<()> {
    let namespace = File::open(path).with_context(|| format!("linux.namespaces: open {}", path.display()))?;
    setns(namespace, CloneFlags::CLONE_NEWUSER).with_context(|| format!("linux.namespaces: join {}", path.display()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace in the user namespace")
}

fn make(spec: &Spec) -> anyhow::Result<()> {
    let (uids, gids) = IdMap::pair(spec)?;
    refuse_groups(spec, &gids)?;
    let mapper = Mapper::prepare(uids, gids)?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context(
        "make a user namespace: this machine may have switched them off for users without privileges \
         (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
    )?;
    mapper.write()
}

/// CVE-2014-8989: who drops a group could come by what is denied to that group.
fn refuse_groups(spec: &Spec, gids: &IdMap) -> anyhow::Result<()> {
    let user = spec.process().as_ref().map(|process| process.user());
    let groups = user.and_then(|user| user.additional_gids().as_ref()).filter(|groups| !groups.is_empty());
    anyhow::ensure!(
        groups.is_none() || !gids.is_own_id(),
        "process.user.additionalGids: the kernel forbids them to a user without privileges who maps only their own group: \
         leave them out, or map a range of /etc/subgid in linux.gidMappings"
    );
    Ok(())
}

/// A directory of our own choice below `$XDG_RUNTIME_DIR`.
fn make_root(root: &Path) -> anyhow::Result<()> {
    if root.exists() || root != default_root() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .and_then(|()| fs::set_permissions(root, Permissions::from_mode(ROOT_MODE)))
        .with_context(|| {
            format!("create {}: set XDG_RUNTIME_DIR to a directory of your own, or choose one with --root", root.display())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_user_namespace_is_known_by_its_map() {
        assert!(has_every_id("         0          0 4294967295\n"));
        assert!(!has_every_id("         0       1000          1\n"));
        assert!(!has_every_id("0 1000 1\n1 100000 65536\n"));
    }
}
