//! What `why` says at telling moments of simulated pods.

use std::fmt::Write;

use hshim_health::Input;
use hshim_health::explain::explain;
use hshim_health::input::{Outcome, StartStage};
use hshim_health::plan::{ContainerIndex, ContainerPlan, PodPlan, RestartPolicy};

use crate::pods::{classic, container, pod, probe, seconds};
use crate::scenes::classic_behaviour;
use crate::timeline::stamp;
use crate::world::{Behaviour, EPOCH, Health, Life, World, exit, failure};

/// The explanations at these seconds.
fn told(out: &mut String, title: &str, mut world: World, moments: &[u64]) {
    for moment in moments {
        world.run(seconds(*moment));
        let status = world.supervisor.status().map_time(stamp);
        let lines = explain(world.supervisor.plan(), &status, stamp(EPOCH + seconds(*moment)));
        writeln!(out, "## {title}, after {moment} s\n{}\n", lines.join("\n")).unwrap();
    }
}

fn one(policy: RestartPolicy, life: Life) -> World {
    let plan = ContainerPlan { liveness: Some(probe(0, 5, 2)), ..container("c", policy) };
    World::new(pod(vec![plan]), vec![Behaviour(vec![life])])
}

#[test]
fn why_a_container_is_as_it_is() {
    let mut out = String::new();
    told(&mut out, "classic", World::new(classic(), vec![classic_behaviour()]), &[3, 36, 42, 75, 145, 160]);
    let crash = Life { ends: Some((seconds(1), exit(3))), ..Life::STEADY };
    told(&mut out, "crash loop", one(RestartPolicy::Always, crash.clone()), &[2, 5, 13]);
    told(&mut out, "crash under Never", one(RestartPolicy::Never, crash), &[30]);
    let unstartable = Life { start_fails: Some((StartStage::Start, "exec: \"x\": not found")), ..Life::STEADY };
    told(&mut out, "cannot be started", one(RestartPolicy::Always, unstartable), &[4]);
    let gentle =
        Life { liveness: Health::until(seconds(5), failure("sick")), heeds_stop: Some((seconds(1), exit(0))), ..Life::STEADY };
    told(&mut out, "heeds its stop signal", one(RestartPolicy::OnFailure, gentle), &[12]);
    let mended = Health { at_first: Outcome::Error("no such file".to_owned()), then: vec![(seconds(3), Outcome::Success)] };
    told(&mut out, "mended", one(RestartPolicy::Always, Life { liveness: mended, ..Life::STEADY }), &[6]);
    insta::assert_snapshot!(out);
}

#[test]
fn why_after_an_operator_intervened() {
    let mut out = String::new();
    let ended = Life { ends: Some((seconds(1), exit(0))), ..Life::STEADY };
    let plan: PodPlan = pod(vec![container("c", RestartPolicy::Never)]);
    let mut world = World::new(plan, vec![Behaviour(vec![ended, Life::STEADY])]);
    world.plan(seconds(10), Input::RestartRequested { container: ContainerIndex(0) });
    world.plan(seconds(30), Input::Paused { container: ContainerIndex(0) });
    world.plan(seconds(40), Input::StopRequested { grace: None });
    told(&mut out, "restarted, paused, deleted", world, &[5, 20, 35, 41]);
    insta::assert_snapshot!(out);
}
