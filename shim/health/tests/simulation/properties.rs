//! What must hold for every script: pods, behaviours and interventions are drawn at random, and each step is held against a
//! second, simpler account of what may happen ([`Watch`]).

use std::collections::BTreeMap;
use std::time::Duration;

use hshim_health::event::EventReason;
use hshim_health::input::{Exit, Outcome, RunNumber, StartStage};
use hshim_health::plan::{ContainerIndex, ContainerPlan, Origin, PodPlan, ProbeKind, ProbePlan, RestartPolicy};
use hshim_health::status::{ContainerState, PodStatus, StopCause, Verdict};
use hshim_health::{Action, Input, Moment, Supervisor};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::pods::{container, pod, probe, seconds};
use crate::world::{Behaviour, EPOCH, Health, Life, Step, World, exit};

const HORIZON: Duration = Duration::from_secs(1500);

/// One simulated pod and what befalls it.
#[derive(Clone, Debug)]
struct Script {
    plan: PodPlan,
    behaviours: Vec<Behaviour>,
    interventions: Vec<(Duration, Input)>,
}

impl Script {
    fn world(&self) -> World {
        let mut world = World::new(self.plan.clone(), self.behaviours.clone());
        for (after, input) in &self.interventions {
            world.plan(*after, input.clone());
        }
        world
    }

    fn steps(&self) -> Vec<Step> {
        let mut world = self.world();
        world.run(HORIZON);
        world.steps
    }
}

fn milliseconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        4 => (0..3_u8).prop_map(|n| Outcome::Failure(format!("bad {n}"))),
        1 => Just(Outcome::Error("broken".to_owned())),
        1 => Just(Outcome::Skipped),
    ]
}

fn any_health() -> impl Strategy<Value = Health> {
    let changes = vec((milliseconds(0..60_000), any_outcome()), 0..6);
    (any_outcome(), changes).prop_map(|(at_first, mut then)| {
        then.sort_by_key(|(age, _)| *age);
        Health { at_first, then }
    })
}

fn any_exit() -> impl Strategy<Value = Exit> {
    prop_oneof![Just(exit(0)), Just(exit(1)), Just(Exit { code: 137, signal: Some(9), oom_killed: true })]
}

fn any_life() -> impl Strategy<Value = Life> {
    let stage = prop_oneof![Just(StartStage::Config), Just(StartStage::Create), Just(StartStage::Start)];
    let start = (option::weighted(0.2, stage), milliseconds(0..3_000));
    let ends = option::of((milliseconds(0..700_000), any_exit()));
    let heeds = option::of((milliseconds(0..5_000), any_exit()));
    let health = (any_health(), any_health(), any_health());
    let life = (start, ends, heeds, health, milliseconds(0..8_000));
    life.prop_map(|((fails, start_takes), ends, heeds_stop, (startup, liveness, readiness), probe_takes)| Life {
        start_fails: fails.map(|stage| (stage, "no")),
        start_takes,
        ends,
        heeds_stop,
        startup,
        liveness,
        readiness,
        probe_takes,
    })
}

fn any_probe(kind: ProbeKind) -> impl Strategy<Value = Option<ProbePlan>> {
    let successes = if kind == ProbeKind::Readiness { 1..4_u32 } else { 1..2 };
    let grace = option::of((1..40_u64).prop_map(seconds));
    let drawn = (0..6_u64, 1..12_u64, 1..4_u32, successes, grace);
    option::of(drawn.prop_map(|(delay, period, failures, success_threshold, termination_grace)| ProbePlan {
        success_threshold,
        termination_grace,
        ..probe(delay, period, failures)
    }))
}

fn any_policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never),
        Just(RestartPolicy::AfterProbeKill),
    ]
}

fn any_container() -> impl Strategy<Value = (ContainerPlan, Behaviour)> {
    let probes = (any_probe(ProbeKind::Startup), any_probe(ProbeKind::Liveness), any_probe(ProbeKind::Readiness));
    let drawn = (any_policy(), probes, any::<bool>(), vec(any_life(), 1..4));
    drawn.prop_map(|(policy, (startup, liveness, readiness), errors_count_as_failures, lives)| {
        let plan = ContainerPlan { startup, liveness, readiness, errors_count_as_failures, ..container("c", policy) };
        (plan, Behaviour(lives))
    })
}

fn any_intervention() -> impl Strategy<Value = Input> {
    let index = (0..2_usize).prop_map(ContainerIndex);
    prop_oneof![
        2 => option::of((0..50_u64).prop_map(seconds)).prop_map(|grace| Input::StopRequested { grace }),
        1 => Just(Input::SupervisionEnded),
        2 => index.clone().prop_map(|container| Input::RestartRequested { container }),
        2 => index.clone().prop_map(|container| Input::Paused { container }),
        2 => index.prop_map(|container| Input::Resumed { container }),
        2 => Just(Input::StartRequested),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    let origin = prop_oneof![3 => Just(Origin::Manifest), 1 => Just(Origin::Bundle)];
    let interventions = vec((milliseconds(0..400_000), any_intervention()), 0..6);
    (origin, vec(any_container(), 1..3), interventions).prop_map(|(origin, mut containers, interventions)| {
        for (n, (plan, _)) in containers.iter_mut().enumerate() {
            plan.name = format!("c{n}");
        }
        let (plans, behaviours) = containers.into_iter().unzip();
        Script { plan: PodPlan { origin, ..pod(plans) }, behaviours, interventions }
    })
}

/// What is known about one probe of the current life.
#[derive(Clone, Default)]
struct ProbeWatch {
    in_flight: Option<u64>,
    row: Option<(Verdict, u32)>,
    verdict: Option<Verdict>,
}

/// What is known about one container.
#[derive(Clone, Default)]
struct ContainerWatch {
    run: Option<RunNumber>,
    starting: bool,
    alive_since: Option<Moment>,
    paused: bool,
    stopping_since: Option<Moment>,
    killed: bool,
    probes: BTreeMap<ProbeKind, ProbeWatch>,
    lived: bool,
    restart_asked: bool,
    restarts: u32,
}

/// The second account.
struct Watch<'a> {
    plan: &'a PodPlan,
    containers: Vec<ContainerWatch>,
    retired: bool,
    finished: bool,
    /// This step's input is the result of a probe that does not matter any more.
    deaf: bool,
    published: Option<PodStatus<Moment>>,
    counts: BTreeMap<u64, u32>,
}

impl ContainerWatch {
    fn verdict(&self, kind: ProbeKind) -> Option<Verdict> {
        self.probes.get(&kind).and_then(|probe| probe.verdict)
    }

    fn is_started(&self, plan: &ContainerPlan) -> bool {
        self.alive_since.is_some() && (plan.startup.is_none() || self.verdict(ProbeKind::Startup) == Some(Verdict::Success))
    }

    fn is_ready(&self, plan: &ContainerPlan) -> bool {
        let passes = plan.readiness.is_none() || self.verdict(ProbeKind::Readiness) == Some(Verdict::Success);
        self.is_started(plan) && passes && self.stopping_since.is_none()
    }

    fn is_due_some_day(&self, plan: &ContainerPlan, kind: ProbeKind) -> bool {
        let state = self.probes.get(&kind).cloned().unwrap_or_default();
        let on_hold = match kind {
            ProbeKind::Startup => state.verdict.is_some(),
            ProbeKind::Liveness => state.verdict == Some(Verdict::Failure),
            ProbeKind::Readiness => false,
        };
        let open = kind == ProbeKind::Startup || self.is_started(plan);
        plan.probe(kind).is_some() && open && !on_hold && state.in_flight.is_none()
    }

    fn end(&mut self) {
        let Self { run, restart_asked, restarts, .. } = *self;
        *self = Self { run, restart_asked, restarts, lived: true, ..Self::default() };
    }

    /// Count the outcome: the verdict that it makes.
    fn count(&mut self, plan: &ContainerPlan, kind: ProbeKind, outcome: &Outcome) -> Option<Verdict> {
        let result = match outcome {
            Outcome::Success => Verdict::Success,
            Outcome::Failure(_) => Verdict::Failure,
            Outcome::Error(_) if plan.errors_count_as_failures => Verdict::Failure,
            Outcome::Error(_) | Outcome::Skipped => return None,
        };
        let rules = plan.probe(kind).unwrap();
        let threshold = if result == Verdict::Success { rules.success_threshold } else { rules.failure_threshold };
        let state = self.probes.entry(kind).or_default();
        let length = match state.row {
            Some((same, length)) if same == result => length + 1,
            _ => 1,
        };
        state.row = Some((result, length));
        if length < threshold {
            return None;
        }
        state.verdict = Some(result);
        (length == threshold).then_some(result)
    }
}

impl<'a> Watch<'a> {
    fn new(plan: &'a PodPlan) -> Self {
        let containers = vec![ContainerWatch::default(); plan.containers.len()];
        Self { plan, containers, retired: false, finished: false, deaf: false, published: None, counts: BTreeMap::new() }
    }

    fn see(&mut self, step: &Step, supervisor: &Supervisor) {
        if self.finished {
            assert!(step.actions.is_empty() && step.deadline.is_none(), "nothing after Finish");
            return;
        }
        self.deaf = false;
        let condemned = self.hear(&step.input, step.now);
        // Other things may be due at the same moment.
        let shown =
            step.actions.iter().any(|action| matches!(action, Action::Record(event) if event.reason == EventReason::Unhealthy));
        assert!(!(self.deaf && shown), "a result that comes while it stops or is paused is not even shown");
        for action in &step.actions {
            self.judge(action, step.now);
        }
        let terminated = step.actions.iter().any(|action| matches!(action, Action::Terminate { .. }));
        if let Input::Probed { .. } = step.input {
            assert_eq!(terminated, condemned, "a verdict needs exactly its threshold in a row");
        }
        self.compare(step, supervisor);
    }

    /// Take in an input; true if it is the failure that condemns a container.
    fn hear(&mut self, input: &Input, now: Moment) -> bool {
        match *input {
            Input::StopRequested { .. } => self.retired = true,
            Input::SupervisionEnded => self.hear_end_of_supervision(),
            Input::Started { container, .. } => {
                let watch = &mut self.containers[container.0];
                (watch.starting, watch.alive_since) = (false, Some(now));
            }
            Input::StartFailed { container, stage, .. } => {
                let watch = &mut self.containers[container.0];
                watch.starting = false;
                watch.lived |= stage == StartStage::Start;
            }
            Input::Exited { container, .. } => self.containers[container.0].end(),
            Input::RestartRequested { container } if container.0 < self.containers.len() => {
                self.containers[container.0].restart_asked = true;
            }
            Input::Paused { container } | Input::Resumed { container } if container.0 < self.containers.len() => {
                let watch = &mut self.containers[container.0];
                watch.paused = matches!(input, Input::Paused { .. }) && watch.alive_since.is_some();
            }
            Input::Probed { container, run, probe, attempt, ref outcome } => {
                return self.hear_probe(container, run, (probe, attempt), outcome);
            }
            _ => {}
        }
        false
    }

    /// Only a stop of the whole pod goes on; after any other, one may be asked for.
    fn hear_end_of_supervision(&mut self) {
        self.retired = true;
        let seen = self.published.iter().flat_map(|status| &status.containers);
        for (watch, seen) in self.containers.iter_mut().zip(seen) {
            if seen.stopping.as_ref().is_some_and(|stopping| stopping.cause != StopCause::StopRequested) {
                (watch.stopping_since, watch.killed) = (None, false);
            }
        }
    }

    fn hear_probe(
        &mut self,
        container: ContainerIndex,
        run: RunNumber,
        (kind, attempt): (ProbeKind, u64),
        outcome: &Outcome,
    ) -> bool {
        let (plan, watch) = (&self.plan.containers[container.0], &mut self.containers[container.0]);
        let state = watch.probes.entry(kind).or_default();
        if watch.run != Some(run) || state.in_flight != Some(attempt) {
            return false;
        }
        state.in_flight = None;
        if watch.stopping_since.is_some() || watch.paused || self.retired {
            self.deaf = true;
            return false;
        }
        let verdict = watch.count(plan, kind, outcome);
        verdict == Some(Verdict::Failure) && kind != ProbeKind::Readiness
    }

    fn judge(&mut self, action: &Action, now: Moment) {
        assert!(!self.finished, "Finish is the last action");
        match action {
            Action::Start { container, run } => self.judge_start(*container, *run),
            Action::Probe { container, run, probe, attempt, .. } => self.judge_probe(*container, *run, (*probe, *attempt), now),
            Action::Terminate { container, run, .. } => {
                let watch = &mut self.containers[container.0];
                assert_eq!((watch.run, watch.stopping_since), (Some(*run), None), "one stop for each life");
                assert!(watch.alive_since.is_some());
                watch.stopping_since = Some(now);
            }
            Action::Kill { container, run } => {
                let watch = &mut self.containers[container.0];
                let since = watch.stopping_since.expect("only what is being stopped is killed");
                assert!(watch.run == Some(*run) && !watch.killed && now.since(since) >= seconds(2));
                watch.killed = true;
            }
            Action::Record(event) => {
                let before = self.counts.insert(event.id, event.count).unwrap_or(0);
                assert_eq!(event.count, before + 1, "counts are exact");
                assert_eq!(event.last, now);
            }
            Action::Publish(status) => {
                assert_ne!(self.published.as_ref(), Some(status), "published only when it changed");
                self.published = Some(status.clone());
            }
            Action::Finish => {
                let alive = |watch: &ContainerWatch| watch.starting || watch.alive_since.is_some();
                assert!(self.retired && !self.containers.iter().any(alive), "Finish when all have ended");
                self.finished = true;
            }
        }
    }

    fn judge_start(&mut self, container: ContainerIndex, run: RunNumber) {
        let (plan, watch) = (&self.plan.containers[container.0], &mut self.containers[container.0]);
        assert!(!self.retired, "no Start after StopRequested");
        assert!(!watch.starting && watch.alive_since.is_none(), "one life at a time");
        assert_eq!(run.0, watch.run.map_or(0, |before| before.0 + 1), "each life has its own number");
        if plan.restart_policy == RestartPolicy::Never && !watch.restart_asked {
            assert!(!watch.lived, "Never lives once");
        }
        (watch.run, watch.starting) = (Some(run), true);
    }

    fn judge_probe(&mut self, container: ContainerIndex, run: RunNumber, (kind, attempt): (ProbeKind, u64), now: Moment) {
        let (plan, watch) = (&self.plan.containers[container.0], &mut self.containers[container.0]);
        let alive_since = watch.alive_since.expect("only the living are probed");
        assert!(watch.run == Some(run) && watch.stopping_since.is_none() && !watch.paused && !self.retired);
        assert!(now >= alive_since + plan.probe(kind).unwrap().initial_delay, "not before the initial delay is over");
        assert!(kind == ProbeKind::Startup || watch.is_started(plan), "startup gates the others");
        assert!(watch.is_due_some_day(plan, kind), "one attempt at a time, none on hold");
        watch.probes.entry(kind).or_default().in_flight = Some(attempt);
    }

    /// Hold the status and the deadline against what is known.
    fn compare(&mut self, step: &Step, supervisor: &Supervisor) {
        let status = supervisor.status();
        assert_eq!(self.published.as_ref(), Some(&status));
        assert!(step.deadline.is_none_or(|deadline| deadline > step.now), "what is due has been done");
        let mut needs_deadline = false;
        for ((plan, watch), seen) in self.plan.containers.iter().zip(&mut self.containers).zip(&status.containers) {
            assert_eq!(seen.ready, watch.is_ready(plan) && !self.retired, "ready as the probes say, never while stopping");
            assert_eq!(seen.started, watch.is_started(plan));
            assert!(seen.restart_count >= watch.restarts);
            watch.restarts = seen.restart_count;
            let probed = watch.alive_since.is_some() && watch.stopping_since.is_none() && !watch.paused && !self.retired;
            needs_deadline |= probed && ProbeKind::ALL.into_iter().any(|kind| watch.is_due_some_day(plan, kind));
            needs_deadline |= seen.stopping.is_some() && !watch.killed;
            if let ContainerState::Waiting { until: Some(until), .. } = seen.state {
                assert!(step.deadline.is_some_and(|deadline| deadline <= until));
            }
        }
        assert!(!needs_deadline || self.finished || step.deadline.is_some(), "a deadline unless finished or waiting for answers");
    }
}

/// Whatever is said about lives and attempts that are not the current ones.
fn stale_inputs(supervisor: &Supervisor) -> Vec<Input> {
    let container = ContainerIndex(0);
    let run = RunNumber(supervisor.run(container).unwrap().0 + 7);
    let current = RunNumber(run.0 - 7);
    let probed = |run, attempt| Input::Probed { container, run, probe: ProbeKind::Liveness, attempt, outcome: Outcome::Success };
    vec![
        Input::Tick,
        Input::Started { container, run, pid: 1 },
        Input::StartFailed { container, run, stage: StartStage::Start, message: String::new() },
        Input::Exited { container, run, exit: exit(1) },
        probed(run, 1),
        probed(current, u64::MAX),
        Input::Exited { container: ContainerIndex(9), run: current, exit: exit(1) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_allowed_and_complete(script in any_script()) {
        let mut watch = Watch::new(&script.plan);
        script.world().run_with(HORIZON, |world| watch.see(world.steps.last().unwrap(), &world.supervisor));
    }

    #[test]
    fn extra_ticks_and_stale_answers_change_nothing(script in any_script(), part in 0.0..1.0_f64) {
        script.world().run_with(HORIZON, |world| {
            let rest = world.supervisor.next_deadline().map_or(seconds(3600), |deadline| deadline.since(world.now));
            for (now, input) in stale_inputs(&world.supervisor).into_iter().flat_map(|input| {
                [(world.now, input.clone()), (world.now + rest.mul_f64(part), input)]
            }) {
                let mut copy = world.supervisor.clone();
                assert_eq!(copy.step(input.clone(), now), Vec::new(), "{input:?}");
                assert_eq!(&copy, &world.supervisor, "{input:?}");
            }
        });
    }

    #[test]
    fn the_same_script_gives_the_same_actions(script in any_script()) {
        prop_assert_eq!(script.steps(), script.steps());
    }

    #[test]
    fn a_supervisor_that_takes_over_from_its_memory_goes_on_in_the_same_way(script in any_script(), every in 1..20_usize) {
        let mut world = script.world();
        world.run_with(HORIZON, |world| {
            if world.steps.len().is_multiple_of(every) {
                let memory = world.supervisor.to_json().unwrap().to_string();
                world.supervisor = Supervisor::from_json(serde_json::from_str(&memory).unwrap()).unwrap();
            }
        });
        prop_assert_eq!(world.steps, script.steps());
    }

    #[test]
    fn a_pod_that_is_asked_to_stop_ends_within_its_grace(script in any_script(), after in 0..1000_u64) {
        let mut world = script.world();
        let foreign = script.interventions.iter().any(|(_, input)| *input == Input::SupervisionEnded);
        world.plan(seconds(after), Input::StopRequested { grace: None });
        world.run(seconds(after) + seconds(60));
        let last = world.steps.iter().flat_map(|step| &step.actions).filter(|action| **action == Action::Finish).count();
        prop_assert!(foreign || (world.supervisor.is_finished() && last == 1), "at {}", world.now.since(EPOCH).as_secs());
    }
}
