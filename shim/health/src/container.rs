//! One container through its lives.
//!
//! ```text
//!  Idle ──start asked──▶ Starting ──Started──▶ Running ──verdict, stop or restart asked──▶ Running + Stop ──grace over──▶ killed
//!                          ▲  │ StartFailed        │ Exited                                       │ Exited
//!                          │  ▼                    ▼                                              ▼
//!                          └─ Waiting ◀──policy: restart── (how it ended) ──policy: not again──▶ Ended
//! ```
//!
//! `Idle` is a bundle between `create` and `start`. The wait of `Waiting` may be nothing: then the next life is ordered in the
//! same step.

mod answer;
mod ended;
mod life;
mod orders;
mod stop;
mod texts;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use answer::Answer;
use ended::Ended;
use life::Life;
pub(crate) use orders::Orders;
use stop::Stop;

use crate::action::Action;
use crate::backoff::Backoff;
use crate::event::EventReason;
use crate::input::{RunNumber, StartStage};
use crate::moment::Moment;
use crate::plan::{ContainerIndex, ContainerPlan, Origin, PodPlan, ProbeKind};
use crate::prober::Prober;
use crate::restart_owner::Restarter;
use crate::status::{Restart, StopCause, Termination, Verdict, WaitingReason};

/// What a container needs to know about its pod.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) pod: &'a PodPlan,
    pub(crate) plan: &'a ContainerPlan,
    pub(crate) index: ContainerIndex,
    /// Who starts it again.
    pub(crate) restarter: Restarter,
    pub(crate) now: Moment,
}

/// State of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) run: RunNumber,
    pub(crate) restart_count: u32,
    pub(crate) stage: Stage,
    pub(crate) last_termination: Option<Termination<Moment>>,
    pub(crate) last_restart: Option<Restart<Moment>>,
    /// Nothing is started or probed any more.
    retired: bool,
    /// The stop that awaits the answer to a start under way.
    stop_once_started: Option<Duration>,
    backoff: Backoff,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Idle,
    Starting { since: Moment },
    Running(Life),
    Waiting { reason: WaitingReason, message: Option<String>, until: Moment, ended: Option<Ended> },
    Ended { termination: Option<Termination<Moment>> },
}

impl Container {
    pub(crate) fn new(origin: Origin, now: Moment) -> Self {
        let stage = match origin {
            Origin::Manifest => {
                Stage::Waiting { reason: WaitingReason::ContainerCreating, message: None, until: now, ended: None }
            }
            Origin::Bundle => Stage::Idle,
        };
        Self {
            run: RunNumber(0),
            restart_count: 0,
            stage,
            last_termination: None,
            last_restart: None,
            retired: false,
            stop_once_started: None,
            backoff: Backoff::default(),
        }
    }

    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    /// The startup probe has passed, or there is none, in a life that runs.
    pub(crate) fn is_started(&self) -> bool {
        match &self.stage {
            Stage::Running(life) => life.is_started(),
            Stage::Idle | Stage::Starting { .. } | Stage::Waiting { .. } | Stage::Ended { .. } => false,
        }
    }

    /// May be sent traffic: not while a stop is under way (deviation 20 of docs/kubelet-differences.md).
    pub(crate) fn is_ready(&self) -> bool {
        match &self.stage {
            Stage::Running(life) => {
                let readiness = life.probers.iter().find(|prober| prober.kind() == ProbeKind::Readiness);
                let passes = readiness.is_none_or(|prober| prober.verdict() == Some(Verdict::Success));
                !self.retired && life.stop.is_none() && life.is_started() && passes
            }
            Stage::Idle | Stage::Starting { .. } | Stage::Waiting { .. } | Stage::Ended { .. } => false,
        }
    }

    /// A stop is under way that the policy lets a next life follow.
    pub(crate) fn is_stopped_for_restart(&self, plan: &ContainerPlan) -> bool {
        let cause = match &self.stage {
            Stage::Running(Life { stop: Some(stop), .. }) if !self.retired => &stop.cause,
            Stage::Running(_) | Stage::Idle | Stage::Starting { .. } | Stage::Waiting { .. } | Stage::Ended { .. } => {
                return false;
            }
        };
        match cause {
            StopCause::ProbeFailed { .. } => plan.restart_policy.restarts_after_probe_kill(),
            StopCause::RestartRequested => true,
            StopCause::StopRequested | StopCause::Itself => false,
        }
    }

    /// When something is to be done without being told.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.stage {
            Stage::Waiting { until, .. } => Some(*until),
            Stage::Running(life) => match &life.stop {
                Some(stop) => (!stop.killed).then_some(stop.kill_at),
                None if self.retired => None,
                None => life.probe_deadline(),
            },
            Stage::Idle | Stage::Starting { .. } | Stage::Ended { .. } => None,
        }
    }

    pub(crate) fn on_start_requested(&mut self, around: Surroundings<'_>, orders: &mut Orders) {
        if self.stage == Stage::Idle && !self.retired {
            self.order_start(around, orders);
        }
    }

    pub(crate) fn on_started(&mut self, pid: u32, around: Surroundings<'_>, orders: &mut Orders) {
        let Stage::Starting { .. } = self.stage else { return };
        self.begin_life(pid, around, orders);
        if let Some(grace) = self.stop_once_started.take() {
            self.stop(StopCause::StopRequested, grace, around, orders);
        }
    }

    fn begin_life(&mut self, pid: u32, around: Surroundings<'_>, orders: &mut Orders) {
        self.count_restart();
        orders.note(around.plan, EventReason::Created, "Container created".to_owned());
        orders.note(around.plan, EventReason::Started, "Container started".to_owned());
        let probers = ProbeKind::ALL
            .into_iter()
            .filter_map(|kind| around.plan.probe(kind).map(|plan| Prober::new(kind, plan, around.now)))
            .collect();
        self.stage = Stage::Running(Life { started_at: around.now, pid, paused: false, probers, stop: None });
    }

    /// A life that follows one that ended is a restart; one that follows a failed `create` is not.
    fn count_restart(&mut self) {
        self.restart_count = self.restart_count.saturating_add(u32::from(self.last_termination.is_some()));
    }

    pub(crate) fn on_start_failed(&mut self, stage: StartStage, message: String, around: Surroundings<'_>, orders: &mut Orders) {
        let Stage::Starting { since } = self.stage else { return };
        orders.warn(around.plan, EventReason::Failed, format!("Error: {message}"));
        let reason = match stage {
            StartStage::Config => WaitingReason::CreateContainerConfigError,
            StartStage::Create => WaitingReason::CreateContainerError,
            StartStage::Start => return self.on_start_error(since, message, around, orders),
        };
        if self.is_left(around) {
            self.stage = Stage::Ended { termination: self.last_termination.clone() };
            return;
        }
        if !self.backoff.allows(&around.plan.backoff, around.now) {
            orders.warn(around.plan, EventReason::BackoffLimitExceeded, texts::budget(around));
            self.stage = Stage::Ended { termination: self.last_termination.clone() };
            return;
        }
        // Nothing existed that could have ended, so no policy is asked: it is tried again, as the kubelet does.
        let wait = self
            .backoff
            .wait_after(&around.plan.backoff, around.now)
            .max(around.plan.backoff.initial.min(around.plan.backoff.cap));
        self.stage = Stage::Waiting { reason, message: Some(message), until: around.now + wait, ended: None };
    }

    /// Nobody here starts it again: it is to end, or its end is somebody else's to answer.
    fn is_left(&self, around: Surroundings<'_>) -> bool {
        self.retired || around.restarter == Restarter::Agent
    }

    /// Do what is due.
    pub(crate) fn advance(&mut self, around: Surroundings<'_>, orders: &mut Orders) {
        match &mut self.stage {
            Stage::Waiting { until, .. } if *until <= around.now => self.order_start(around, orders),
            Stage::Running(life) => match &mut life.stop {
                Some(stop) if !stop.killed && stop.kill_at <= around.now => {
                    stop.killed = true;
                    orders.actions.push(Action::Kill { container: around.index, run: self.run });
                }
                Some(_) => {}
                None if self.retired => {}
                None => life.probe(self.run, around, orders),
            },
            Stage::Idle | Stage::Starting { .. } | Stage::Waiting { .. } | Stage::Ended { .. } => {}
        }
    }

    fn order_start(&mut self, around: Surroundings<'_>, orders: &mut Orders) {
        let previous = std::mem::replace(&mut self.stage, Stage::Starting { since: around.now });
        if let Stage::Waiting { reason, ended, .. } = previous {
            let tried_before = ended.is_some() || reason != WaitingReason::ContainerCreating;
            if let Some(ended) = ended {
                let finished = ended.termination.finished_at;
                // A restart that the operator wanted says nothing about the container's health.
                if ended.cause() != StopCause::RestartRequested {
                    self.backoff.advance(&around.plan.backoff, finished, around.now);
                }
                self.last_restart = Some(ended.into_restart(around.now));
            } else if tried_before {
                self.backoff.advance(&around.plan.backoff, around.now, around.now);
            }
            if tried_before {
                self.run = RunNumber(self.run.0.saturating_add(1));
            }
        }
        if around.pod.origin == Origin::Manifest {
            let text = format!("Container image \"{}\" already present on machine", around.plan.image);
            orders.note(around.plan, EventReason::Pulled, text);
        }
        orders.actions.push(Action::Start { container: around.index, run: self.run });
    }

    pub(crate) fn on_paused(&mut self) {
        if let Stage::Running(life) = &mut self.stage {
            life.paused = true;
        }
    }

    pub(crate) fn on_resumed(&mut self, around: Surroundings<'_>) {
        if let Stage::Running(life) = &mut self.stage {
            life.paused = false;
            life.realign(around);
        }
    }
}
