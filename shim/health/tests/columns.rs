//! The words of `kubectl get pods`, for statuses of several containers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use hshim_health::columns::{Row, status_word};
use hshim_health::input::Exit;
use hshim_health::status::{
    Condition, ConditionKind, ContainerState, ContainerStatus, PodPhase, PodStatus, Termination, TerminationReason, WaitingReason,
};
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn container(ready: bool, state: ContainerState<Timestamp>) -> ContainerStatus<Timestamp> {
    ContainerStatus {
        name: "c".to_owned(),
        image: "i".to_owned(),
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

fn running(ready: bool) -> ContainerStatus<Timestamp> {
    container(ready, ContainerState::Running { started_at: at(0), pid: 1, paused: false })
}

fn waiting(reason: WaitingReason) -> ContainerStatus<Timestamp> {
    container(false, ContainerState::Waiting { reason, message: None, until: None })
}

fn termination(reason: TerminationReason, code: i32, finished: i64) -> Termination<Timestamp> {
    let exit = Exit { code, signal: None, oom_killed: false };
    Termination { reason, exit, message: None, started_at: at(0), finished_at: at(finished) }
}

fn ended(reason: TerminationReason, code: i32) -> ContainerStatus<Timestamp> {
    container(false, ContainerState::Terminated(termination(reason, code, 0)))
}

fn pod(phase: PodPhase, containers: Vec<ContainerStatus<Timestamp>>) -> PodStatus<Timestamp> {
    let status = containers.iter().all(|container| container.ready);
    let ready = Condition { kind: ConditionKind::Ready, status, reason: None, message: None, last_transition: at(0) };
    PodStatus { phase, conditions: vec![ready], started_at: at(0), stop_requested_at: None, containers }
}

#[test]
fn the_status_is_that_of_the_first_container_which_does_not_run() {
    use TerminationReason::{Completed, Error, OOMKilled, StartError, Unknown};
    use WaitingReason::{ContainerCreating, CrashLoopBackOff, CreateContainerError};
    let rows = [
        (vec![running(true)], "Running"),
        (vec![running(false)], "Running"),
        (vec![waiting(ContainerCreating)], "ContainerCreating"),
        (vec![waiting(CreateContainerError)], "CreateContainerError"),
        (vec![running(true), waiting(CrashLoopBackOff)], "CrashLoopBackOff"),
        (vec![ended(Error, 1), waiting(CrashLoopBackOff)], "Error"),
        (vec![waiting(CrashLoopBackOff), ended(Error, 1)], "CrashLoopBackOff"),
        (vec![ended(OOMKilled, 137)], "OOMKilled"),
        (vec![ended(StartError, 128)], "StartError"),
        (vec![ended(Unknown, 255)], "ExitCode:255"),
        (vec![ended(Completed, 0)], "Completed"),
        (vec![ended(Completed, 0), running(true)], "NotReady"),
        (vec![ended(Completed, 0), running(false)], "Completed"),
        (vec![ended(Completed, 0), ended(Error, 3), running(true)], "Error"),
        (vec![running(true), ended(Completed, 0)], "NotReady"),
    ];
    for (containers, expected) in rows {
        let status = pod(PodPhase::Running, containers);
        assert_eq!(status_word(&status), expected, "{:?}", status.containers);
    }
}

#[test]
fn a_pod_that_is_being_deleted_is_terminating_until_it_has_ended() {
    let deleted = |phase, containers| PodStatus { stop_requested_at: Some(at(1)), ..pod(phase, containers) };
    assert_eq!(status_word(&deleted(PodPhase::Running, vec![running(true)])), "Terminating");
    assert_eq!(status_word(&deleted(PodPhase::Pending, vec![waiting(WaitingReason::ContainerCreating)])), "Terminating");
    assert_eq!(status_word(&deleted(PodPhase::Succeeded, vec![ended(TerminationReason::Completed, 0)])), "Completed");
}

#[test]
fn restarts_are_summed_and_the_latest_end_is_told() {
    let restarted = |count, finished| ContainerStatus {
        restart_count: count,
        last_termination: Some(termination(TerminationReason::Error, 1, finished)),
        ..running(true)
    };
    let row = Row::of(&pod(PodPhase::Running, vec![restarted(2, 40), restarted(3, 70), running(false)]), at(100));
    assert_eq!((row.ready.as_str(), row.restarts.as_str(), row.age.as_str()), ("2/3", "5 (30s ago)", "100s"));
    let calm = Row::of(&pod(PodPhase::Running, vec![running(true)]), at(600));
    assert_eq!((calm.restarts.as_str(), calm.age.as_str()), ("0", "10m"));
}

#[test]
fn a_time_in_the_future_counts_as_now() {
    assert_eq!(Row::of(&pod(PodPhase::Running, vec![running(true)]), at(-5)).age, "0s");
}
