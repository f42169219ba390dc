//! Starting a program: posix_spawn(3) only, so that no Rust code runs between fork and exec.
//!
//! The program gets the three descriptors it is given as 0, 1 and 2 and nothing else (all ours are close-on-exec), every
//! signal at its default, none blocked, and our environment with the word that it is a shim who asks.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use hshim_health::control;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;

use crate::children::{Child, Children};
use crate::sys;

/// Standard input, output and error of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StdioFds<'a>(pub(crate) [BorrowedFd<'a>; 3]);

impl<'a> StdioFds<'a> {
    /// The same descriptor (/dev/null) three times.
    pub(crate) fn all(fd: &'a impl AsFd) -> Self {
        Self([fd.as_fd(); 3])
    }
}

/// Starts a program by its absolute path; `args` begins after the program's name.
pub(crate) fn spawn(children: &Arc<Children>, path: &Path, args: &[OsString], stdio: StdioFds<'_>) -> io::Result<Child> {
    let mut argv = vec![c_string(path.as_os_str())?];
    for arg in args {
        argv.push(c_string(arg)?);
    }
    let environment = environment()?;
    let pid = posix_spawn(path, &file_actions(&stdio.0)?, &attributes()?, &argv, &environment)?;
    children.watch(pid.as_raw().unsigned_abs())
}

/// The same with descriptors 0, 1, 2 … and an environment of its own.
pub(crate) fn spawn_with(
    children: &Arc<Children>,
    path: &Path,
    args: &[OsString],
    fds: &[BorrowedFd<'_>],
    environment: &[CString],
) -> io::Result<Child> {
    let mut argv = vec![c_string(path.as_os_str())?];
    for arg in args {
        argv.push(c_string(arg)?);
    }
    // Out of the way of the numbers that they are copied to.
    let high: Result<Vec<OwnedFd>, io::Error> = fds.iter().map(|fd| sys::duplicate_above(*fd, 64)).collect();
    let high = high?;
    let fds: Vec<BorrowedFd<'_>> = high.iter().map(AsFd::as_fd).collect();
    let pid = posix_spawn(path, &file_actions(&fds)?, &attributes()?, &argv, environment)?;
    children.watch(pid.as_raw().unsigned_abs())
}

/// /dev/null, for reading and writing.
pub(crate) fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

fn file_actions(fds: &[BorrowedFd<'_>]) -> nix::Result<PosixSpawnFileActions> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (target, fd) in (0..).zip(fds) {
        actions.add_dup2(fd.as_raw_fd(), target)?;
    }
    Ok(actions)
}

fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigdefault(&sys::every_signal())?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

fn environment() -> io::Result<Vec<CString>> {
    let ours = (control::WITHOUT_SUPERVISION.into(), "1".into());
    std::env::vars_os()
        .chain([ours])
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            CString::new(entry.into_vec()).map_err(io::Error::other)
        })
        .collect()
}

/// A string for the kernel.
pub(crate) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_nul| io::Error::other(format!("{} contains a NUL byte", text.display())))
}

/// The three descriptors that the caller of a bundle handed over.
#[derive(Debug)]
pub(crate) struct InheritedStdio([OwnedFd; 3]);

impl InheritedStdio {
    /// Keeps them for all lives of the container.
    pub(crate) fn new(fds: [OwnedFd; 3]) -> Self {
        Self(fds)
    }

    /// For one life.
    pub(crate) fn fds(&self) -> StdioFds<'_> {
        let [stdin, stdout, stderr] = &self.0;
        StdioFds([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
    }
}
