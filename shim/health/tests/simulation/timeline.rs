//! What happened, as text: one line for each order, event and change of what `kubectl get` would show.

use std::fmt::Write;
use std::time::Duration;

use hshim_health::columns::Row;
use hshim_health::{Action, Moment};
use jiff::{SignedDuration, Timestamp};

use crate::world::{EPOCH, World};

/// The pod was made at the beginning of 2026, wall time.
pub(crate) fn stamp(moment: Moment) -> Timestamp {
    let start = Timestamp::from_second(1_767_225_600).unwrap();
    start + SignedDuration::try_from(moment.since(EPOCH)).unwrap()
}

/// `12`, `12.5`: seconds since the beginning.
pub(crate) fn clock(moment: Moment) -> String {
    let since = moment.since(EPOCH);
    if since.subsec_nanos() == 0 { since.as_secs().to_string() } else { format!("{:.1}", since.as_secs_f64()) }
}

/// Which lines are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything but probes that are merely attempted.
    Usual,
    /// Attempts too.
    Attempts,
}

pub(crate) fn timeline(world: &World, detail: Detail) -> String {
    let mut out = String::new();
    let mut shown = None;
    for step in &world.steps {
        for line in step.actions.iter().filter_map(|action| line(action, detail)) {
            writeln!(out, "{:>7}  {line}", clock(step.now)).unwrap();
        }
        let row = step.actions.iter().rev().find_map(|action| row(action, step.now));
        // That time goes by is no change.
        if let Some((state, text)) = row.filter(|(state, _)| shown.as_ref() != Some(state)) {
            writeln!(out, "{:>7}  | {text}", clock(step.now)).unwrap();
            shown = Some(state);
        }
    }
    let last = world.supervisor.status();
    let restarts: Vec<u32> = last.containers.iter().map(|container| container.restart_count).collect();
    writeln!(out, "{:>7}  = {:?}, restarts {restarts:?}", clock(world.now), last.phase).unwrap();
    out
}

fn line(action: &Action, detail: Detail) -> Option<String> {
    match action {
        Action::Start { container, run } => Some(format!("start c{} life {}", container.0, run.0)),
        Action::Terminate { container, signal, .. } => Some(format!("signal {signal} to c{}", container.0)),
        Action::Kill { container, .. } => Some(format!("kill c{}", container.0)),
        Action::Probe { container, probe, attempt, .. } if detail == Detail::Attempts => {
            Some(format!("probe c{} {} #{attempt}", container.0, probe.word()))
        }
        Action::Probe { .. } | Action::Publish(_) => None,
        Action::Record(event) => {
            let count = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
            Some(format!("{:?} {:?}{count}: {}", event.kind, event.reason, event.message))
        }
        Action::Finish => Some("finish".to_owned()),
    }
}

fn row(action: &Action, now: Moment) -> Option<([String; 3], String)> {
    let Action::Publish(status) = action else { return None };
    let row = Row::of(&status.clone().map_time(stamp), stamp(now));
    let text = format!("{} {} {}", row.ready, row.status, row.restarts);
    let count = row.restarts.chars().take_while(char::is_ascii_digit).collect();
    Some(([row.ready, row.status, count], text))
}

/// When the containers' lives were ordered, in seconds since the beginning.
pub(crate) fn starts(world: &World) -> Vec<u64> {
    let orders = world.steps.iter().flat_map(|step| step.actions.iter().map(move |action| (step.now, action)));
    orders.filter(|(_, action)| matches!(action, Action::Start { .. })).map(|(now, _)| now.since(EPOCH).as_secs()).collect()
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
