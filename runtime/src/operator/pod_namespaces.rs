//! The namespaces that all containers of a pod share, made once and pinned by bind mounts: no process has to hold them.
//!
//! This process enters new ones, furnishes and pins them, and goes back. It has one thread, so that is safe.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::sethostname;

use crate::sys;

/// A kind of namespace that a pod's containers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// Network, with nothing but loopback.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
}

impl Shared {
    /// Which ones a pod has of its own.
    pub(crate) const fn of_pod(host_network: bool) -> &'static [Self] {
        // A pod in the node's network has the node's name.
        if host_network { &[Self::Ipc] } else { &[Self::Net, Self::Ipc, Self::Uts] }
    }

    /// Name of its file, in /proc/PID/ns and in the pod's directory.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    /// Its name in config.json.
    pub(crate) const fn oci_name(self) -> &'static str {
        match self {
            Self::Net => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    const fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        }
    }

    fn own(self) -> PathBuf {
        Path::new("/proc/self/ns").join(self.file())
    }
}

/// Makes the namespaces, and pins each in a file of its name in `dir`.
pub(crate) fn pin(dir: &Path, kinds: &[Shared], hostname: &str) -> anyhow::Result<()> {
    let own: Vec<(Shared, OwnedFd)> = kinds
        .iter()
        .map(|kind| Ok((*kind, File::open(kind.own())?.into())))
        .collect::<std::io::Result<_>>()
        .context("open /proc/self/ns")?;
    let flags = kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
    unshare(flags).context("make the pod's namespaces")?;
    let pinned = furnish(kinds, hostname).and_then(|()| kinds.iter().try_for_each(|kind| pin_one(dir, *kind)));
    for (kind, namespace) in own {
        setns(namespace.as_fd(), kind.flag()).with_context(|| format!("go back to the node's {} namespace", kind.file()))?;
    }
    pinned
}

fn furnish(kinds: &[Shared], hostname: &str) -> anyhow::Result<()> {
    if kinds.contains(&Shared::Uts) {
        sethostname(hostname).with_context(|| format!("set the host name {hostname}"))?;
    }
    if kinds.contains(&Shared::Net) {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context("open a socket")?;
        sys::bring_up(socket.as_fd(), "lo").context("bring up the loopback interface")?;
    }
    Ok(())
}

fn pin_one(dir: &Path, kind: Shared) -> anyhow::Result<()> {
    let file = dir.join(kind.file());
    File::create(&file).with_context(|| format!("create {}", file.display()))?;
    mount(Some(&kind.own()), &file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("pin a namespace at {}", file.display()))
}
