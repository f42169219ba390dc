//! The same status with other times: [`crate::Moment`]s become wall time when a record is written.

use crate::status::{
    Condition, ContainerState, ContainerStatus, PodStatus, ProbeStatus, Problem, Restart, Stopping, Termination,
};

impl<T> PodStatus<T> {
    /// The same status with its times put through `stamp`.
    #[must_use]
    pub fn map_time<U>(self, mut stamp: impl FnMut(T) -> U) -> PodStatus<U> {
        let Self { phase, conditions, started_at, stop_requested_at, containers } = self;
        let stamp = &mut stamp;
        PodStatus {
            phase,
            conditions: conditions.into_iter().map(|it| it.map_time(stamp)).collect(),
            started_at: stamp(started_at),
            stop_requested_at: stop_requested_at.map(&mut *stamp),
            containers: containers.into_iter().map(|it| it.map_time(stamp)).collect(),
        }
    }
}

impl<T> Condition<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> Condition<U> {
        let Self { kind, status, reason, message, last_transition } = self;
        Condition { kind, status, reason, message, last_transition: stamp(last_transition) }
    }
}

impl<T> ContainerStatus<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> ContainerStatus<U> {
        let Self { name, image, ready, started, restart_count, state, last_termination, stopping, last_restart, probes } = self;
        ContainerStatus {
            name,
            image,
            ready,
            started,
            restart_count,
            state: state.map_time(stamp),
            last_termination: last_termination.map(|it| it.map_time(stamp)),
            stopping: stopping.map(|it| it.map_time(stamp)),
            last_restart: last_restart.map(|it| it.map_time(stamp)),
            probes: probes.into_iter().map(|it| it.map_time(stamp)).collect(),
        }
    }
}

impl<T> ContainerState<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> ContainerState<U> {
        match self {
            Self::Waiting { reason, message, until } => ContainerState::Waiting { reason, message, until: until.map(stamp) },
            Self::Running { started_at, pid, paused } => ContainerState::Running { started_at: stamp(started_at), pid, paused },
            Self::Terminated(termination) => ContainerState::Terminated(termination.map_time(stamp)),
        }
    }
}

impl<T> Termination<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> Termination<U> {
        let Self { reason, exit, message, started_at, finished_at } = self;
        Termination { reason, exit, message, started_at: stamp(started_at), finished_at: stamp(finished_at) }
    }
}

impl<T> Stopping<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> Stopping<U> {
        let Self { cause, since, kill_at } = self;
        Stopping { cause, since: stamp(since), kill_at: stamp(kill_at) }
    }
}

impl<T> Restart<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> Restart<U> {
        let Self { cause, first_failure_at, decided_at, grace_exceeded, grace, termination, backoff, restarted_at } = self;
        Restart {
            cause,
            first_failure_at: first_failure_at.map(&mut *stamp),
            decided_at: stamp(decided_at),
            grace_exceeded,
            grace,
            termination: termination.map_time(stamp),
            backoff,
            restarted_at: stamp(restarted_at),
        }
    }
}

impl<T> ProbeStatus<T> {
    fn map_time<U>(self, stamp: &mut impl FnMut(T) -> U) -> ProbeStatus<U> {
        let Self { probe, verdict, failures, last_problem } = self;
        let last_problem = last_problem.map(|Problem { message, at }| Problem { message, at: stamp(at) });
        ProbeStatus { probe, verdict, failures, last_problem }
    }
}
