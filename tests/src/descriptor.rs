//! Descriptors that arrive over a Unix socket, as `--console-socket` sends them.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Accepts one connection and takes the one descriptor that comes with its first message.
///
/// # Panics
/// None comes.
#[must_use]
pub fn receive(listener: &UnixListener) -> OwnedFd {
    let (stream, _address) = listener.accept().expect("accept a connection");
    let mut bytes = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).expect("receive a message");
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            received.extend(rights);
        }
    }
    received.into_iter().next().expect("a descriptor comes with the message")
}
