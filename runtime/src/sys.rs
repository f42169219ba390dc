//! The system calls that want `unsafe`, one function each, and one symbol for the linker.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::ffi::{CStr, CString};
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

/// `<linux/sched.h>`; libc has a constant that is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The same into a cgroup of version 2 (clone3(2), `CLONE_INTO_CGROUP`).
pub(crate) fn fork_into_cgroup(cgroup: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
    // SAFETY: an all-zero clone_args asks for what fork(2) does.
    let mut wanted: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    wanted.flags = CLONE_INTO_CGROUP;
    wanted.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    wanted.cgroup = number(cgroup).into();
    // SAFETY: as of `fork`; without CLONE_VM the child has memory and a stack of its own.
    let pid = result(unsafe { libc::syscall(libc::SYS_clone3, &raw const wanted, size_of::<libc::clone_args>()) })?;
    (pid != 0).then(|| i32::try_from(pid).map(Pid::from_raw)).transpose().map_err(io::Error::other)
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

fn c_string(text: &[u8]) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// lsetxattr(2).
pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_string(path.as_os_str().as_encoded_bytes())?, c_string(name.as_bytes())?);
    // SAFETY: both strings end with NUL and outlive the call; the value is read with its own length.
    let returned = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    result(returned.into()).map(drop)
}

/// Whether a file has an extended attribute (lgetxattr(2)) of exactly this value, which is short.
pub(crate) fn has_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<bool> {
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
