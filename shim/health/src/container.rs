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

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::backoff::Backoff;
use crate::event::{EventKind, EventReason};
use crate::input::{Exit, Outcome, RunNumber, StartStage};
use crate::moment::Moment;
use crate::plan::{ContainerIndex, ContainerPlan, Origin, PodPlan, ProbeKind};
use crate::prober::Prober;
use crate::recorder::Note;
use crate::restart_owner::Restarter;
use crate::status::{Restart, StopCause, Termination, TerminationReason, Verdict, WaitingReason};

/// The least grace that a container is given, as the kubelet's (`minimumGracePeriodInSeconds`).
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// Exit code of a container whose process could not be started, as containerd's.
const START_ERROR: i32 = 128;

/// What a container asks of its surroundings in one step.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) actions: Vec<Action>,
    pub(crate) notes: Vec<Note>,
}

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

/// The answer to an attempt of a probe.
pub(crate) struct Answer {
    pub(crate) kind: ProbeKind,
    pub(crate) attempt: u64,
    pub(crate) outcome: Outcome,
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

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) started_at: Moment,
    pub(crate) pid: u32,
    pub(crate) paused: bool,
    pub(crate) probers: Vec<Prober>,
    pub(crate) stop: Option<Stop>,
}

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub(crate) cause: StopCause,
    pub(crate) since: Moment,
    pub(crate) kill_at: Moment,
    killed: bool,
    first_failure_at: Option<Moment>,
}

/// How the life before ended, kept until the next one is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    termination: Termination<Moment>,
    stop: Option<Stop>,
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
            orders.warn(around.plan, EventReason::BackoffLimitExceeded, budget_text(around));
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

    fn on_start_error(&mut self, since: Moment, message: String, around: Surroundings<'_>, orders: &mut Orders) {
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

    /// Nobody here starts it again: it is to end, or its end is somebody else's to answer.
    fn is_left(&self, around: Surroundings<'_>) -> bool {
        self.retired || around.restarter == Restarter::Agent
    }

    /// Decide what follows an end.
    fn settle(&mut self, ended: Ended, around: Surroundings<'_>, orders: &mut Orders) {
        let cause = ended.cause();
        let again = !self.is_left(around) && around.plan.restart_policy.restarts_after(&cause, ended.termination.exit);
        let exceeded = again && cause != StopCause::RestartRequested && !self.backoff.allows(&around.plan.backoff, around.now);
        if exceeded {
            orders.warn(around.plan, EventReason::BackoffLimitExceeded, budget_text(around));
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
            orders.warn(around.plan, EventReason::BackOff, backing_off_event(around));
        }
        let (reason, message) = match ended.termination.reason {
            TerminationReason::StartError => (WaitingReason::RunContainerError, ended.termination.message.clone()),
            TerminationReason::Completed
            | TerminationReason::Error
            | TerminationReason::OOMKilled
            | TerminationReason::Unknown => (WaitingReason::CrashLoopBackOff, Some(backing_off_message(wait, around))),
        };
        self.stage = Stage::Waiting { reason, message, until: around.now + wait, ended: Some(ended) };
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

    pub(crate) fn on_probed(&mut self, answer: Answer, around: Surroundings<'_>, orders: &mut Orders) {
        let Answer { kind, attempt, outcome } = answer;
        let Stage::Running(life) = &mut self.stage else { return };
        let Some(plan) = around.plan.probe(kind) else { return };
        let Some(prober) = life.probers.iter_mut().find(|prober| prober.kind() == kind) else { return };
        if !prober.land(attempt) || life.stop.is_some() || life.paused || self.retired {
            return;
        }
        let outcome = outcome.counted(around.plan.errors_count_as_failures);
        if let Some(text) = outcome.complaint(kind) {
            orders.warn(around.plan, EventReason::Unhealthy, text);
        }
        match (prober.judge(plan, &outcome, around.now), kind) {
            (Some(Verdict::Failure), ProbeKind::Startup | ProbeKind::Liveness) => self.stop_unhealthy(kind, around, orders),
            (Some(Verdict::Success), ProbeKind::Startup) => life.open_gate(around),
            (Some(_), ProbeKind::Liveness | ProbeKind::Readiness) | (None, _) => {}
        }
    }

    fn stop_unhealthy(&mut self, kind: ProbeKind, around: Surroundings<'_>, orders: &mut Orders) {
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
    fn stop(&mut self, cause: StopCause, grace: Duration, around: Surroundings<'_>, orders: &mut Orders) {
        let Stage::Running(life) = &mut self.stage else { return };
        let kill_at = around.now + grace.max(LEAST_GRACE);
        if let Some(stop) = &mut life.stop {
            stop.kill_at = stop.kill_at.min(kill_at);
            return;
        }
        orders.note(around.plan, EventReason::Killing, killing_text(&cause, around.plan));
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

impl Life {
    fn is_started(&self) -> bool {
        let startup = self.probers.iter().find(|prober| prober.kind() == ProbeKind::Startup);
        startup.is_none_or(|prober| prober.verdict() == Some(Verdict::Success))
    }

    /// Until the startup probe has passed, the others rest.
    fn is_open(&self, kind: ProbeKind) -> bool {
        kind == ProbeKind::Startup || self.is_started()
    }

    fn probe_deadline(&self) -> Option<Moment> {
        if self.paused {
            return None;
        }
        self.probers.iter().filter(|prober| self.is_open(prober.kind())).filter_map(Prober::deadline).min()
    }

    fn probe(&mut self, run: RunNumber, around: Surroundings<'_>, orders: &mut Orders) {
        if self.paused {
            return;
        }
        let started = self.is_started();
        for prober in &mut self.probers {
            let kind = prober.kind();
            let Some(plan) = around.plan.probe(kind).filter(|_| started || kind == ProbeKind::Startup) else { continue };
            if let Some(attempt) = prober.attempt(plan, around.now) {
                let (container, timeout) = (around.index, plan.timeout);
                orders.actions.push(Action::Probe { container, run, probe: kind, attempt, timeout });
            }
        }
    }

    /// The startup probe has passed: readiness is looked at now, liveness at its next grid point.
    fn open_gate(&mut self, around: Surroundings<'_>) {
        self.realign(around);
        for prober in self.probers.iter_mut().filter(|prober| prober.kind() == ProbeKind::Readiness) {
            prober.hurry(around.now);
        }
    }

    fn realign(&mut self, around: Surroundings<'_>) {
        for prober in &mut self.probers {
            if let Some(plan) = around.plan.probe(prober.kind()) {
                prober.realign(plan, around.now);
            }
        }
    }
}

impl Ended {
    fn cause(&self) -> StopCause {
        self.stop.as_ref().map_or(StopCause::Itself, |stop| stop.cause.clone())
    }

    /// The restart that follows this end, ordered at `restarted_at`.
    fn into_restart(self, restarted_at: Moment) -> Restart<Moment> {
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

impl Outcome {
    fn counted(self, errors_count_as_failures: bool) -> Self {
        match self {
            Self::Error(text) if errors_count_as_failures => Self::Failure(text),
            Self::Success | Self::Failure(_) | Self::Error(_) | Self::Skipped => self,
        }
    }

    /// The text of the event about it, as in the kubelet's prober.
    fn complaint(&self, kind: ProbeKind) -> Option<String> {
        match self {
            Self::Failure(output) => Some(format!("{} probe failed: {output}", kind.title())),
            Self::Error(error) => Some(format!("{} probe errored and resulted in unknown state: {error}", kind.title())),
            Self::Success | Self::Skipped => None,
        }
    }
}

impl Orders {
    fn note(&mut self, plan: &ContainerPlan, reason: EventReason, message: String) {
        self.notes.push(Note { kind: EventKind::Normal, reason, message, container: Some(plan.name.clone()) });
    }

    fn warn(&mut self, plan: &ContainerPlan, reason: EventReason, message: String) {
        self.notes.push(Note { kind: EventKind::Warning, reason, message, container: Some(plan.name.clone()) });
    }
}

const fn termination_reason(exit: Exit) -> TerminationReason {
    match exit {
        Exit { oom_killed: true, .. } => TerminationReason::OOMKilled,
        Exit { code: 0, .. } => TerminationReason::Completed,
        Exit { .. } => TerminationReason::Error,
    }
}

fn killing_text(cause: &StopCause, plan: &ContainerPlan) -> String {
    match cause {
        StopCause::ProbeFailed { probe, .. } => {
            let then = if plan.restart_policy.restarts_after_probe_kill() { ", will be restarted" } else { "" };
            format!("Container {} failed {} probe{then}", plan.name, probe.word())
        }
        StopCause::RestartRequested | StopCause::StopRequested | StopCause::Itself => format!("Stopping container {}", plan.name),
    }
}

fn pod_words(around: Surroundings<'_>) -> String {
    format!("{}_{}({})", around.pod.name, around.pod.namespace, around.pod.uid)
}

fn backing_off_event(around: Surroundings<'_>) -> String {
    format!("Back-off restarting failed container {} in pod {}", around.plan.name, pod_words(around))
}

fn budget_text(around: Surroundings<'_>) -> String {
    let name = &around.plan.name;
    around.plan.backoff.budget.map_or_else(String::new, |budget| {
        let within = crate::columns::go_duration(budget.within);
        format!("Container {name} was restarted {} times within {within}, its end is final", budget.restarts)
    })
}

fn backing_off_message(wait: Duration, around: Surroundings<'_>) -> String {
    format!(
        "back-off {} restarting failed container={} pod={}",
        crate::columns::go_duration(wait),
        around.plan.name,
        pod_words(around)
    )
}
