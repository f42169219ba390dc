//! A world for one supervisor: it answers starts, probes and signals as scripts say, and jumps from one event to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use hshim_health::input::{Exit, Outcome, RunNumber, StartStage};
use hshim_health::plan::{ContainerIndex, PodPlan, ProbeKind};
use hshim_health::{Action, Input, Moment, Supervisor};

/// When the simulated pods are made, after boot: not at zero, so that nothing can take zero for "never".
pub(crate) const EPOCH: Moment = Moment::since_boot(Duration::from_secs(1000));

/// How one container behaves: a script for each life, the last one for all that follow.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour(pub(crate) Vec<Life>);

/// How one life goes.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The start fails so.
    pub(crate) start_fails: Option<(StartStage, &'static str)>,
    pub(crate) start_takes: Duration,
    /// It ends by itself so long after its start.
    pub(crate) ends: Option<(Duration, Exit)>,
    /// It ends so long after the stop signal; never by it if none.
    pub(crate) heeds_stop: Option<(Duration, Exit)>,
    pub(crate) startup: Health,
    pub(crate) liveness: Health,
    pub(crate) readiness: Health,
    pub(crate) probe_takes: Duration,
}

/// What a probe finds, by the age of the life.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) at_first: Outcome,
    /// From these ages on, in ascending order.
    pub(crate) then: Vec<(Duration, Outcome)>,
}

impl Health {
    pub(crate) const GOOD: Self = Self { at_first: Outcome::Success, then: Vec::new() };

    pub(crate) fn until(age: Duration, then: Outcome) -> Self {
        Self { at_first: Outcome::Success, then: vec![(age, then)] }
    }

    pub(crate) fn from(age: Duration, before: Outcome) -> Self {
        Self { at_first: before, then: vec![(age, Outcome::Success)] }
    }

    fn at(&self, age: Duration) -> Outcome {
        let reached = self.then.iter().rev().find(|(from, _)| *from <= age);
        reached.map_or(&self.at_first, |(_, outcome)| outcome).clone()
    }
}

pub(crate) const fn exit(code: i32) -> Exit {
    Exit { code, signal: None, oom_killed: false }
}

pub(crate) const KILLED: Exit = Exit { code: 137, signal: Some(9), oom_killed: false };

pub(crate) fn failure(text: &str) -> Outcome {
    Outcome::Failure(text.to_owned())
}

impl Life {
    /// Healthy, never ending, deaf to the stop signal.
    pub(crate) const STEADY: Self = Self {
        start_fails: None,
        start_takes: Duration::ZERO,
        ends: None,
        heeds_stop: None,
        startup: Health::GOOD,
        liveness: Health::GOOD,
        readiness: Health::GOOD,
        probe_takes: Duration::ZERO,
    };

    fn health(&self, kind: ProbeKind) -> &Health {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }
}

/// One call of `step`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) now: Moment,
    pub(crate) input: Input,
    pub(crate) actions: Vec<Action>,
    /// Of the supervisor, after the step.
    pub(crate) deadline: Option<Moment>,
}

pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    behaviours: Vec<Behaviour>,
    /// What is going to happen; the number keeps the order of what happens at the same moment.
    agenda: BTreeMap<(Moment, u64), Input>,
    sequence: u64,
    /// When the current life of each container began, while it lasts.
    alive: BTreeMap<(ContainerIndex, RunNumber), Moment>,
    pub(crate) now: Moment,
    pub(crate) steps: Vec<Step>,
}

impl World {
    pub(crate) fn new(plan: PodPlan, behaviours: Vec<Behaviour>) -> Self {
        assert_eq!(plan.containers.len(), behaviours.len(), "a behaviour for each container");
        Self {
            supervisor: Supervisor::new(plan, EPOCH),
            behaviours,
            agenda: BTreeMap::new(),
            sequence: 0,
            alive: BTreeMap::new(),
            now: EPOCH,
            steps: Vec::new(),
        }
    }

    /// Something from outside happens so long after the beginning.
    pub(crate) fn plan(&mut self, after: Duration, input: Input) {
        self.schedule(EPOCH + after, input);
    }

    fn schedule(&mut self, at: Moment, input: Input) {
        self.sequence += 1;
        self.agenda.insert((at, self.sequence), input);
    }

    /// Let the world go on for so long after the beginning.
    pub(crate) fn run(&mut self, horizon: Duration) {
        self.run_with(horizon, |_| {});
    }

    /// The same, with a look at the world after each step.
    pub(crate) fn run_with(&mut self, horizon: Duration, mut look: impl FnMut(&mut Self)) {
        if self.steps.is_empty() {
            self.step(Input::Tick);
            look(self);
        }
        loop {
            let before = self.steps.len();
            if !self.advance(EPOCH + horizon) {
                break;
            }
            // A dead process' second end makes no step: what is due at that moment has still to be done.
            if self.steps.len() > before {
                look(self);
            }
        }
        self.now = EPOCH + horizon;
    }

    /// One step, if there is one up to the horizon.
    fn advance(&mut self, horizon: Moment) -> bool {
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.supervisor.next_deadline();
        let next = agenda.into_iter().chain(deadline).min().filter(|next| *next <= horizon);
        let Some(next) = next else { return false };
        self.now = next;
        if agenda != Some(next) {
            self.step(Input::Tick);
            return true;
        }
        let (_, input) = self.agenda.pop_first().unwrap();
        if self.befalls(&input) {
            self.step(input);
        }
        true
    }

    /// Keep track of who is alive; a dead process does not end again.
    fn befalls(&mut self, input: &Input) -> bool {
        match input {
            Input::Started { container, run, .. } => {
                self.alive.insert((*container, *run), self.now);
                if let Some((after, exit)) = self.life(*container, *run).ends {
                    let input = Input::Exited { container: *container, run: *run, exit };
                    self.schedule(self.now + after, input);
                }
                true
            }
            Input::Exited { container, run, .. } => self.alive.remove(&(*container, *run)).is_some(),
            _ => true,
        }
    }

    fn step(&mut self, input: Input) {
        let actions = self.supervisor.step(input.clone(), self.now);
        for action in &actions {
            self.perform(action);
        }
        self.steps.push(Step { now: self.now, input, actions, deadline: self.supervisor.next_deadline() });
    }

    fn life(&self, container: ContainerIndex, run: RunNumber) -> Life {
        let lives = &self.behaviours[container.0].0;
        lives.get(run.0 as usize).or(lives.last()).cloned().unwrap_or(Life::STEADY)
    }

    fn perform(&mut self, action: &Action) {
        match *action {
            Action::Start { container, run } => {
                let life = self.life(container, run);
                let input = match life.start_fails {
                    Some((stage, text)) => Input::StartFailed { container, run, stage, message: text.to_owned() },
                    None => Input::Started { container, run, pid: 100 + run.0 },
                };
                self.schedule(self.now + life.start_takes, input);
            }
            Action::Probe { container, run, probe, attempt, .. } => {
                let life = self.life(container, run);
                let age = self.alive.get(&(container, run)).map_or(Duration::ZERO, |start| self.now.since(*start));
                let outcome = life.health(probe).at(age);
                self.schedule(self.now + life.probe_takes, Input::Probed { container, run, probe, attempt, outcome });
            }
            Action::Terminate { container, run, .. } => {
                if let Some((after, exit)) = self.life(container, run).heeds_stop {
                    self.schedule(self.now + after, Input::Exited { container, run, exit });
                }
            }
            Action::Kill { container, run } => self.schedule(self.now, Input::Exited { container, run, exit: KILLED }),
            Action::Record(_) | Action::Publish(_) | Action::Finish => {}
        }
    }
}
