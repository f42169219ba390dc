//! The stop of a life: who asks for one, the grace that it is given, and what is left to stop where nothing runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Container, Ended, Life, Orders, Stage, Surroundings, texts};
use crate::action::Action;
use crate::event::EventReason;
use crate::moment::Moment;
use crate::plan::ProbeKind;
use crate::status::{StopCause, WaitingReason};

/// The least grace that a container is given, as the kubelet's (`minimumGracePeriodInSeconds`).
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub(crate) cause: StopCause,
    pub(crate) since: Moment,
    pub(crate) kill_at: Moment,
    pub(super) killed: bool,
    pub(super) first_failure_at: Option<Moment>,
}

impl Container {
    pub(super) fn stop_unhealthy(&mut self, kind: ProbeKind, around: Surroundings<'_>, orders: &mut Orders) {
        let Stage::Running(life) = &mut self.stage else { return };
        let Some(prober) = life.probers.iter().find(|prober| prober.kind() == kind) else { return };
        let (since, failures) = prober.failures().unwrap_or((around.now, 0));
        let last_output = prober.status().last_problem.map(|problem| problem.message).unwrap_or_default();
        let grace = around.plan.probe(kind).and_then(|plan| plan.termination_grace).unwrap_or(around.pod.termination_grace);
        self.stop(StopCause::ProbeFailed { probe: kind, failures, last_output }, grace, around, orders);
        if let Stage::Running(Life { stop: Some(stop), .. }) = &mut self.stage {
            stop.first_failure_at = Some(since);
        }
    }

    /// Begin a stop, or shorten the grace of the one under way.
    pub(super) fn stop(&mut self, cause: StopCause, grace: Duration, around: Surroundings<'_>, orders: &mut Orders) {
        let Stage::Running(life) = &mut self.stage else { return };
        let kill_at = around.now + grace.max(LEAST_GRACE);
        if let Some(stop) = &mut life.stop {
            stop.kill_at = stop.kill_at.min(kill_at);
            return;
        }
        orders.note(around.plan, EventReason::Killing, texts::killing(&cause, around.plan));
        let signal = around.plan.stop_signal;
        orders.actions.push(Action::Terminate { container: around.index, run: self.run, signal });
        life.stop = Some(Stop { cause, since: around.now, kill_at, killed: false, first_failure_at: None });
    }

    /// The pod is to end.
    pub(crate) fn on_stop_requested(&mut self, grace: Duration, around: Surroundings<'_>, orders: &mut Orders) {
        self.retired = true;
        match &self.stage {
            Stage::Starting { .. } => {
                self.stop_once_started = Some(self.stop_once_started.map_or(grace, |other| other.min(grace)))
            }
            Stage::Running(_) => self.stop(StopCause::StopRequested, grace, around, orders),
            Stage::Idle | Stage::Waiting { .. } => self.end_without_life(),
            Stage::Ended { .. } => {}
        }
    }

    /// Somebody else ends it; but a stop that was asked for here is seen through.
    pub(crate) fn on_supervision_ended(&mut self) {
        self.retired = true;
        match &mut self.stage {
            Stage::Waiting { .. } => self.end_without_life(),
            Stage::Running(life) => life.stop = life.stop.take().filter(|stop| stop.cause == StopCause::StopRequested),
            Stage::Idle | Stage::Starting { .. } | Stage::Ended { .. } => {}
        }
    }

    fn end_without_life(&mut self) {
        let last = match &self.stage {
            Stage::Waiting { ended: Some(ended), .. } => Some(ended.termination.clone()),
            Stage::Idle | Stage::Starting { .. } | Stage::Running(_) | Stage::Waiting { .. } | Stage::Ended { .. } => {
                self.last_termination.clone()
            }
        };
        self.stage = Stage::Ended { termination: last };
    }

    /// The operator wants a new life at once.
    pub(crate) fn on_restart_requested(&mut self, around: Surroundings<'_>, orders: &mut Orders) {
        if self.retired {
            return;
        }
        match &mut self.stage {
            Stage::Running(_) => self.stop(StopCause::RestartRequested, around.pod.termination_grace, around, orders),
            Stage::Waiting { until, .. } => *until = around.now,
            Stage::Ended { termination: Some(termination) } => {
                let now = around.now;
                let asked =
                    Stop { cause: StopCause::RestartRequested, since: now, kill_at: now, killed: false, first_failure_at: None };
                let ended = Ended { termination: termination.clone(), stop: Some(asked) };
                self.last_termination = Some(termination.clone());
                let reason = WaitingReason::ContainerCreating;
                self.stage = Stage::Waiting { reason, message: None, until: around.now, ended: Some(ended) };
            }
            Stage::Idle | Stage::Starting { .. } | Stage::Ended { termination: None } => {}
        }
    }
}
