//! The end of a life: what it was, and what follows it, the next life at once or after a wait, or none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Container, Orders, Stage, Stop, Surroundings, texts};
use crate::event::EventReason;
use crate::input::Exit;
use crate::moment::Moment;
use crate::status::{Restart, StopCause, Termination, TerminationReason, WaitingReason};

/// Exit code of a container whose process could not be started, as containerd's.
const START_ERROR: i32 = 128;

/// How the life before ended, kept until the next one is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(super) termination: Termination<Moment>,
    pub(super) stop: Option<Stop>,
}

impl Container {
    pub(super) fn on_start_error(&mut self, since: Moment, message: String, around: Surroundings<'_>, orders: &mut Orders) {
        self.count_restart();
        let exit = Exit { code: START_ERROR, signal: None, oom_killed: false };
        let termination = Termination {
            reason: TerminationReason::StartError,
            exit,
            message: Some(message),
            started_at: since,
            finished_at: around.now,
        };
        self.settle(Ended { termination, stop: None }, around, orders);
    }

    pub(crate) fn on_exited(&mut self, exit: Exit, around: Surroundings<'_>, orders: &mut Orders) {
        if let Stage::Starting { .. } = self.stage {
            // It ended before the answer to its start came.
            self.begin_life(0, around, orders);
        }
        let Stage::Running(life) = &mut self.stage else { return };
        let termination = Termination {
            reason: termination_reason(exit),
            exit,
            message: None,
            started_at: life.started_at,
            finished_at: around.now,
        };
        let stop = life.stop.take();
        self.settle(Ended { termination, stop }, around, orders);
    }

    /// Decide what follows an end.
    fn settle(&mut self, ended: Ended, around: Surroundings<'_>, orders: &mut Orders) {
        let cause = ended.cause();
        let again = !self.is_left(around) && around.plan.restart_policy.restarts_after(&cause, ended.termination.exit);
        let exceeded = again && cause != StopCause::RestartRequested && !self.backoff.allows(&around.plan.backoff, around.now);
        if exceeded {
            orders.warn(around.plan, EventReason::BackoffLimitExceeded, texts::budget(around));
        }
        if !again || exceeded {
            self.stage = Stage::Ended { termination: Some(ended.termination) };
            return;
        }
        let wait = match cause {
            StopCause::RestartRequested => Duration::ZERO,
            StopCause::ProbeFailed { .. } | StopCause::StopRequested | StopCause::Itself => {
                self.backoff.wait_after(&around.plan.backoff, around.now)
            }
        };
        self.last_termination = Some(ended.termination.clone());
        self.last_restart = Some(ended.clone().into_restart(around.now + wait));
        if !wait.is_zero() {
            orders.warn(around.plan, EventReason::BackOff, texts::backing_off_event(around));
        }
        let (reason, message) = match ended.termination.reason {
            TerminationReason::StartError => (WaitingReason::RunContainerError, ended.termination.message.clone()),
            TerminationReason::Completed
            | TerminationReason::Error
            | TerminationReason::OOMKilled
            | TerminationReason::Unknown => (WaitingReason::CrashLoopBackOff, Some(texts::backing_off_message(wait, around))),
        };
        self.stage = Stage::Waiting { reason, message, until: around.now + wait, ended: Some(ended) };
    }
}

impl Ended {
    pub(super) fn cause(&self) -> StopCause {
        self.stop.as_ref().map_or(StopCause::Itself, |stop| stop.cause.clone())
    }

    /// The restart that follows this end, ordered at `restarted_at`.
    pub(super) fn into_restart(self, restarted_at: Moment) -> Restart<Moment> {
        let cause = self.cause();
        let finished_at = self.termination.finished_at;
        let (decided_at, grace, grace_exceeded, first_failure_at) = match self.stop {
            Some(stop) => (stop.since, stop.kill_at.since(stop.since), stop.killed, stop.first_failure_at),
            None => (finished_at, Duration::ZERO, false, None),
        };
        let backoff = match cause {
            StopCause::RestartRequested => Duration::ZERO,
            StopCause::ProbeFailed { .. } | StopCause::StopRequested | StopCause::Itself => restarted_at.since(finished_at),
        };
        Restart {
            cause,
            first_failure_at,
            decided_at,
            grace_exceeded,
            grace,
            termination: self.termination,
            backoff,
            restarted_at,
        }
    }
}

const fn termination_reason(exit: Exit) -> TerminationReason {
    match exit {
        Exit { oom_killed: true, .. } => TerminationReason::OOMKilled,
        Exit { code: 0, .. } => TerminationReason::Completed,
        Exit { .. } => TerminationReason::Error,
    }
}
