//! Who restarts beside a node's agent that comes, goes and falls silent.

use std::time::Duration;

use hshim_health::event::EventReason;
use hshim_health::input::StartStage;
use hshim_health::plan::{ContainerIndex, RestartPolicy};
use hshim_health::restart_owner::{Agent, RestartOwner, Restarter};
use hshim_health::{Action, Input, Moment};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::pods::{container, pod, probe, seconds};
use crate::timeline::starts;
use crate::world::{Behaviour, EPOCH, Health, Life, World, exit, failure};

const FIRST: ContainerIndex = ContainerIndex(0);

fn asks(second: u64) -> Input {
    Input::AgentSeen(Agent { connected: true, last_call: Some(EPOCH + seconds(second)) })
}

fn goes(last_call: u64) -> Input {
    Input::AgentSeen(Agent { connected: false, last_call: Some(EPOCH + seconds(last_call)) })
}

/// A container that is started again after each end, beside an agent that has just asked for it.
fn beside(owner: RestartOwner, lives: Vec<Life>) -> World {
    let mut plan = pod(vec![container("c", RestartPolicy::Always)]);
    plan.containers[0].liveness = Some(probe(0, 5, 1));
    let mut world = World::new(plan, vec![Behaviour(lives)]);
    let agent = Agent { connected: true, last_call: Some(EPOCH) };
    world.supervisor = world.supervisor.beside(agent, owner);
    world
}

fn lasting(duration: u64) -> Life {
    Life { ends: Some((seconds(duration), exit(1))), ..Life::STEADY }
}

/// When somebody else began to restart, in seconds since the beginning.
fn changes(world: &World) -> Vec<(u64, String)> {
    let actions = world.steps.iter().flat_map(|step| step.actions.iter().map(move |action| (step.now, action)));
    let told = actions.filter_map(|(now, action)| match action {
        Action::Record(event) if event.reason == EventReason::RestartOwner => {
            Some((now.since(EPOCH).as_secs(), event.message.clone()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn an_end_is_left_to_an_agent_that_is_there() {
    let mut world = beside(RestartOwner::Auto, vec![lasting(30)]);
    world.run(seconds(40));
    assert_eq!(starts(&world), [0]);
    assert!(world.supervisor.has_ended());
    assert_eq!(changes(&world), [], "nothing has changed");
    assert_eq!(world.supervisor.next_deadline(), None, "nobody is waited for any more");
}

#[test]
fn an_end_is_answered_here_while_the_agent_is_away_and_left_to_it_again_when_it_is_back() {
    let mut world = beside(RestartOwner::Auto, vec![lasting(30)]);
    world.plan(seconds(20), goes(10));
    world.plan(seconds(70), asks(70));
    world.run(seconds(300));
    // The first restart comes at once, the second after ten seconds: it has been decided on before the agent came back.
    assert_eq!(starts(&world), [0, 30, 70]);
    assert!(world.supervisor.has_ended(), "the end at 100 s is the agent's");
    let changes = changes(&world);
    assert_eq!(changes.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [20, 70]);
    assert!(changes[0].1.contains("not connected") && changes[1].1.contains("is there"), "{changes:?}");
}

#[test]
fn a_silent_agent_is_told_of_at_its_minute_and_nothing_wakes_before() {
    let mut world = beside(RestartOwner::Auto, vec![lasting(1000)]);
    let plan = world.supervisor.plan().clone();
    assert!(plan.containers[0].liveness.is_some());
    world.plan(seconds(40), asks(40));
    world.run(seconds(200));
    assert_eq!(changes(&world).iter().map(|(second, _)| *second).collect::<Vec<_>>(), [100]);

    let mut quiet = pod(vec![container("c", RestartPolicy::Always)]);
    quiet.termination_grace = Duration::ZERO;
    let mut world = World::new(quiet, vec![Behaviour(vec![lasting(1000)])]);
    world.supervisor = world.supervisor.beside(Agent { connected: true, last_call: Some(EPOCH) }, RestartOwner::Auto);
    world.plan(seconds(40), asks(40));
    world.run(seconds(900));
    let ticks: Vec<u64> = world
        .steps
        .iter()
        .filter(|step| step.input == Input::Tick && step.now > EPOCH)
        .map(|step| step.now.since(EPOCH).as_secs())
        .collect();
    assert_eq!(ticks, [100], "one wake-up, for the change that it tells of");
}

#[test]
fn a_kill_by_a_probe_is_a_restart_here_only_while_the_agent_is_away() {
    let sick =
        Life { liveness: Health::until(seconds(20), failure("sick")), heeds_stop: Some((seconds(1), exit(0))), ..Life::STEADY };
    let mut here = beside(RestartOwner::Auto, vec![sick.clone(), lasting(1000)]);
    here.plan(seconds(1), goes(0));
    here.run(seconds(20));
    assert!(here.supervisor.is_stopped_for_restart(FIRST));
    here.run(seconds(100));
    assert_eq!(starts(&here), [0, 21]);
    let mut handed = beside(RestartOwner::Kubelet, vec![sick]);
    handed.run(seconds(20));
    assert!(!handed.supervisor.is_stopped_for_restart(FIRST), "it is stopped, and its end is the agent's");
    handed.run(seconds(100));
    assert_eq!(starts(&handed), [0]);
    assert!(handed.supervisor.has_ended());
}

#[test]
fn a_start_that_fails_beside_an_agent_is_its_to_answer() {
    for stage in [StartStage::Config, StartStage::Create, StartStage::Start] {
        let broken = Life { start_fails: Some((stage, "no")), ..Life::STEADY };
        let mut world = beside(RestartOwner::Auto, vec![lasting(30), broken]);
        world.plan(seconds(20), goes(10));
        world.plan(seconds(30), asks(30));
        world.run(seconds(300));
        assert!(world.supervisor.has_ended(), "{stage:?}: {:?}", starts(&world));
    }
}

#[test]
fn the_memory_of_who_restarts_survives_being_written_down() {
    let mut world = beside(RestartOwner::Auto, vec![lasting(1000)]);
    world.plan(seconds(20), goes(10));
    world.run(seconds(30));
    let again = hshim_health::Supervisor::from_json(world.supervisor.to_json().unwrap()).unwrap();
    assert_eq!((again.restarter(), &again), (Restarter::Shim, &world.supervisor));
}

proptest! {
    #[test]
    fn changes_alternate_and_no_end_beside_an_agent_is_followed_by_a_start(
        sights in vec((0..400_u64, any::<bool>()), 0..12),
        lives in vec(1..90_u64, 1..6),
    ) {
        let mut world = beside(RestartOwner::Auto, lives.into_iter().map(lasting).collect());
        for (second, connected) in sights {
            world.plan(seconds(second), if connected { asks(second) } else { goes(second) });
        }
        let mut ended_beside_agent: Option<Moment> = None;
        let mut last = Restarter::Agent;
        world.run_with(seconds(500), |world| {
            let step = world.steps.last().unwrap();
            let told = step.actions.iter().filter(|it| matches!(it, Action::Record(event) if event.reason == EventReason::RestartOwner)).count();
            let now = world.supervisor.restarter();
            assert_eq!(told, usize::from(now != last), "each change is told of once: {step:?}");
            last = now;
            if matches!(step.input, Input::Exited { .. }) && now == Restarter::Agent {
                ended_beside_agent.get_or_insert(step.now);
            }
            let starts = step.actions.iter().any(|it| matches!(it, Action::Start { .. }));
            assert!(!(starts && ended_beside_agent.is_some()), "{step:?}");
        });
    }
}
