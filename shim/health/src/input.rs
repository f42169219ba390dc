//! What happened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{ContainerIndex, ProbeKind};
use crate::restart_owner::Agent;

/// Which life of a container: 0 is the first, each restart adds one. Every action that starts something carries it and its
/// answer brings it back, so that an answer that belongs to an earlier life is recognised and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunNumber(pub u32);

/// One fact for [`crate::supervisor::Supervisor::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `start` was asked for (bundles; a pod made by `apply` starts by itself).
    StartRequested,
    /// Answer to [`crate::Action::Start`]: the process runs.
    Started {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// Process id of its init in the shim's pid namespace; only printed.
        pid: u32,
    },
    /// Answer to [`crate::Action::Start`]: it could not be created or started.
    StartFailed {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// How far it came.
        stage: StartStage,
        /// The runtime's error text.
        message: String,
    },
    /// The init process ended and was reaped.
    Exited {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// How.
        exit: Exit,
    },
    /// Answer to [`crate::Action::Probe`].
    Probed {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// Which probe.
        probe: ProbeKind,
        /// The attempt's number from the action.
        attempt: u64,
        /// What it found.
        outcome: Outcome,
    },
    /// The pod is to end (delete, or a terminating `kill` of a bundle). Repeated requests may only shorten the grace.
    StopRequested {
        /// Instead of the plan's grace.
        grace: Option<Duration>,
    },
    /// The caller ends the containers itself (a terminating `kill` of a bundle): nothing is probed or started any more, and
    /// no signal is sent from here.
    SupervisionEnded,
    /// A restart of one container was asked for by the operator: it is stopped with its grace and started again without back-off.
    RestartRequested {
        /// Whose.
        container: ContainerIndex,
    },
    /// The container was frozen.
    Paused {
        /// Whose.
        container: ContainerIndex,
    },
    /// The container was thawed.
    Resumed {
        /// Whose.
        container: ContainerIndex,
    },
    /// The node's agent came, went or asked something (containers of containerd).
    AgentSeen(Agent),
    /// Nothing but the time.
    Tick,
}

/// How far a start came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStage {
    /// Before the runtime was asked: root file system, volumes, spec (`CreateContainerConfigError`).
    Config,
    /// The runtime could not be asked, or did not answer (`CreateContainerError`).
    Create,
    /// The runtime refused to `create` or to `start`: it has no such command … (`RunContainerError`, exit 128 `StartError`: for
    /// containerd and the kubelet both belong to the start).
    Start,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for lack of memory during this life.
    pub oom_killed: bool,
}

/// What one attempt of a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is healthy.
    Success,
    /// It is not; the text is what the user reads after `… probe failed: `.
    Failure(String),
    /// The attempt could not be made; shown, never counted as a failure. The text follows `… probe errored and resulted in unknown state: `.
    Error(String),
    /// The container is frozen: nothing was tried, nothing is shown.
    Skipped,
}
