//! What all probes of one life share: who its processes are, its namespaces, its cgroups.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hshim_enter::identity::DecodeError;
use hshim_enter::{ContainerCgroup, Identity, Leaf, Target};
use hshim_health::layout;
use hshim_health::record::Launch;
use thiserror::Error;

use crate::init::Init;
use crate::pod::Pod;
use crate::runtime_command::RuntimeError;

/// The way into one life of a container.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Who its processes are.
    pub(super) identity: Identity,
    /// Its namespaces.
    pub(super) target: Target,
    cgroup: ContainerCgroup,
    v1_tasks: Vec<OwnedFd>,
}

/// Why there is no way in.
#[derive(Debug, Error)]
pub(crate) enum EntranceError {
    /// The identity that `create` should have written.
    #[error("read {}: {source}", path.display())]
    Identity {
        /// Of enter.bin.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is of another version.
    #[error("read {}: {source}", path.display())]
    Decode {
        /// Of enter.bin.
        path: PathBuf,
        /// Why not.
        source: DecodeError,
    },
    /// A runtime that is not hshim prepares none, and hshim could not either.
    #[error("prepare the identity of the container's processes: {0}")]
    Prepare(#[from] RuntimeError),
    /// The process or its cgroups.
    #[error("look at the container's process: {0}")]
    Look(#[from] io::Error),
}

impl Entrance {
    /// Of a running life; `files` is where the shim keeps its files about the container.
    pub(crate) async fn open(pod: &Pod, launch: &Launch, files: &Path, init: &Init) -> Result<Self, EntranceError> {
        let runtime = pod.runtime.command();
        let path = if runtime.is_hshim {
            layout::enter_identity(&runtime.root, &launch.id)
        } else {
            let path = files.join("enter.bin");
            pod.runtime.prepare_identity(&launch.bundle, &path, files).await?;
            path
        };
        let bytes = fs::read(&path).map_err(|source| EntranceError::Identity { path: path.clone(), source })?;
        let identity = Identity::from_bytes(&bytes).map_err(|source| EntranceError::Decode { path, source })?;
        let pidfd = init.child.pidfd().try_clone_to_owned()?;
        let target = Target::from_pidfd(init.child.pid(), pidfd)?;
        let cgroup = ContainerCgroup::of_pid(init.child.pid())?;
        let v1_tasks = cgroup.open_v1_tasks()?;
        Ok(Self { identity, target, cgroup, v1_tasks })
    }

    /// A frozen container is not probed.
    pub(super) fn is_frozen(&self) -> Result<bool, EntranceError> {
        Ok(self.cgroup.is_frozen()?)
    }

    /// A fresh cgroup for one attempt. One that an earlier shim left is not used: it may have been killed.
    pub(super) fn make_leaf(&self, number: u64) -> io::Result<Leaf> {
        Leaf::create(&self.cgroup, number)
    }

    /// To be joined besides the leaf.
    pub(super) fn v1_tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.v1_tasks.iter().map(AsFd::as_fd).collect()
    }
}
