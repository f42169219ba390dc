//! Status: what is true now.
//!
//! Words and reasons are those of `PodStatus` in the core/v1 API. `T` is [`crate::Moment`] inside the supervisor and
//! [`jiff::Timestamp`] on disk. A healthy pod's status does not change: nothing in it moves with a successful probe.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::input::Exit;
use crate::plan::ProbeKind;

/// Status of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus<T> {
    /// Summary of the containers' states.
    pub phase: PodPhase,
    /// In the order PodReadyToStartContainers, Initialized, Ready, ContainersReady, PodScheduled.
    pub conditions: Vec<Condition<T>>,
    /// When the supervisor took the pod.
    pub started_at: T,
    /// The pod was asked to stop at this time (`metadata.deletionTimestamp`).
    pub stop_requested_at: Option<T>,
    /// In the order of the plan.
    pub containers: Vec<ContainerStatus<T>>,
}

/// `PodStatus.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodPhase {
    /// Not every container has been started yet.
    Pending,
    /// At least one container runs or will be restarted.
    Running,
    /// All ended with 0 and none will be restarted.
    Succeeded,
    /// All ended, at least one not with 0, and none will be restarted.
    Failed,
}

/// One of `PodStatus.conditions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition<T> {
    /// `Ready`, `ContainersReady` …
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// True or False.
    pub status: bool,
    /// A word, when false.
    pub reason: Option<String>,
    /// A sentence, when false.
    pub message: Option<String>,
    /// When `status` last changed.
    pub last_transition: T,
}

/// Kinds of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum ConditionKind {
    PodReadyToStartContainers,
    Initialized,
    Ready,
    ContainersReady,
    PodScheduled,
}

/// Status of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus<T> {
    /// Its name in the pod.
    pub name: String,
    /// As in the manifest.
    pub image: String,
    /// May be sent traffic.
    pub ready: bool,
    /// The startup probe has passed (or there is none) in this life.
    pub started: bool,
    /// Restarts so far; never decreases.
    pub restart_count: u32,
    /// Now.
    pub state: ContainerState<T>,
    /// How the life before this one ended.
    pub last_termination: Option<Termination<T>>,
    /// A stop is under way: the signal has been sent, the process has not ended.
    pub stopping: Option<Stopping<T>>,
    /// Why the last restart happened, or why the one happens that a back-off delays; what `hshim why` explains.
    pub last_restart: Option<Restart<T>>,
    /// Where each probe stands.
    pub probes: Vec<ProbeStatus<T>>,
}

/// Waiting, running or terminated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ContainerState<T> {
    /// Not running, to be started.
    Waiting {
        /// Why it waits.
        reason: WaitingReason,
        /// In words.
        message: Option<String>,
        /// When it will be tried again, when that is known.
        until: Option<T>,
    },
    /// Running.
    Running {
        /// Since.
        started_at: T,
        /// Init process; for display.
        pid: u32,
        /// Frozen: probes rest.
        paused: bool,
    },
    /// Ended; restarted or not, see the policy.
    Terminated(Termination<T>),
}

/// `ContainerStateWaiting.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kubelet's own words")]
pub enum WaitingReason {
    ContainerCreating,
    /// A bundle: `create` was done, `start` not asked for yet.
    Created,
    CrashLoopBackOff,
    CreateContainerConfigError,
    CreateContainerError,
    RunContainerError,
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination<T> {
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`.
    pub reason: TerminationReason,
    /// Exit code and signal.
    pub exit: Exit,
    /// In words, when there is something to say (a start error).
    pub message: Option<String>,
    /// When this life began; the same as `finished_at` when it never ran.
    pub started_at: T,
    /// When it ended.
    pub finished_at: T,
}

/// `ContainerStateTerminated.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kubelet's and containerd's own words")]
pub enum TerminationReason {
    Completed,
    Error,
    OOMKilled,
    StartError,
    Unknown,
}

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping<T> {
    /// What began it.
    pub cause: StopCause,
    /// When the stop signal was sent.
    pub since: T,
    /// When SIGKILL follows.
    pub kill_at: T,
}

/// Why a container was stopped or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StopCause {
    /// A probe crossed its failure threshold.
    ProbeFailed {
        /// Which.
        probe: ProbeKind,
        /// How many in a row.
        failures: u32,
        /// What the last attempt said.
        last_output: String,
    },
    /// The operator asked for a restart.
    RestartRequested,
    /// The pod was asked to stop.
    StopRequested,
    /// Nobody: it ended by itself.
    Itself,
}

/// Why and how a container was restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart<T> {
    /// What ended the life before.
    pub cause: StopCause,
    /// When the first of the failures in a row was seen, for a probe.
    pub first_failure_at: Option<T>,
    /// When the stop was decided; when it ended by itself, the end.
    pub decided_at: T,
    /// The stop signal was not heeded within the grace, so SIGKILL was sent.
    pub grace_exceeded: bool,
    /// The grace that was given.
    pub grace: Duration,
    /// How it ended.
    pub termination: Termination<T>,
    /// The back-off that was kept before the new life began.
    pub backoff: Duration,
    /// When the new life was ordered; during a back-off, when it will be.
    pub restarted_at: T,
}

/// Where a probe stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus<T> {
    /// Which.
    pub probe: ProbeKind,
    /// The verdict: none until the first threshold is crossed.
    pub verdict: Option<Verdict>,
    /// Failures in a row up to now; 0 while it succeeds.
    pub failures: u32,
    /// What the last failure or error said, and when.
    pub last_problem: Option<Problem<T>>,
}

/// A crossed threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "two words")]
pub enum Verdict {
    Success,
    Failure,
}

/// A failure or error of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem<T> {
    /// Its text.
    pub message: String,
    /// When.
    pub at: T,
}
