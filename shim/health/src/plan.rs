//! What a supervisor is to do, as meant: defaults filled in, units as types, nothing left to validate.
//!
//! Made by admission from a Pod manifest or from annotations, written as JSON into the supervision directory
//! ([`crate::record::Supervision`]), read by the shim.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One pod: what the supervisor of one shim looks after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlan {
    /// `metadata.name`; of a bundle, its container id.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`, a random UUID made at apply or create.
    pub uid: String,
    /// How the pod came to be; decides who starts the first run.
    pub origin: Origin,
    /// `spec.terminationGracePeriodSeconds`: how long a container may take to end by itself.
    pub termination_grace: Duration,
    /// In the order of the manifest; [`ContainerIndex`] counts them from 0.
    pub containers: Vec<ContainerPlan>,
}

/// The way in by which a pod came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// `hshim apply`: containers are started at once.
    Manifest,
    /// An OCI bundle: created at once, started when `start` is asked for ([`crate::Input::StartRequested`]).
    Bundle,
}

/// Position of a container in [`PodPlan::containers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerIndex(pub usize);

/// One ordinary container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPlan {
    /// Unique in the pod.
    pub name: String,
    /// As written in the manifest; empty for a bundle.
    pub image: String,
    /// Effective policy: the container's own if it has one, else the pod's.
    pub restart_policy: RestartPolicy,
    /// Startup probe.
    pub startup: Option<ProbePlan>,
    /// Liveness probe.
    pub liveness: Option<ProbePlan>,
    /// Readiness probe.
    pub readiness: Option<ProbePlan>,
    /// Waits between restarts.
    pub backoff: BackoffPlan,
    /// A probe that could not be made (its command does not exist …) counts as a failure; Kubernetes never counts it.
    #[serde(default)]
    pub errors_count_as_failures: bool,
    /// Signal number that asks the container to end (`SIGTERM` = 15 unless the image or the manifest says otherwise).
    pub stop_signal: i32,
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After every exit.
    Always,
    /// After a failed exit, and after a kill by a probe whatever the exit code.
    OnFailure,
    /// Never; a failed probe still kills.
    Never,
    /// Only after a kill by a probe: the default of a bundle that has probes and no `hshim.dev/restartPolicy`.
    AfterProbeKill,
}

/// The three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    /// Gates the others; its failure restarts.
    Startup,
    /// Its failure restarts.
    Liveness,
    /// Its result is the container's Ready.
    Readiness,
}

impl ProbeKind {
    /// `Liveness`, as events begin.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// `liveness`, as sentences use it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }

    /// All kinds, in the order of evaluation.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];
}

impl ContainerPlan {
    /// The probe of this kind, if there is one.
    #[must_use]
    pub const fn probe(&self, kind: ProbeKind) -> Option<&ProbePlan> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }
}

/// One probe with its timing. Defaults and meaning: `Probe` of the core/v1 API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbePlan {
    /// What one attempt does.
    pub handler: ProbeHandler,
    /// From the start of the container to the first attempt.
    pub initial_delay: Duration,
    /// Between the starts of attempts.
    pub period: Duration,
    /// Of one attempt.
    pub timeout: Duration,
    /// Successes in a row that make a success.
    pub success_threshold: u32,
    /// Failures in a row that make a failure.
    pub failure_threshold: u32,
    /// Replaces the pod's grace when this probe kills.
    pub termination_grace: Option<Duration>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeHandler {
    /// Run a command in the container; exit status 0 is success.
    Exec {
        /// argv, not interpreted by a shell; `$(VAR)` already expanded.
        command: Vec<String>,
    },
}

/// Back-off between restarts: `initial`, doubled each time up to `cap`, forgotten after a run longer than `reset_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackoffPlan {
    /// The first wait (Kubernetes: 10 s).
    pub initial: Duration,
    /// The longest wait (Kubernetes: 300 s).
    pub cap: Duration,
    /// A run that outlasts this resets the back-off (Kubernetes: 600 s).
    pub reset_after: Duration,
    /// When restarts end for good; never in Kubernetes.
    #[serde(default)]
    pub budget: Option<RestartBudget>,
}

/// How many restarts there may be within a time; what would be one more is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartBudget {
    /// So many.
    pub restarts: u32,
    /// Within this time.
    pub within: Duration,
}

impl BackoffPlan {
    /// Kubernetes' numbers.
    pub const KUBERNETES: Self = Self {
        initial: Duration::from_secs(10),
        cap: Duration::from_secs(300),
        reset_after: Duration::from_secs(600),
        budget: None,
    };

    /// Under containerd: quick, and bounded, so that the kubelet takes over a container that restarts do not help.
    pub const CONTAINERD: Self = Self {
        initial: Duration::from_millis(100),
        cap: Duration::from_secs(10),
        reset_after: Duration::from_secs(600),
        budget: Some(RestartBudget { restarts: 3, within: Duration::from_secs(600) }),
    };
}
