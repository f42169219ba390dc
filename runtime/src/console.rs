//! Terminals of containers: the socket on which a master side travels, and a pair made in the container's own devpts.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::Process;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::unistd::{Gid, Uid, fchown};

use crate::rootless;
use crate::sys;

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: libc::c_ulong = 0x1cd1;
/// Inode of ptmx in every devpts (fs/devpts/inode.c).
const PTMX_INODE: u64 = 2;

/// Connects to `--console-socket`.
pub(crate) fn connect(socket: &Path) -> anyhow::Result<OwnedFd> {
    let stream = UnixStream::connect(socket).with_context(|| format!("--console-socket: connect to {}", socket.display()))?;
    Ok(stream.into())
}

/// `--pidfd-socket`: whoever listens there gets a descriptor of the process, which must not have been reaped yet.
pub(crate) struct PidfdSocket(Option<OwnedFd>);

impl PidfdSocket {
    /// Connects before there is a process that would have to be ended again.
    pub(crate) fn connect(socket: Option<&Path>) -> anyhow::Result<Self> {
        let Some(socket) = socket else { return Ok(Self(None)) };
        let stream = UnixStream::connect(socket).with_context(|| format!("--pidfd-socket: connect to {}", socket.display()))?;
        Ok(Self(Some(stream.into())))
    }

    /// Sends the descriptor, if it was asked for.
    pub(crate) fn send(&self, pid: i32) -> anyhow::Result<()> {
        let Some(socket) = &self.0 else { return Ok(()) };
        let pidfd = sys::pidfd_open(pid).with_context(|| format!("open the process {pid}"))?;
        send_descriptor(socket.as_fd(), pidfd.as_fd(), b"pidfd").context("hand the pidfd on by --pidfd-socket")
    }
}

/// A socket of our own, for a terminal that this process keeps: (for the container, ours).
pub(crate) fn pair() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let (theirs, ours) = UnixStream::pair().context("make a console socket")?;
    Ok((theirs.into(), ours.into()))
}

/// Sends a master side, with the name of the terminal as runc sends it.
pub(crate) fn send(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> anyhow::Result<()> {
    send_descriptor(socket, master, b"/dev/ptmx").context("hand the terminal on by --console-socket")
}

fn send_descriptor(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    let descriptors = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(name)], &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Receives a master side.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
    let mut name = [0_u8; 4096];
    let mut parts = [IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .context("receive the container's terminal")?;
    let mut received = None;
    for control in message.cmsgs().context("receive the container's terminal")? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            received = received.or(descriptors.first().copied());
        }
    }
    sys::received(received.context("the container sent no terminal")?).context("receive the container's terminal")
}

/// A new terminal in the devpts of a running container: (master, slave). `root` is the container's root directory, `pid` its init, and
/// `uid` who is to have the terminal there.
pub(crate) fn open_inside(root: &File, pid: i32, uid: u32) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let master = openat2(root, "dev/pts/ptmx", how)
        .context("open /dev/pts/ptmx of the container: a terminal needs devpts mounted there")?;
    // The container may have put anything there.
    anyhow::ensure!(is_ptmx(&master)?, "/dev/pts/ptmx of the container is no pseudoterminal device");
    sys::unlock_pty(master.as_fd()).context("unlock the terminal")?;
    let slave = sys::open_pty_peer(master.as_fd()).context("open the terminal")?;
    let given = match fchown(&slave, Some(Uid::from_raw(host_uid(pid, uid)?)), None::<Gid>) {
        // A user who has the container's user namespace can do it there.
        Err(Errno::EPERM) => rootless::give(slave.as_fd(), pid, uid),
        done => done.map_err(anyhow::Error::from),
    };
    given.context("give the terminal to the container's user")?;
    Ok((master, slave))
}

/// Gives the terminal of a waiting init process to the container's user, in the size that is asked for.
///
/// Nothing of the container's own has run: its standard input is the terminal that libcontainer made.
pub(crate) fn furnish(pid: i32, process: &Process) -> anyhow::Result<()> {
    let file = format!("/proc/{pid}/fd/0");
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&file);
    let terminal = terminal.with_context(|| format!("open the container's terminal {file}"))?;
    let owner = host_uid(pid, process.user().uid())?;
    fchown(&terminal, Some(Uid::from_raw(owner)), None::<Gid>).context("give the terminal to the container's user")?;
    let Some(size) = process.console_size() else { return Ok(()) };
    let number = |written: u64| u16::try_from(written).context("process.consoleSize: is more than 65535");
    let size = libc::winsize { ws_row: number(size.height())?, ws_col: number(size.width())?, ws_xpixel: 0, ws_ypixel: 0 };
    sys::set_window_size(terminal.as_fd(), size).context("process.consoleSize: resize the terminal")
}

/// The user id outside of a user `uid` of the container whose init is `pid`.
pub(crate) fn host_uid(pid: i32, uid: u32) -> anyhow::Result<u32> {
    let users = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user"));
    if users("self")? == users(&pid.to_string())? {
        // Its map would tell of the ids outside of both.
        return Ok(uid);
    }
    let file = format!("/proc/{pid}/uid_map");
    let map = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    mapped(&map, uid).with_context(|| format!("user id {uid} is not mapped in the container's user namespace"))
}

/// Lines `inside outside length` (user_namespaces(7)).
fn mapped(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_whitespace().filter_map(|field| field.parse::<u32>().ok());
        let (inside, outside, length) = (fields.next()?, fields.next()?, fields.next()?);
        let offset = uid.checked_sub(inside).filter(|offset| *offset < length)?;
        outside.checked_add(offset)
    })
}

fn is_ptmx(master: &OwnedFd) -> anyhow::Result<bool> {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "signed in glibc, unsigned in musl"
    )]
    let magic = fstatfs(master)?.filesystem_type().0 as libc::c_ulong;
    Ok(magic == DEVPTS_MAGIC && fstat(master)?.st_ino == PTMX_INODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_mapped_as_the_kernel_maps_them() {
        assert_eq!(mapped("         0          0 4294967295\n", 1000), Some(1000));
        let map = "0 100000 1000\n1000 5 1\n";
        assert_eq!([0, 999, 1000, 1001].map(|uid| mapped(map, uid)), [Some(100_000), Some(100_999), Some(5), None]);
    }
}
