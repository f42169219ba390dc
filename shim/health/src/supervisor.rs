//! A pod's supervisor: the whole calculator behind one function, [`Supervisor::step`].
//!
//! It owns its containers, routes each input to the one that it is about, lets every container do what is due, counts the
//! events and publishes the status when it changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::container::{Answer, Container, Orders, Stage, Surroundings};
use crate::input::{Input, RunNumber};
use crate::moment::Moment;
use crate::phase::{self, Seen};
use crate::plan::{ContainerIndex, ContainerPlan, PodPlan};
use crate::recorder::Recorder;
use crate::restart_owner::{Agent, Ownership, RestartOwner, Restarter};
use crate::status::{ContainerState, ContainerStatus, PodStatus, Stopping, WaitingReason};

/// The supervisor of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    plan: PodPlan,
    started_at: Moment,
    stop_requested_at: Option<Moment>,
    finished: bool,
    containers: Vec<Container>,
    recorder: Recorder,
    #[serde(default)]
    ownership: Ownership,
    published: Option<PodStatus<Moment>>,
}

impl Supervisor {
    /// Take over the plan at this moment. Nothing happens before the first [`Supervisor::step`].
    #[must_use]
    pub fn new(plan: PodPlan, now: Moment) -> Self {
        let containers = plan.containers.iter().map(|_| Container::new(plan.origin, now)).collect();
        Self {
            plan,
            started_at: now,
            stop_requested_at: None,
            finished: false,
            containers,
            recorder: Recorder::default(),
            ownership: Ownership::default(),
            published: None,
        }
    }

    /// The same, with somebody else there who may restart its containers.
    #[must_use]
    pub fn beside(mut self, agent: Agent, owner: RestartOwner) -> Self {
        self.ownership = Ownership::new(owner, agent, self.started_at);
        self
    }

    /// What it was told to look after.
    #[must_use]
    pub const fn plan(&self) -> &PodPlan {
        &self.plan
    }

    /// Which life of a container is the current one.
    #[must_use]
    pub fn run(&self, container: ContainerIndex) -> Option<RunNumber> {
        self.containers.get(container.0).map(|container| container.run)
    }

    /// Who starts an ended container again.
    #[must_use]
    pub const fn restarter(&self) -> Restarter {
        self.ownership.restarter()
    }

    /// Who that is depends on the node's agent: it wants to know of [`Input::AgentSeen`].
    #[must_use]
    pub const fn follows_agent(&self) -> bool {
        self.ownership.follows_agent()
    }

    /// A stop is under way that the next life follows here, unless the budget is used up.
    #[must_use]
    pub fn is_stopped_for_restart(&self, index: ContainerIndex) -> bool {
        let container = self.containers.get(index.0).zip(self.plan.containers.get(index.0));
        self.restarter() == Restarter::Shim && container.is_some_and(|(container, plan)| container.is_stopped_for_restart(plan))
    }

    /// Nothing will happen any more.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Every container has ended for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.containers.iter().all(Container::is_ended)
    }

    /// Take in what happened, answer what to do. `now` never goes back from step to step.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Action> {
        if self.finished {
            return Vec::new();
        }
        let mut orders = Orders::default();
        self.judge_agent(&input, now, &mut orders);
        self.take(input, now, &mut orders);
        for (container, around) in self.surroundings(now) {
            container.advance(around, &mut orders);
        }
        self.close(orders, now)
    }

    /// When [`Supervisor::step`] is to be called with [`Input::Tick`] at the latest; none while only answers are awaited.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.finished {
            return None;
        }
        let silence = self.ownership.deadline().filter(|_| !self.has_ended());
        self.containers.iter().filter_map(Container::deadline).chain(silence).min()
    }

    /// Before anything else, so that what happened now is decided by who is there now.
    fn judge_agent(&mut self, input: &Input, now: Moment, orders: &mut Orders) {
        if let Input::AgentSeen(agent) = input {
            self.ownership.see(*agent);
        }
        if !self.has_ended() {
            orders.notes.extend(self.ownership.judge(now));
        }
    }

    fn take(&mut self, input: Input, now: Moment, orders: &mut Orders) {
        match input {
            Input::Tick | Input::AgentSeen(_) => {}
            Input::StartRequested => self.each(now, |container, around| container.on_start_requested(around, orders)),
            Input::Started { container, run, pid } => {
                self.one(container, Some(run), now, |it, around| it.on_started(pid, around, orders));
            }
            Input::StartFailed { container, run, stage, message } => {
                self.one(container, Some(run), now, |it, around| it.on_start_failed(stage, message, around, orders));
            }
            Input::Exited { container, run, exit } => {
                self.one(container, Some(run), now, |it, around| it.on_exited(exit, around, orders));
            }
            Input::Probed { container, run, probe, attempt, outcome } => {
                self.one(container, Some(run), now, |it, around| {
                    it.on_probed(Answer { kind: probe, attempt, outcome }, around, orders)
                });
            }
            Input::StopRequested { grace } => self.request_stop(grace, now, orders),
            Input::SupervisionEnded => {
                self.stop_requested_at.get_or_insert(now);
                self.each(now, |container, _| container.on_supervision_ended());
            }
            Input::RestartRequested { container } => {
                self.one(container, None, now, |it, around| it.on_restart_requested(around, orders));
            }
            Input::Paused { container } => self.one(container, None, now, |it, _| it.on_paused()),
            Input::Resumed { container } => self.one(container, None, now, |it, around| it.on_resumed(around)),
        }
    }

    fn request_stop(&mut self, grace: Option<Duration>, now: Moment, orders: &mut Orders) {
        self.stop_requested_at.get_or_insert(now);
        let grace = grace.unwrap_or(self.plan.termination_grace);
        self.each(now, |container, around| container.on_stop_requested(grace, around, orders));
    }

    fn each(&mut self, now: Moment, mut react: impl FnMut(&mut Container, Surroundings<'_>)) {
        for (container, around) in self.surroundings(now) {
            react(container, around);
        }
    }

    /// Let one container react; an answer that belongs to another life than the current one is dropped here.
    fn one(
        &mut self,
        index: ContainerIndex,
        run: Option<RunNumber>,
        now: Moment,
        react: impl FnOnce(&mut Container, Surroundings<'_>),
    ) {
        let found = self.surroundings(now).find(|(_, around)| around.index == index);
        match found {
            Some((container, around)) if run.is_none_or(|run| run == container.run) => react(container, around),
            Some(_) | None => {}
        }
    }

    fn surroundings(&mut self, now: Moment) -> impl Iterator<Item = (&mut Container, Surroundings<'_>)> {
        let (pod, restarter) = (&self.plan, self.ownership.restarter());
        let plans = pod.containers.iter().enumerate();
        self.containers
            .iter_mut()
            .zip(plans)
            .map(move |(container, (n, plan))| (container, Surroundings { pod, plan, index: ContainerIndex(n), restarter, now }))
    }

    /// Turn what the containers ordered into the step's answer.
    fn close(&mut self, orders: Orders, now: Moment) -> Vec<Action> {
        let notes = orders.notes.into_iter().map(|note| Action::Record(self.recorder.record(note, now)));
        // Events first: they tell about what the actions then do.
        let mut actions: Vec<Action> = notes.collect();
        actions.extend(orders.actions);
        let status = self.assess(now);
        if self.published.as_ref() != Some(&status) {
            self.published = Some(status.clone());
            actions.push(Action::Publish(status));
        }
        if self.stop_requested_at.is_some() && self.has_ended() {
            self.finished = true;
            actions.push(Action::Finish);
        }
        actions
    }

    /// The status as of the last step.
    #[must_use]
    pub fn status(&self) -> PodStatus<Moment> {
        self.published.clone().unwrap_or_else(|| self.assess(self.started_at))
    }

    fn assess(&self, now: Moment) -> PodStatus<Moment> {
        let containers: Vec<_> = self
            .plan
            .containers
            .iter()
            .zip(&self.containers)
            .map(|(plan, container)| container_status(plan, container))
            .collect();
        let seen: Vec<_> = containers
            .iter()
            .zip(&self.containers)
            .map(|(status, container)| Seen { status, may_run_again: !container.is_ended() })
            .collect();
        let phase = phase::phase(&seen);
        let before = self.published.as_ref().map_or(&[][..], |status| &status.conditions);
        let conditions = phase::conditions(phase, &containers, before, now);
        PodStatus { phase, conditions, started_at: self.started_at, stop_requested_at: self.stop_requested_at, containers }
    }

    /// The whole memory, for `state.json`.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, which no state is known to cause.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    /// A supervisor that goes on where the one that wrote `memory` was, within the same boot.
    ///
    /// # Errors
    /// When `memory` was not written by [`Supervisor::to_json`] of this version.
    pub fn from_json(memory: serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(memory)
    }
}

fn container_status(plan: &ContainerPlan, container: &Container) -> ContainerStatus<Moment> {
    let (stopping, probes) = match &container.stage {
        Stage::Running(life) => {
            let stopping =
                life.stop.as_ref().map(|stop| Stopping { cause: stop.cause.clone(), since: stop.since, kill_at: stop.kill_at });
            (stopping, life.probers.iter().map(crate::prober::Prober::status).collect())
        }
        Stage::Idle | Stage::Starting { .. } | Stage::Waiting { .. } | Stage::Ended { .. } => (None, Vec::new()),
    };
    ContainerStatus {
        name: plan.name.clone(),
        image: plan.image.clone(),
        ready: container.is_ready(),
        started: container.is_started(),
        restart_count: container.restart_count,
        state: container_state(container),
        last_termination: container.last_termination.clone(),
        stopping,
        last_restart: container.last_restart.clone(),
        probes,
    }
}

fn container_state(container: &Container) -> ContainerState<Moment> {
    let waiting = |reason, message, until| ContainerState::Waiting { reason, message, until };
    match &container.stage {
        Stage::Idle => waiting(WaitingReason::Created, None, None),
        Stage::Starting { .. } | Stage::Ended { termination: None } => waiting(WaitingReason::ContainerCreating, None, None),
        Stage::Running(life) => ContainerState::Running { started_at: life.started_at, pid: life.pid, paused: life.paused },
        Stage::Waiting { reason, message, until, .. } => waiting(*reason, message.clone(), Some(*until)),
        Stage::Ended { termination: Some(termination) } => ContainerState::Terminated(termination.clone()),
    }
}
