//! The system calls that neither std nor nix offers: each wrapped into a safe function of descriptors.

#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a child ended, as waitid(2) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Process id.
    pub(crate) pid: u32,
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) how: i32,
    /// Exit code or signal number.
    pub(crate) status: i32,
}

/// Whom waitid(2) asks about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom<'a> {
    /// The child behind this pidfd; it is reaped.
    Pidfd(BorrowedFd<'a>),
    /// The child of this process id; it is reaped.
    Pid(u32),
    /// The same; it is only looked at.
    PeekPidfd(BorrowedFd<'a>),
    /// Any child that ended; it is only looked at.
    PeekAny,
}

/// waitid(2) without waiting: none while the child lives.
pub(crate) fn ended(whom: Whom<'_>) -> io::Result<Option<Ended>> {
    let (kind, id, flags) = match whom {
        Whom::Pidfd(pidfd) => (libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), 0),
        Whom::PeekPidfd(pidfd) => (libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WNOWAIT),
        Whom::Pid(pid) => (libc::P_PID, pid, 0),
        Whom::PeekAny => (libc::P_ALL, 0, libc::WNOWAIT),
    };
    // SAFETY: siginfo_t is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live siginfo_t; the call writes nothing else.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED | libc::WNOHANG | flags) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid succeeded, so the fields of a child's record are set, or all zero if none has ended.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok((pid != 0).then_some(Ended { pid: pid.unsigned_abs(), how: info.si_code, status }))
}

/// Owners of one descriptor that stays the same and open for as long as they live.
pub(crate) trait StableFd: AsRawFd {}

impl StableFd for OwnedFd {}
impl StableFd for Arc<File> {}
impl StableFd for SignalFd {}
impl StableFd for crate::clock::Timer {}

/// Lets the event loop tell when there is something to read.
pub(crate) fn readable<T: StableFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `StableFd` is implemented above only for types that own one descriptor, which nothing here takes out of them.
    let registered = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}

/// The same for when something can be written.
pub(crate) fn writable<T: StableFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: as in `readable`.
    let registered = unsafe { AsyncFd::register_with_interest(inner, Interest::WRITABLE) };
    registered.map_err(|error| error.into_parts().1)
}

/// Another descriptor for the same file, with a number of at least `least`, close-on-exec.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, least: RawFd) -> io::Result<OwnedFd> {
    let fd = nix::fcntl::fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets or clears `O_NONBLOCK`.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, FcntlArg::F_GETFL)?);
    let flags = if on { flags | OFlag::O_NONBLOCK } else { flags - OFlag::O_NONBLOCK };
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Sets the window size of a terminal: columns and rows.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, (columns, rows): (u16, u16)) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is a live winsize, which the call only reads.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one descriptor from a Unix socket, without waiting.
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0_u8; 64];
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel just made this descriptor for us, nobody else knows it; there is room for one only.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::Error::other("the message brought no descriptor"))
}

/// pidfd_open(2), close-on-exec.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo means as kill(2); the rest are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            libc::c_long::from(pidfd.as_raw_fd()),
            libc::c_long::from(signal),
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that the process was started with, and marks it close-on-exec. None if it is not open.
pub(crate) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: sets a flag of a descriptor number; a closed one gives EBADF.
    let open = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: it is open, and only the start of `main` calls this, once for each number, before anything else opens descriptors.
    open.then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ignores a signal in this process; `spawn` resets it in children.
pub(crate) fn ignore(signal: Signal) -> nix::Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// Lets this process not have huge pages: they would make a resident megabyte out of a few kilobytes of heap.
pub(crate) fn without_huge_pages() {
    // SAFETY: takes integers; an old kernel refuses, which changes nothing.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Every signal there is, those included that musl keeps to itself (32 to 34): it would hand them to children ignored, and its
/// sigfillset(3) leaves them out.
pub(crate) fn every_signal() -> SigSet {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes within the one value.
    unsafe { set.as_mut_ptr().write_bytes(0xff, 1) };
    // SAFETY: every byte was just written, and a set is an array of bits.
    let set = unsafe { set.assume_init() };
    // SAFETY: the same.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Sets the capacity of a pipe; a refusal (limits of the user) leaves it as it was.
pub(crate) fn widen_pipe(pipe: BorrowedFd<'_>, bytes: i32) {
    // SAFETY: takes integers.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
}

/// Marks every descriptor from 3 on close-on-exec: what whoever started us forgot to close is no business of containers.
pub(crate) fn close_others_on_exec() {
    // SAFETY: takes integers; sets a flag, closes nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}
