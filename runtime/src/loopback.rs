//! The loopback interface of a container's new network namespace, which runc brings up and libcontainer does not.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::errand;
use crate::late_mounts::has_new_namespace;
use crate::rootless;
use crate::sys;

/// Brings it up if the container has a network namespace of its own.
pub(crate) fn bring_up(spec: &Spec, init: BorrowedFd<'_>) -> anyhow::Result<()> {
    if !has_new_namespace(spec, LinuxNamespaceType::Network) {
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
    errand::run(|| {
        setns(init, CloneFlags::CLONE_NEWNET)?;
        let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(sys::bring_up(made.as_fd(), "lo")?)
    })
    .context("bring up the loopback interface")
}
