//! The pod's phase and conditions, from its containers (kubelet_pods.go `getPhase`, status/generate.go).

use crate::moment::Moment;
use crate::status::{Condition, ConditionKind, ContainerState, ContainerStatus, PodPhase};

/// One container as the phase sees it.
pub(crate) struct Seen<'a, T> {
    pub(crate) status: &'a ContainerStatus<T>,
    /// It has not ended for good.
    pub(crate) may_run_again: bool,
}

/// Summary of the containers' states.
pub(crate) fn phase<T>(containers: &[Seen<'_, T>]) -> PodPhase {
    let never_ran = |seen: &Seen<'_, T>| {
        matches!(seen.status.state, ContainerState::Waiting { .. }) && seen.status.last_termination.is_none()
    };
    let runs = |seen: &Seen<'_, T>| matches!(seen.status.state, ContainerState::Running { .. });
    if containers.iter().any(|seen| never_ran(seen) && seen.may_run_again) {
        return PodPhase::Pending;
    }
    if containers.iter().any(runs) || containers.iter().any(|seen| seen.may_run_again) {
        return PodPhase::Running;
    }
    if containers.iter().all(|seen| ended_well(seen.status)) { PodPhase::Succeeded } else { PodPhase::Failed }
}

fn ended_well<T>(status: &ContainerStatus<T>) -> bool {
    match &status.state {
        ContainerState::Terminated(termination) => termination.exit.code == 0,
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => false,
    }
}

/// The conditions of a pod in this phase; `before` lends its transition times to those whose status did not change.
pub(crate) fn conditions(
    phase: PodPhase,
    containers: &[ContainerStatus<Moment>],
    before: &[Condition<Moment>],
    now: Moment,
) -> Vec<Condition<Moment>> {
    let readiness = readiness(phase, containers);
    let initialized = (phase == PodPhase::Succeeded).then(|| ("PodCompleted".to_owned(), String::new()));
    [
        (ConditionKind::PodReadyToStartContainers, true, None),
        (ConditionKind::Initialized, true, initialized),
        (ConditionKind::Ready, readiness.is_none(), readiness.clone()),
        (ConditionKind::ContainersReady, readiness.is_none(), readiness),
        (ConditionKind::PodScheduled, true, None),
    ]
    .into_iter()
    .map(|(kind, status, why)| {
        let same = before.iter().find(|old| old.kind == kind && old.status == status);
        let (reason, message) = why.unzip();
        let message = message.filter(|text: &String| !text.is_empty());
        Condition { kind, status, reason, message, last_transition: same.map_or(now, |old| old.last_transition) }
    })
    .collect()
}

/// Why the pod is not ready: reason and message.
fn readiness(phase: PodPhase, containers: &[ContainerStatus<Moment>]) -> Option<(String, String)> {
    match phase {
        PodPhase::Succeeded => return Some(("PodCompleted".to_owned(), String::new())),
        PodPhase::Failed => return Some(("PodFailed".to_owned(), String::new())),
        PodPhase::Pending | PodPhase::Running => {}
    }
    let unready: Vec<&str> = containers.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return None;
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Some(("ContainersNotReady".to_owned(), message))
}
