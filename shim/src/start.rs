//! One start of a container, in two parts: up to the created init, and the start proper.
//!
//! ```text
//! delete what is left of the life before ─▶ fresh overlay ─▶ stdio ─▶ runtime create ─▶ init adopted
//!                                                           (state.json is written by the world)
//!                                                                       runtime start ◀──┘
//! ```
//! A start that fails leaves nothing that the next one would stumble over.

use std::os::fd::AsFd;

use hshim_health::input::{RunNumber, StartStage};
use hshim_health::plan::ContainerIndex;
use hshim_health::record::{Launch, Stdio};
use thiserror::Error;

use crate::bundle_spec::BundleSpec;
use crate::children::Child;
use crate::cleanup;
use crate::init::Init;
use crate::pod::Pod;
use crate::rootfs::{self, RootfsError};
use crate::runtime_command::{Cgroup, RuntimeError};
use crate::spawn::{self, StdioFds};

/// Why a container could not be started.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// The plan has no such container.
    #[error("the plan has no container {}", .0.0)]
    NoSuchContainer(ContainerIndex),
    /// Its writable layer.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Its bundle.
    #[error("{0}")]
    Bundle(std::io::Error),
    /// Its stdio.
    #[error("open the container's stdio: {0}")]
    Stdio(std::io::Error),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its process went away before it could be looked at.
    #[error("look at the created process: {0}")]
    Adopt(std::io::Error),
}

impl StartError {
    /// How far it came.
    pub(crate) fn stage(&self) -> StartStage {
        match self {
            Self::NoSuchContainer(_) | Self::Rootfs(_) | Self::Bundle(_) | Self::Stdio(_) => StartStage::Config,
            Self::Runtime(RuntimeError::Refused { .. } | RuntimeError::Gone { .. }) | Self::Adopt(_) => StartStage::Start,
            Self::Runtime(
                RuntimeError::Spawn { .. }
                | RuntimeError::Silent { .. }
                | RuntimeError::TimedOut { .. }
                | RuntimeError::State { .. }
                | RuntimeError::PidFile { .. },
            ) => StartStage::Create,
        }
    }
}

/// Whether the runtime may still know the container from a life before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It has never been created.
    Nothing,
    /// Its last life has ended.
    EndedLife,
}

/// Up to the created init.
pub(crate) async fn create(pod: &Pod, index: ContainerIndex, run: RunNumber, before: Before) -> Result<Init, StartError> {
    let (plan, launch) = pod.container(index).ok_or(StartError::NoSuchContainer(index))?;
    let files = pod.files(plan);
    // The runtime clears its own record of the life before while the layer is made: neither needs the other.
    let deleted = async {
        match before {
            Before::Nothing => Ok(()),
            Before::EndedLife => pod.runtime.forget_life(launch, &files).await,
        }
    };
    let layer = async { launch.rootfs.as_ref().map_or(Ok(()), rootfs::mount_fresh) };
    let (deleted, layer) = tokio::join!(biased; deleted, layer);
    deleted?;
    layer?;
    let created = create_with_stdio(pod, index, run, launch).await;
    let adopted = created.and_then(|child| Init::adopt(run, child).map_err(StartError::Adopt));
    if adopted.is_err() {
        discard(pod, index, launch).await;
    }
    adopted
}

/// The start proper. On failure nothing of the life is left running.
pub(crate) async fn start(pod: &Pod, index: ContainerIndex, init: &Init) -> Result<(), StartError> {
    let (plan, launch) = pod.container(index).ok_or(StartError::NoSuchContainer(index))?;
    let started = pod.runtime.start(&launch.id, &pod.files(plan)).await;
    if started.is_err()
        && let Err(error) = init.child.signal(libc::SIGKILL)
    {
        log::error!("kill the process {} that could not be started: {error}", init.child.pid());
    }
    Ok(started?)
}

async fn create_with_stdio(pod: &Pod, index: ContainerIndex, run: RunNumber, launch: &Launch) -> Result<Child, StartError> {
    let (plan, _) = pod.container(index).ok_or(StartError::NoSuchContainer(index))?;
    let files = pod.files(plan);
    match (&launch.stdio, pod.output(index), pod.inherited()) {
        (Stdio::Inherited, _, Some(stdio)) => Ok(pod.runtime.create(launch, &files, stdio.fds()).await?),
        (Stdio::CriLog { .. }, Some(output), _) => {
            let spec = BundleSpec::load(&launch.bundle).map_err(StartError::Bundle)?;
            output.begin(run).map_err(StartError::Stdio)?;
            let null = spawn::null().map_err(StartError::Stdio)?;
            let [stdout, stderr] = output.writers(spec.owner()).map_err(StartError::Stdio)?;
            let stdio = StdioFds([null.as_fd(), stdout.as_fd(), stderr.as_fd()]);
            Ok(pod.runtime.create(launch, &files, stdio).await?)
        }
        (Stdio::Inherited | Stdio::CriLog { .. }, _, _) => Err(StartError::Stdio(std::io::Error::from_raw_os_error(libc::EBADF))),
    }
}

/// Clears what a broken `create` may have left: the runtime itself first, then by hand.
async fn discard(pod: &Pod, index: ContainerIndex, launch: &Launch) {
    let Some((plan, _)) = pod.container(index) else { return };
    if let Err(error) = pod.runtime.delete(&launch.id, Cgroup::Keep, &pod.files(plan)).await {
        log::warn!("delete what is left of container {}: {error}", launch.id);
    }
    cleanup::remove_traces(pod, launch);
}
