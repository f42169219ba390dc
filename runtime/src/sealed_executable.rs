//! The program's own file, made read-only before anything of it runs inside a container.
//!
//! The init process of a container is this program until it executes its command, and whatever that command is (`#!/proc/self/exe`,
//! a process with CAP_SYS_PTRACE in a shared pid namespace) may come by the file through `/proc/PID/exe`. Through a writable mount it
//! could then be written to once nobody runs it (CVE-2019-5736). So `create` and `run` execute themselves again from a detached,
//! read-only clone of the mount: no copy, the same page cache, and nobody can make that mount writable again, because it
//! belongs to no mount namespace.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::execveat;

use crate::sys;

/// Path of the executable, handed from the first execution to the second, in which /proc/self/exe cannot tell it any more.
const ORIGIN: &str = "_HSHIM_EXECUTABLE";
const OWN: &str = "/proc/self/exe";
static PATH: OnceLock<PathBuf> = OnceLock::new();

/// Where this program is installed: other programs of hshim are beside it.
pub(crate) fn path() -> PathBuf {
    PATH.get_or_init(|| std::env::current_exe().unwrap_or_default()).clone()
}

/// Executes this program again from a read-only mount if the command line may make a container. Returns if that is done, or
/// is not needed; that it was done is asked by [`require_sealed`].
pub(crate) fn seal(args: &[std::ffi::OsString]) -> anyhow::Result<()> {
    if let Some(origin) = std::env::var_os(ORIGIN) {
        // One thread so far, and the value is not for the container or its hooks.
        sys::remove_env(ORIGIN);
        return PATH.set(origin.into()).map_err(|_set| anyhow::anyhow!("the path of the executable is known already"));
    }
    let makes_container = args.iter().skip(1).any(|arg| arg == "create" || arg == "run" || arg == "restore");
    if !makes_container || !nix::unistd::geteuid().is_root() || is_sealed()? {
        return Ok(());
    }
    execute_again(args, None).context("execute hshim from a read-only mount")
}

/// Refuses to go on where the container could reach a writable file.
pub(crate) fn require_sealed() -> anyhow::Result<()> {
    anyhow::ensure!(is_sealed()?, "hshim runs from a writable mount, which a container could reach: this must not happen");
    Ok(())
}

fn is_sealed() -> anyhow::Result<bool> {
    let own = open(OWN, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).with_context(|| format!("open {OWN}"))?;
    Ok(fstatvfs(&own).with_context(|| format!("look at the mount of {OWN}"))?.flags().contains(FsFlags::ST_RDONLY))
}

/// Executes this program again from a read-only mount, perhaps with one variable more.
pub(crate) fn execute_again(args: &[std::ffi::OsString], added: Option<(&str, String)>) -> anyhow::Result<()> {
    let origin = path();
    // In a new mount namespace OWN is still a file of the former one, of which no clone can be made.
    let file = if added.is_some() { origin.to_str().context("the path of the executable is not UTF-8")? } else { OWN };
    let tree = sys::open_tree(AT_FDCWD, file, sys::Tree::Alone).with_context(|| format!("take {file}"))?;
    require_same(&tree, file)?;
    sys::mount_setattr(tree.as_fd(), "", sys::MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() })?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).context("an argument or a variable contains NUL");
    let argv = args.iter().map(|arg| text(arg)).collect::<anyhow::Result<Vec<_>>>()?;
    let own = (OsStr::new(ORIGIN).to_owned(), origin.into_os_string());
    let added = added.map(|(name, value)| (name.into(), value.into()));
    let variables = std::env::vars_os().chain([own]).chain(added).map(|(name, value)| {
        let mut variable = name;
        variable.push("=");
        variable.push(value);
        text(&variable)
    });
    let env = variables.collect::<anyhow::Result<Vec<_>>>()?;
    // Kept open until execve has it; close-on-exec then lets the mount go out of everybody's reach.
    let held = File::from(tree);
    execveat(&held, c"", &argv, &env, AtFlags::AT_EMPTY_PATH)?;
    Ok(())
}

/// A path may lead to another program by now.
fn require_same(tree: &OwnedFd, file: &str) -> anyhow::Result<()> {
    let (own, found) = (stat(OWN).with_context(|| format!("look at {OWN}"))?, fstat(tree)?);
    anyhow::ensure!((own.st_dev, own.st_ino) == (found.st_dev, found.st_ino), "{file} is not this program any more: try again");
    Ok(())
}
