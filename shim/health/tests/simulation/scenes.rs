//! Whole timelines, compared with the committed ones in `snapshots/`.

use std::fmt::Write;
use std::time::Duration;

use hshim_health::Input;
use hshim_health::input::{Exit, Outcome, StartStage};
use hshim_health::plan::{ContainerIndex, ContainerPlan, Origin, PodPlan, RestartPolicy};

use crate::pods::{classic, container, pod, probe, seconds};
use crate::timeline::{DAY, Detail, starts, timeline};
use crate::world::{Behaviour, Health, Life, World, exit, failure};

const FIRST: ContainerIndex = ContainerIndex(0);
const NO_FILE: &str = "cat: can't open '/tmp/healthy': No such file or directory";

/// The classic example: the file goes after 30 s, and the shell that is pid 1 does not heed SIGTERM.
pub(crate) fn classic_behaviour() -> Behaviour {
    let first = Life { liveness: Health::until(seconds(30), failure(NO_FILE)), ..Life::STEADY };
    let next = Life { start_takes: seconds(1), ..first.clone() };
    Behaviour(vec![first, next])
}

fn played(plan: PodPlan, lives: Vec<Life>, horizon: Duration) -> World {
    let mut world = World::new(plan, vec![Behaviour(lives)]);
    world.run(horizon);
    world
}

fn crashing(code: i32) -> Life {
    Life { ends: Some((Duration::ZERO, exit(code))), ..Life::STEADY }
}

#[test]
fn the_classic_example_for_ten_cycles() {
    let mut world = World::new(classic(), vec![classic_behaviour()]);
    world.run(seconds(2200));
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn the_attempts_of_the_classic_example_in_its_first_life() {
    let mut world = World::new(classic(), vec![classic_behaviour()]);
    world.run(seconds(71));
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn a_crash_loop() {
    let world = played(pod(vec![container("c", RestartPolicy::Always)]), vec![crashing(1)], seconds(1000));
    assert_eq!(starts(&world), [0, 0, 10, 30, 70, 150, 310, 610, 910]);
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn a_life_of_more_than_ten_minutes_forgets_the_backoff() {
    let long = Life { ends: Some((seconds(601), exit(1))), ..Life::STEADY };
    let lives = vec![crashing(1), crashing(1), crashing(1), crashing(1), long, crashing(1)];
    let world = played(pod(vec![container("c", RestartPolicy::Always)]), lives, seconds(720));
    assert_eq!(starts(&world), [0, 0, 10, 30, 70, 671, 681, 701]);
}

/// What each policy makes of an end: exit codes 0 and 1, killed for lack of memory, not to be started, killed by a probe and
/// then ended with 0.
fn policy_table(policy: RestartPolicy) -> String {
    let oom = Exit { code: 137, signal: Some(9), oom_killed: true };
    let sick =
        Life { liveness: Health::until(seconds(2), failure("sick")), heeds_stop: Some((seconds(1), exit(0))), ..Life::STEADY };
    let ends = |exit| Life { ends: Some((seconds(3), exit)), ..Life::STEADY };
    let unstartable = Life { start_fails: Some((StartStage::Start, "exec: \"x\": not found")), ..Life::STEADY };
    let rows = [
        ("ends with 0", ends(exit(0))),
        ("ends with 1", ends(exit(1))),
        ("killed for lack of memory", ends(oom)),
        ("cannot be started", unstartable),
        ("killed by its probe, ends with 0", sick),
    ];
    let mut out = String::new();
    for (title, life) in rows {
        let plan = pod(vec![ContainerPlan { liveness: Some(probe(0, 1, 2)), ..container("c", policy) }]);
        let world = played(plan, vec![life], seconds(60));
        writeln!(out, "## {title}\n{}", timeline(&world, Detail::Usual)).unwrap();
    }
    out
}

#[test]
fn policy_always_with_each_end() {
    insta::assert_snapshot!(policy_table(RestartPolicy::Always));
}

#[test]
fn policy_on_failure_with_each_end() {
    insta::assert_snapshot!(policy_table(RestartPolicy::OnFailure));
}

#[test]
fn policy_never_with_each_end() {
    insta::assert_snapshot!(policy_table(RestartPolicy::Never));
}

#[test]
fn policy_after_probe_kill_with_each_end() {
    insta::assert_snapshot!(policy_table(RestartPolicy::AfterProbeKill));
}

#[test]
fn startup_gates_and_readiness_follows_at_once() {
    let plan = ContainerPlan {
        startup: Some(probe(1, 2, 10)),
        liveness: Some(probe(0, 10, 1)),
        readiness: Some(probe(0, 10, 1)),
        ..container("c", RestartPolicy::Always)
    };
    let slow = Life { startup: Health::from(seconds(6), failure("not yet")), ..Life::STEADY };
    let world = played(pod(vec![plan]), vec![slow], seconds(25));
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn a_failed_startup_probe_restarts_the_container() {
    let plan =
        ContainerPlan { startup: Some(probe(0, 1, 3)), liveness: Some(probe(0, 1, 1)), ..container("c", RestartPolicy::Always) };
    let stuck = Life {
        startup: Health { at_first: failure("still loading"), then: Vec::new() },
        heeds_stop: Some((seconds(1), exit(143))),
        ..Life::STEADY
    };
    let world = played(pod(vec![plan]), vec![stuck, Life::STEADY], seconds(10));
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn readiness_comes_and_goes_without_a_restart() {
    let readiness = hshim_health::plan::ProbePlan { success_threshold: 2, ..probe(0, 5, 2) };
    let plan = ContainerPlan { readiness: Some(readiness), ..container("c", RestartPolicy::Always) };
    let flapping = Health {
        at_first: failure("warming up"),
        then: vec![(seconds(8), Outcome::Success), (seconds(28), failure("busy")), (seconds(48), Outcome::Success)],
    };
    let world = played(pod(vec![plan]), vec![Life { readiness: flapping, ..Life::STEADY }], seconds(90));
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn a_probe_that_cannot_be_made_is_shown_and_not_counted_unless_asked_for() {
    let broken =
        Life { liveness: Health { at_first: Outcome::Error("no such file".to_owned()), then: Vec::new() }, ..Life::STEADY };
    let mut out = String::new();
    for errors_count_as_failures in [false, true] {
        let liveness = Some(probe(0, 5, 3));
        let plan = ContainerPlan { liveness, errors_count_as_failures, ..container("c", RestartPolicy::Always) };
        let world = played(pod(vec![plan]), vec![broken.clone()], seconds(14));
        writeln!(out, "## errors count as failures: {errors_count_as_failures}\n{}", timeline(&world, Detail::Usual)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn an_attempt_longer_than_the_period_is_followed_at_once() {
    let plan = ContainerPlan { liveness: Some(probe(2, 5, 3)), ..container("c", RestartPolicy::Always) };
    let slow = Life { probe_takes: Duration::from_secs(7), ..Life::STEADY };
    let world = played(pod(vec![plan]), vec![slow], seconds(40));
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn failures_of_one_life_do_not_count_in_the_next() {
    let plan = ContainerPlan { liveness: Some(probe(0, 5, 3)), ..container("c", RestartPolicy::Always) };
    let crash = Life {
        liveness: Health { at_first: failure("bad"), then: Vec::new() },
        ends: Some((seconds(7), exit(1))),
        ..Life::STEADY
    };
    let world = played(pod(vec![plan]), vec![crash.clone(), crash], seconds(14));
    let text = timeline(&world, Detail::Usual);
    assert!(text.contains("Unhealthy (x4)") && !text.contains("Killing"), "{text}");
}

#[test]
fn a_create_that_fails_is_tried_again() {
    let broken = Life { start_fails: Some((StartStage::Create, "no space left on device")), ..Life::STEADY };
    let lives = vec![broken.clone(), broken.clone(), broken, Life::STEADY];
    let world = played(pod(vec![container("c", RestartPolicy::Never)]), lives, seconds(100));
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn a_pod_is_deleted_in_each_phase_of_its_life() {
    let slow_start = Life { start_takes: seconds(5), ..Life::STEADY };
    let heeding = Life { heeds_stop: Some((seconds(2), exit(143))), ..Life::STEADY };
    let sick = Life { liveness: Health { at_first: failure("sick"), then: Vec::new() }, ..Life::STEADY };
    let unstartable = Life { start_takes: seconds(5), ..crash_at_start(StartStage::Start) };
    let uncreatable = Life { start_takes: seconds(5), ..crash_at_start(StartStage::Create) };
    let rows = [
        ("while it is being started", slow_start, 3),
        ("while a start is about to fail", unstartable, 3),
        ("while a create is about to fail", uncreatable, 3),
        ("running, heeding the signal", heeding, 3),
        ("running, deaf", Life::STEADY, 3),
        ("in back-off", crashing(1), 15),
        ("while a probe's kill is under way", sick, 20),
    ];
    let mut out = String::new();
    for (title, life, after) in rows {
        let plan = pod(vec![ContainerPlan { liveness: Some(probe(0, 5, 2)), ..container("c", RestartPolicy::Always) }]);
        let mut world = World::new(plan, vec![Behaviour(vec![life])]);
        world.plan(seconds(after), Input::StopRequested { grace: None });
        world.run(DAY);
        assert!(world.supervisor.is_finished(), "{title}");
        writeln!(out, "## {title}\n{}", timeline(&world, Detail::Usual)).unwrap();
    }
    insta::assert_snapshot!(out);
}

fn crash_at_start(stage: StartStage) -> Life {
    Life { start_fails: Some((stage, "broken")), ..Life::STEADY }
}

#[test]
fn a_later_request_to_stop_may_only_shorten_the_grace_and_never_below_two_seconds() {
    let mut world = World::new(pod(vec![container("c", RestartPolicy::Always)]), vec![Behaviour(vec![Life::STEADY])]);
    world.plan(seconds(5), Input::StopRequested { grace: Some(seconds(20)) });
    world.plan(seconds(6), Input::StopRequested { grace: Some(seconds(100)) });
    world.plan(seconds(7), Input::StopRequested { grace: Some(Duration::ZERO) });
    world.run(DAY);
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn an_operator_restarts_a_container_that_runs_waits_or_has_ended() {
    let rows = [
        ("running", RestartPolicy::Never, vec![Life { heeds_stop: Some((seconds(1), exit(143))), ..Life::STEADY }, Life::STEADY]),
        ("in back-off", RestartPolicy::Always, vec![crashing(1), crashing(1), Life::STEADY]),
        ("ended", RestartPolicy::Never, vec![crashing(0), Life::STEADY]),
    ];
    let mut out = String::new();
    for (title, policy, lives) in rows {
        let mut world = World::new(pod(vec![container("c", policy)]), vec![Behaviour(lives)]);
        world.plan(seconds(4), Input::RestartRequested { container: FIRST });
        world.run(seconds(60));
        writeln!(out, "## {title}\n{}", timeline(&world, Detail::Usual)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_paused_container_is_not_probed_and_its_grid_goes_on_afterwards() {
    let plan = ContainerPlan { liveness: Some(probe(0, 5, 1)), ..container("c", RestartPolicy::Always) };
    let sick = Life { liveness: Health::until(seconds(31), failure("sick")), ..Life::STEADY };
    let mut world = World::new(pod(vec![plan]), vec![Behaviour(vec![sick])]);
    world.plan(seconds(12), Input::Paused { container: FIRST });
    world.plan(seconds(27), Input::Resumed { container: FIRST });
    world.run(seconds(36));
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn a_bundle_waits_for_start_and_a_kill_from_outside_ends_its_supervision() {
    let plan = PodPlan {
        origin: Origin::Bundle,
        ..pod(vec![ContainerPlan { liveness: Some(probe(0, 5, 1)), ..container("c", RestartPolicy::AfterProbeKill) }])
    };
    let mut world = World::new(plan, vec![Behaviour(vec![Life { ends: Some((seconds(18), exit(143))), ..Life::STEADY }])]);
    world.plan(seconds(3), Input::StartRequested);
    world.plan(seconds(12), Input::SupervisionEnded);
    world.run(DAY);
    insta::assert_snapshot!(timeline(&world, Detail::Attempts));
}

#[test]
fn two_containers_live_their_own_lives_and_are_stopped_together() {
    let web = ContainerPlan { readiness: Some(probe(0, 5, 1)), ..container("web", RestartPolicy::Always) };
    let job = container("job", RestartPolicy::OnFailure);
    let lives = vec![
        Behaviour(vec![Life { heeds_stop: Some((seconds(4), exit(0))), ..Life::STEADY }]),
        Behaviour(vec![
            Life { ends: Some((seconds(2), exit(3))), ..Life::STEADY },
            Life { ends: Some((seconds(2), exit(0))), ..Life::STEADY },
        ]),
    ];
    let mut world = World::new(pod(vec![web, job]), lives);
    world.plan(seconds(60), Input::StopRequested { grace: None });
    world.run(DAY);
    insta::assert_snapshot!(timeline(&world, Detail::Usual));
}

#[test]
fn a_healthy_week_publishes_nothing_and_wakes_only_for_probes() {
    let plan = ContainerPlan {
        startup: Some(probe(0, 10, 3)),
        liveness: Some(probe(0, 10, 3)),
        readiness: Some(probe(0, 10, 3)),
        ..container("c", RestartPolicy::Always)
    };
    let mut world = World::new(pod(vec![plan]), vec![Behaviour(vec![Life::STEADY])]);
    world.run(seconds(60));
    let before = world.steps.len();
    world.run(7 * DAY);
    let later = &world.steps[before..];
    assert!(later.iter().all(|step| step.actions.iter().all(|action| matches!(action, hshim_health::Action::Probe { .. }))));
    let probes: usize = later.iter().map(|step| step.actions.len()).sum();
    let ticks = later.iter().filter(|step| step.input == Input::Tick).count();
    assert_eq!((probes, ticks), (2 * (604_800 - 60) / 10, (604_800 - 60) / 10), "two probes, one wake-up every ten seconds");
}
