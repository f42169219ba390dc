//! The tables of docs/kubelet-differences.md: made here, so that the page cannot say anything else than the supervisor does.

use std::fmt::Write;

use hshim_health::Action;
use hshim_health::input::Input;
use hshim_health::plan::RestartPolicy;

use crate::pods::{classic, container, pod, seconds};
use crate::scenes::classic_behaviour;
use crate::timeline::starts;
use crate::world::{Behaviour, EPOCH, Life, World, exit};

const PAGE: &str = include_str!("../../../../docs/kubelet-differences.md");

/// One life of the classic example, in seconds: when it started, when its kill was decided, when it ended, and the wait after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cycle {
    start: u64,
    kill: u64,
    exit: u64,
    wait: u64,
}

/// The kubelet's arithmetic (prober/worker.go, kuberuntime_manager.go `doBackOff`): ticks from the worker's creation 2 s before
/// a multiple of the period, 1 s from an end to the next start, no jitter of the retry.
fn kubelet(lives: usize) -> Vec<Cycle> {
    let (phase, period, restart) = (2, 5, 1);
    let mut cycles: Vec<Cycle> = Vec::new();
    let (mut start, mut delay, mut last_exit) = (0_u64, None, None);
    for _ in 0..lives {
        let first_failure = (start + 30 - phase).div_ceil(period) * period + phase;
        let kill = first_failure + 2 * period;
        let end = kill + 30;
        // Compared is the end of the life *before* this one: what was known when the kill began.
        let waits = last_exit.zip(delay).is_some_and(|(before, delay)| end - before < delay);
        let wait = if waits { delay.unwrap_or(0) } else { 0 };
        // Without any end before there is nothing to compare with, and no back-off is begun.
        if last_exit.is_some() {
            delay = Some(delay.map_or(10, |delay| (2 * delay).min(300)));
        }
        cycles.push(Cycle { start, kill, exit: end, wait });
        (last_exit, start) = (Some(end), end + wait + restart);
    }
    cycles
}

/// The same pod in the simulator.
fn hshim(lives: usize) -> Vec<Cycle> {
    let mut world = World::new(classic(), vec![classic_behaviour()]);
    world.run(seconds(10_000));
    let mut cycles: Vec<Cycle> = Vec::new();
    for step in &world.steps {
        let now = step.now.since(EPOCH).as_secs();
        let terminates = step.actions.iter().any(|action| matches!(action, Action::Terminate { .. }));
        let orders = step.actions.iter().any(|action| matches!(action, Action::Start { .. }));
        match (&step.input, cycles.last_mut()) {
            (Input::Started { .. }, _) => cycles.push(Cycle { start: now, kill: 0, exit: 0, wait: 0 }),
            (Input::Probed { .. }, Some(cycle)) if terminates => cycle.kill = now,
            (Input::Exited { .. }, Some(cycle)) => cycle.exit = now,
            (Input::Tick, Some(cycle)) if orders => cycle.wait = now - cycle.exit,
            _ => {}
        }
    }
    cycles.truncate(lives);
    cycles
}

fn side_by_side(kubelet: &[Cycle], hshim: &[Cycle]) -> String {
    let mut table = String::from(
        "| life | kubelet: start | kill decided | exit 137 | waits | hshim: start | kill decided | exit 137 | waits |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let cells = |cycle: &Cycle| format!("{} | {} | {} | {}", cycle.start, cycle.kill, cycle.exit, cycle.wait);
    for (n, (theirs, ours)) in kubelet.iter().zip(hshim).enumerate() {
        writeln!(table, "| {n} | {} | {} |", cells(theirs), cells(ours)).unwrap();
    }
    table
}

#[test]
fn the_model_of_the_kubelet_agrees_with_what_was_observed() {
    let starts: Vec<u64> = kubelet(7).iter().map(|cycle| cycle.start).collect();
    assert_eq!(starts, [0, 73, 148, 223, 298, 373, 528]);
}

#[test]
fn the_page_shows_the_first_restarts_of_the_classic_example_side_by_side() {
    let table = side_by_side(&kubelet(10), &hshim(10));
    assert!(PAGE.contains(&table), "docs/kubelet-differences.md must contain\n{table}");
}

#[test]
fn the_page_shows_the_crash_loop() {
    let crash = Life { ends: Some((seconds(0), exit(1))), ..Life::STEADY };
    let mut world = World::new(pod(vec![container("c", RestartPolicy::Always)]), vec![Behaviour(vec![crash])]);
    world.run(seconds(1000));
    let line = starts(&world).iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    assert!(PAGE.contains(&line), "docs/kubelet-differences.md must contain\n{line}");
}
