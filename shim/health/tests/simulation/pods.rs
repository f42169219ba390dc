//! Plans that the tests share.

use std::time::Duration;

use hshim_health::plan::{BackoffPlan, ContainerPlan, Origin, PodPlan, ProbeHandler, ProbePlan, RestartPolicy};

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn container(name: &str, restart_policy: RestartPolicy) -> ContainerPlan {
    ContainerPlan {
        name: name.to_owned(),
        image: "busybox".to_owned(),
        restart_policy,
        startup: None,
        liveness: None,
        readiness: None,
        backoff: BackoffPlan::KUBERNETES,
        errors_count_as_failures: false,
        stop_signal: 15,
    }
}

pub(crate) fn pod(containers: Vec<ContainerPlan>) -> PodPlan {
    PodPlan {
        name: "p".to_owned(),
        namespace: "default".to_owned(),
        uid: "u".to_owned(),
        origin: Origin::Manifest,
        termination_grace: seconds(30),
        containers,
    }
}

/// An exec probe with these seconds of initial delay and period, and a failure threshold.
pub(crate) fn probe(delay: u64, period: u64, failure_threshold: u32) -> ProbePlan {
    ProbePlan {
        handler: ProbeHandler::Exec { command: vec!["cat".to_owned(), "/tmp/healthy".to_owned()] },
        initial_delay: seconds(delay),
        period: seconds(period),
        timeout: seconds(1),
        success_threshold: 1,
        failure_threshold,
        termination_grace: None,
    }
}

/// Kubernetes' own example for liveness probes.
pub(crate) fn classic() -> PodPlan {
    let liveness = ContainerPlan { liveness: Some(probe(5, 5, 3)), ..container("liveness", RestartPolicy::Always) };
    PodPlan { name: "liveness-exec".to_owned(), ..pod(vec![liveness]) }
}
