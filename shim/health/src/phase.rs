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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::input::Exit;
    use crate::status::{Termination, TerminationReason, WaitingReason};

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    fn status(name: &str, ready: bool, state: ContainerState<Moment>) -> ContainerStatus<Moment> {
        ContainerStatus {
            name: name.to_owned(),
            image: String::new(),
            ready,
            started: ready,
            restart_count: 0,
            state,
            last_termination: None,
            stopping: None,
            last_restart: None,
            probes: Vec::new(),
        }
    }

    fn end(code: i32) -> Termination<Moment> {
        let exit = Exit { code, signal: None, oom_killed: false };
        Termination { reason: TerminationReason::Error, exit, message: None, started_at: at(0), finished_at: at(1) }
    }

    fn running(name: &str, ready: bool) -> ContainerStatus<Moment> {
        status(name, ready, ContainerState::Running { started_at: at(0), pid: 1, paused: false })
    }

    fn waiting(before: Option<i32>) -> ContainerStatus<Moment> {
        let state = ContainerState::Waiting { reason: WaitingReason::CrashLoopBackOff, message: None, until: None };
        ContainerStatus { last_termination: before.map(end), ..status("w", false, state) }
    }

    fn ended(code: i32) -> ContainerStatus<Moment> {
        status("e", false, ContainerState::Terminated(end(code)))
    }

    #[test]
    fn the_phase_is_the_kubelets() {
        let rows = [
            (vec![(waiting(None), true)], PodPhase::Pending),
            (vec![(waiting(None), true), (running("a", true), true)], PodPhase::Pending),
            (vec![(running("a", false), true)], PodPhase::Running),
            (vec![(waiting(Some(1)), true)], PodPhase::Running),
            (vec![(waiting(Some(1)), true), (ended(0), false)], PodPhase::Running),
            (vec![(running("a", true), true), (ended(1), false)], PodPhase::Running),
            (vec![(ended(0), false), (ended(0), false)], PodPhase::Succeeded),
            (vec![(ended(0), false), (ended(3), false)], PodPhase::Failed),
        ];
        for (containers, expected) in rows {
            let seen: Vec<_> =
                containers.iter().map(|(status, may_run_again)| Seen { status, may_run_again: *may_run_again }).collect();
            assert_eq!(phase(&seen), expected, "{containers:?}");
        }
    }

    fn ready_condition(phase: PodPhase, containers: &[ContainerStatus<Moment>]) -> Condition<Moment> {
        let found =
            conditions(phase, containers, &[], at(5)).into_iter().find(|condition| condition.kind == ConditionKind::Ready);
        found.unwrap()
    }

    #[test]
    fn the_unready_containers_are_named_in_order() {
        let condition = ready_condition(PodPhase::Running, &[running("a", false), running("b", true), running("c", false)]);
        assert_eq!((condition.status, condition.reason.as_deref()), (false, Some("ContainersNotReady")));
        assert_eq!(condition.message.as_deref(), Some("containers with unready status: [a c]"));
    }

    #[test]
    fn an_ended_pod_is_not_ready_for_that_reason() {
        let reason = |phase| ready_condition(phase, &[ended(0)]).reason;
        assert_eq!(reason(PodPhase::Succeeded).as_deref(), Some("PodCompleted"));
        assert_eq!(reason(PodPhase::Failed).as_deref(), Some("PodFailed"));
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let first = conditions(PodPhase::Running, &[running("a", false)], &[], at(1));
        let second = conditions(PodPhase::Running, &[running("b", false)], &first, at(2));
        assert!(second.iter().all(|condition| condition.last_transition == at(1)), "another message is no transition");
        let third = conditions(PodPhase::Running, &[running("b", true)], &second, at(3));
        let moved: Vec<_> =
            third.iter().filter(|condition| condition.last_transition == at(3)).map(|condition| condition.kind).collect();
        assert_eq!(moved, [ConditionKind::Ready, ConditionKind::ContainersReady]);
    }
}
