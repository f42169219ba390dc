//! The system calls that want `unsafe`, one function each, and one symbol for the linker.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::signal::Signal;
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

/// Gives SIGPIPE back its default disposition; Rust's start-up code ignores it, and an ignored signal survives execve.
pub(crate) fn default_sigpipe() -> nix::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code of ours runs in signal context.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }.map(drop)
}

/// seccomp(2) SECCOMP_SET_MODE_FILTER with an array of `struct sock_filter` as bytes.
pub(crate) fn load_seccomp(flags: u32, program: &[u8]) -> io::Result<()> {
    let length = u16::try_from(program.len() / size_of::<libc::sock_filter>()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the program outlives the call, holds `length` whole instructions, and is only read and copied by the kernel.
    result(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) }).map(drop)
}

/// keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: the serial number of the keyring of this name, which is made if there is none.
pub(crate) fn join_session_keyring(name: &CStr) -> io::Result<libc::c_long> {
    // SAFETY: the name is NUL-terminated and only read.
    result(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
}

/// keyctl(2) KEYCTL_SETPERM: everything for the possessor, and search for the owner, who can then join it by its name.
pub(crate) fn let_owner_search_keyring(keyring: libc::c_long) -> io::Result<()> {
    /// `KEY_POS_ALL | KEY_USR_VIEW | KEY_USR_READ | KEY_USR_SEARCH` of keyutils.h.
    const PERMISSIONS: libc::c_ulong = 0x3f0b_0000;
    // SAFETY: plain integers.
    result(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, keyring, PERMISSIONS) }).map(drop)
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

fn c_string(text: &[u8]) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(io::Error::other)
}

/// lsetxattr(2).
pub(crate) fn set_attribute(path: &std::path::Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_string(path.as_os_str().as_encoded_bytes())?, c_string(name.as_bytes())?);
    // SAFETY: both strings end with NUL and outlive the call; the value is read with its own length.
    let returned = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    result(returned.into()).map(drop)
}

/// Whether a file has an extended attribute (lgetxattr(2)) of exactly this value, which is short.
pub(crate) fn has_attribute(path: &std::path::Path, name: &str, value: &[u8]) -> io::Result<bool> {
    let (path, name) = (c_string(path.as_os_str().as_encoded_bytes())?, c_string(name.as_bytes())?);
    let mut found = [0_u8; 16];
    // SAFETY: both strings end with NUL and outlive the call; the kernel writes at most the buffer's length.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), found.as_mut_ptr().cast(), found.len()) };
    match usize::try_from(length) {
        Ok(length) => Ok(found.get(..length) == Some(value)),
        Err(_negative) => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::ERANGE | libc::EOPNOTSUPP)) => Ok(false),
            error => Err(error),
        },
    }
}

/// Brings a network interface up (netdevice(7), SIOCSIFFLAGS), by any socket of its network namespace.
pub(crate) fn bring_up(socket: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    /// linux/sockios.h; libc has it in another width than ioctl takes.
    const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
    let mut name = [0; libc::IFNAMSIZ];
    for (slot, byte) in name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    let request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: SIOCSIFFLAGS reads one ifreq, whose name ends with NUL.
    result(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw const request) })).map(drop)
}

/// Marks every descriptor above standard error close-on-exec (close_range(2)).
pub(crate) fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: plain integers; the descriptors stay open in this process.
    result(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}
