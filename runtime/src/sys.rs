//! The system calls that want `unsafe`, one function each, and one symbol for the linker.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

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

/// `union bpf_attr` of BPF_PROG_LOAD, as far as it is used (`<linux/bpf.h>`).
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same of BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct ProgramAttach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The same of BPF_PROG_QUERY.
#[repr(C)]
struct ProgramQuery {
    target: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;
/// `BPF_CGROUP_MAX_PROGS`: more cannot be attached to one cgroup.
const MAX_PROGRAMS: usize = 64;

/// bpf(2).
fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the callers pass the attributes of their command; the kernel takes as many bytes as it is told, and what they
    // point to outlives the call.
    result(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Loads a device program, an array of `struct bpf_insn` as bytes.
pub(crate) fn load_device_program(code: &[u8]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(code.len() / 8).map_err(io::Error::other)?,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    owned(bpf(BPF_PROG_LOAD, &mut attributes)?)
}

/// Attaches a device program to a cgroup, in the place of another when one is named.
pub(crate) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attributes = ProgramAttach {
        target: number(cgroup),
        program: number(program),
        kind: BPF_CGROUP_DEVICE,
        flags: if replaced.is_some() { BPF_F_ALLOW_MULTI | BPF_F_REPLACE } else { BPF_F_ALLOW_MULTI },
        replaced: replaced.map_or(0, number),
    };
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a device program from a cgroup.
pub(crate) fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes =
        ProgramAttach { target: number(cgroup), program: number(program), kind: BPF_CGROUP_DEVICE, flags: 0, replaced: 0 };
    bpf(BPF_PROG_DETACH, &mut attributes).map(drop)
}

/// Ids of the device programs that are attached to a cgroup itself.
pub(crate) fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut attributes = ProgramQuery {
        target: number(cgroup),
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MAX_PROGRAMS).map_err(io::Error::other)?,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    ids.truncate(usize::try_from(attributes.count).map_err(io::Error::other)?);
    Ok(ids)
}

/// Opens a program by its id.
pub(crate) fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = [id, 0, 0];
    owned(bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes)?)
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
