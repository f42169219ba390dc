//! The loopback interface of a container's new network namespace, which runc brings up and libcontainer does not.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::rootless;
use crate::sys;

/// Brings it up if the container has a network namespace of its own.
pub(crate) fn bring_up(spec: &Spec, init: BorrowedFd<'_>) -> anyhow::Result<()> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let is_new =
        namespaces.is_some_and(|all| all.iter().any(|ns| ns.typ() == LinuxNamespaceType::Network && ns.path().is_none()));
    if !is_new {
        return Ok(());
    }
    if rootless::in_user_namespace() {
        return bring_up_in_child(init);
    }
    // A socket belongs to the namespace that it is made in: this process is there only for as long as that takes.
    let own = File::open("/proc/thread-self/ns/net").context("open this network namespace")?;
    setns(init, CloneFlags::CLONE_NEWNET).context("join the container's network namespace")?;
    let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    setns(&own, CloneFlags::CLONE_NEWNET).context("leave the container's network namespace")?;
    sys::bring_up(made.context("open a socket")?.as_fd(), "lo").context("bring up the loopback interface")
}

/// From a user namespace there is no way back into the network namespace of the machine.
fn bring_up_in_child(init: BorrowedFd<'_>) -> anyhow::Result<()> {
    let Some(child) = sys::fork().context("fork")? else {
        let done = setns(init, CloneFlags::CLONE_NEWNET)
            .and_then(|()| socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None))
            .map_err(std::io::Error::from)
            .and_then(|made| sys::bring_up(made.as_fd(), "lo"));
        match done {
            Ok(()) => sys::exit_now(),
            Err(error) => std::process::exit(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    };
    let ended = waitpid(child, None).context("wait for the child in the container's network namespace")?;
    if let WaitStatus::Exited(_, errno) = ended {
        return if errno == 0 { Ok(()) } else { Err(nix::Error::from_raw(errno)).context("bring up the loopback interface") };
    }
    anyhow::bail!("bring up the loopback interface: the child that does it ended as {ended:?}")
}
