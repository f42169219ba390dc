//! The system calls that want `unsafe`, one function each, and one symbol for the linker.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::resource::Resource;
use nix::unistd::{ForkResult, Pid};

/// Debian's libseccomp.a is built with glibc's fortify, whose `__fprintf_chk` musl lacks. Only the filter's text export
/// (`seccomp_export_pfc`) calls it, and hshim never does: the symbol has to exist, it does not have to work.
#[cfg(target_env = "musl")]
// SAFETY: no other definition of this name exists in a musl program; the caller ignores the result.
#[unsafe(no_mangle)]
extern "C" fn __fprintf_chk() -> i32 {
    0
}

fn result(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the callers pass a descriptor that the kernel has just returned to them; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_open(2).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; the kernel returns a new descriptor.
    owned(result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?)
}

/// pidfd_send_signal(2), with any number that kill(2) would take.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call; a null siginfo is allowed and means that of kill(2).
    result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) }).map(drop)
}

/// seccomp(2) SECCOMP_SET_MODE_FILTER with an array of `struct sock_filter` as bytes.
pub(crate) fn load_seccomp(flags: u32, program: &[u8]) -> io::Result<()> {
    let length = u16::try_from(program.len() / size_of::<libc::sock_filter>()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the program outlives the call, holds `length` whole instructions, and is only read and copied by the kernel.
    result(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) }).map(drop)
}

/// fork(2). The caller is single-threaded (main.rs), so the child may go on in Rust.
pub(crate) fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
    Ok(match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Some(child),
        ForkResult::Child => None,
    })
}

/// Opens the slave of a pseudoterminal by its master (ioctl_tty(2), TIOCGPTPEER): no path is looked up.
pub(crate) fn open_pty_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags by value and returns a new descriptor.
    owned(result(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))?)
}

/// Unlocks the slave of a pseudoterminal (TIOCSPTLCK).
pub(crate) fn unlock_pty(master: BorrowedFd<'_>) -> io::Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    result(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) })).map(drop)
}

/// Size of a terminal; none when the descriptor is no terminal.
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> Option<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    let returned = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (returned == 0).then_some(size)
}

/// Sets the size of a terminal.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: libc::winsize) -> io::Result<()> {
    // SAFETY: TIOCSWINSZ reads one winsize.
    result(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })).map(drop)
}

/// Takes over a descriptor that recvmsg(2) has just put into this process.
pub(crate) fn received(fd: RawFd) -> io::Result<OwnedFd> {
    owned(libc::c_long::from(fd))
}

/// Whether a number is an open descriptor of this process.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag; a number that is not open is answered with EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// How much of a mount tree [`open_tree`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// One mount.
    Alone,
    /// With all below.
    Whole,
}

/// A detached clone of a mount (open_tree(2) with OPEN_TREE_CLONE).
pub(crate) fn open_tree(dir: BorrowedFd<'_>, path: &str, tree: Tree) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    #[allow(clippy::cast_sign_loss, reason = "flags")]
    let recursive = if tree == Tree::Whole { libc::AT_RECURSIVE as libc::c_uint } else { 0 };
    #[allow(clippy::cast_sign_loss, reason = "flags")]
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint | recursive;
    // SAFETY: the path is a NUL-terminated string that outlives the call; the kernel returns a new descriptor.
    owned(result(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })?)
}

/// What [`mount_setattr`] changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_…` to set.
    pub(crate) set: u64,
    /// `MS_SHARED` and its like; 0 leaves it.
    pub(crate) propagation: u64,
    /// For the mounts below too.
    pub(crate) recursive: bool,
}

/// mount_setattr(2).
pub(crate) fn mount_setattr(dir: BorrowedFd<'_>, path: &str, wanted: MountAttributes) -> io::Result<()> {
    let path = CString::new(path)?;
    let attributes = libc::mount_attr { attr_set: wanted.set, attr_clr: 0, propagation: wanted.propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if wanted.recursive { libc::AT_RECURSIVE } else { 0 };
    let (at, size) = (&raw const attributes, size_of::<libc::mount_attr>());
    // SAFETY: path and attributes outlive the call, which reads `size` bytes of the latter.
    result(unsafe { libc::syscall(libc::SYS_mount_setattr, dir.as_raw_fd(), path.as_ptr(), flags, at, size) }).map(drop)
}

/// Takes a variable out of the environment.
pub(crate) fn remove_env(name: &str) {
    // SAFETY: this process has one thread (main.rs), so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) }
}

/// Puts a detached mount at a path (move_mount(2)).
pub(crate) fn move_mount(tree: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    let (from, flags) = (c"".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are NUL-terminated and outlive the call.
    result(unsafe { libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), from, libc::AT_FDCWD, path.as_ptr(), flags) }).map(drop)
}

/// Whether something is mounted at a path (statx(2), `STATX_ATTR_MOUNT_ROOT`).
pub(crate) fn is_mount_root(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is NUL-terminated, and the kernel writes one statx.
    let returned = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, 0, found.as_mut_ptr()) };
    result(libc::c_long::from(returned))?;
    // SAFETY: all bytes were zeroed, which is a valid statx, before the kernel wrote to it.
    let found = unsafe { found.assume_init() };
    #[allow(clippy::cast_sign_loss, reason = "a flag")]
    Ok(found.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}

/// Ends a forked child without the parent's exit handlers.
pub(crate) fn exit_now() -> ! {
    // SAFETY: _exit returns to nobody and touches no memory.
    unsafe { libc::_exit(0) }
}

/// Gives signals their default disposition. The kernel is asked directly: the C library keeps some to itself. SIGKILL and SIGSTOP cannot be
/// changed, and need no change.
pub(crate) fn default_signals(signals: std::ops::RangeInclusive<i32>) {
    // struct sigaction of the kernel: handler SIG_DFL, flags, restorer, mask.
    let default = [0_usize; 4];
    for signal in signals {
        let (action, mask_size) = (default.as_ptr(), size_of::<u64>());
        // SAFETY: the action outlives the call and is all zero: no handler, so no code of ours runs in signal context.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, std::ptr::null_mut::<usize>(), mask_size) };
    }
}

/// Sets a limit of this process.
pub(crate) fn setrlimit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    prlimit(0, resource, soft, hard)
}

/// Sets a limit of another process (prlimit(2)).
pub(crate) fn prlimit(pid: i32, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit outlives the call, which only reads it.
    let returned = unsafe { libc::prlimit(pid, resource as _, &raw const limit, std::ptr::null_mut()) };
    result(libc::c_long::from(returned)).map(drop)
}

/// Joins the session keyring of this name, a new one when there is none (keyctl(2)), and lets its owner find it, as runc does.
pub(crate) fn join_session_keyring(name: &str) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    const SETPERM: libc::c_int = 5;
    const POSSESSOR_ALL_USER_VIEW_READ_LINK_SEARCH: libc::c_int = 0x3f1b_0000;
    let name = CString::new(name)?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let ring = result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    // SAFETY: plain integers.
    result(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, ring, POSSESSOR_ALL_USER_VIEW_READ_LINK_SEARCH) }).map(drop)
}
