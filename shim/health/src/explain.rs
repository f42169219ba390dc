//! The sentences of `hshim why`: what a container is doing now and why, what ended it last, on what evidence, and what follows.

use std::time::Duration;

use jiff::Timestamp;

use crate::columns::{elapsed, go_duration, human_duration};
use crate::plan::{ContainerPlan, PodPlan};
use crate::status::{
    ContainerState, ContainerStatus, PodStatus, Restart, StopCause, Termination, TerminationReason, WaitingReason,
};

/// The explanation of a pod, a line an entry, containers in the order of the plan.
#[must_use]
pub fn explain(plan: &PodPlan, status: &PodStatus<Timestamp>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (plan, container) in plan.containers.iter().zip(&status.containers) {
        lines.push(format!("{}: {}", container.name, state_sentence(plan, container, now)));
        lines.extend(stopping_sentence(container, now).map(indented));
        lines.extend(container.last_restart.iter().flat_map(|restart| restart_sentences(restart, now)).map(indented));
        lines.extend(problem_sentences(container, now).into_iter().map(indented));
    }
    lines
}

fn indented(line: String) -> String {
    format!("  {line}")
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human_duration(elapsed(then, now)))
}

fn state_sentence(plan: &ContainerPlan, container: &ContainerStatus<Timestamp>, now: Timestamp) -> String {
    let restarts = match container.restart_count {
        0 => "never restarted".to_owned(),
        1 => "restarted once".to_owned(),
        count => format!("restarted {count} times"),
    };
    match &container.state {
        ContainerState::Running { started_at, paused, .. } => {
            let word = if *paused { "paused" } else { "running" };
            let ready = if container.ready { "ready" } else { "not ready" };
            format!("{word} since {}, {ready}, {restarts}", human_duration(elapsed(*started_at, now)))
        }
        ContainerState::Waiting { reason: WaitingReason::CrashLoopBackOff, until: Some(until), .. } => {
            format!("waits in back-off, {restarts}; it is started again in {}", human_duration(elapsed(now, *until)))
        }
        ContainerState::Waiting { reason, message, until } => {
            let message = message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            let until = until.filter(|until| *until > now);
            let next = until.map(|until| format!("; tried again in {}", human_duration(elapsed(now, until))));
            format!("waiting ({reason:?}){message}{}", next.unwrap_or_default())
        }
        ContainerState::Terminated(ended) => format!(
            "ended {} {}, {restarts}; restartPolicy {:?} does not start it again",
            ago(ended.finished_at, now),
            termination_words(ended),
            plan.restart_policy
        ),
    }
}

fn stopping_sentence(container: &ContainerStatus<Timestamp>, now: Timestamp) -> Option<String> {
    let stopping = container.stopping.as_ref()?;
    let left = human_duration(elapsed(now, stopping.kill_at));
    Some(format!(
        "being stopped since {} because {}; killed in {left} unless it ends by itself",
        human_duration(elapsed(stopping.since, now)),
        cause_words(&stopping.cause)
    ))
}

fn cause_words(cause: &StopCause) -> String {
    match cause {
        StopCause::ProbeFailed { probe, failures, last_output } => {
            let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
            format!("its {} probe failed {times}: {}", probe.word(), last_output.trim_end())
        }
        StopCause::RestartRequested => "a restart was asked for".to_owned(),
        StopCause::StopRequested => "the pod is being deleted".to_owned(),
        StopCause::Itself => "it ended by itself".to_owned(),
    }
}

fn termination_words(ended: &Termination<Timestamp>) -> String {
    let message = ended.message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    match ended.exit.signal {
        Some(signal) => format!("with exit code {} (signal {signal}, {:?}){message}", ended.exit.code, ended.reason),
        None => format!("with exit code {} ({:?}){message}", ended.exit.code, ended.reason),
    }
}

fn restart_sentences(restart: &Restart<Timestamp>, now: Timestamp) -> Vec<String> {
    let is_to_come = restart.restarted_at > now;
    let cause = match restart.termination.reason {
        TerminationReason::StartError => "it could not be started".to_owned(),
        TerminationReason::Completed | TerminationReason::Error | TerminationReason::OOMKilled | TerminationReason::Unknown => {
            cause_words(&restart.cause)
        }
    };
    let mut lines = vec![match is_to_come {
        true => format!("to be restarted because {cause}"),
        false => format!("last restart, {}: {cause}", ago(restart.restarted_at, now)),
    }];
    if let Some(first) = restart.first_failure_at {
        lines
            .push(format!("first failure {} before the decision to stop it", human_duration(elapsed(first, restart.decided_at))));
    }
    match (&restart.cause, restart.grace_exceeded) {
        (StopCause::Itself, _) => {}
        (_, true) => lines.push(format!("it did not end within its grace of {}, so it was killed", go_duration(restart.grace))),
        // It had ended before it was asked to.
        (_, false) if restart.grace.is_zero() => {}
        (_, false) => lines.push("it ended within its grace".to_owned()),
    }
    let end = &restart.termination;
    lines.push(format!("ended {} {}", ago(end.finished_at, now), termination_words(end)));
    if is_to_come {
        lines.push(format!("its back-off is {}", human_duration(restart.backoff)));
        return lines;
    }
    lines.push(match restart.backoff {
        Duration::ZERO => "restarted at once, without back-off".to_owned(),
        short if short < Duration::from_secs(1) => format!("restarted after a back-off of {} ms", short.as_millis()),
        wait => format!("restarted after a back-off of {}", human_duration(wait)),
    });
    lines
}

fn problem_sentences(container: &ContainerStatus<Timestamp>, now: Timestamp) -> Vec<String> {
    let worded = container.probes.iter().filter_map(|probe| {
        let problem = probe.last_problem.as_ref()?;
        let standing = match probe.failures {
            0 => "succeeds again".to_owned(),
            1 => "has failed once".to_owned(),
            count => format!("has failed {count} times in a row"),
        };
        let message = problem.message.trim_end();
        Some(format!("{} probe {standing}; last problem {}: {message}", probe.probe.word(), ago(problem.at, now)))
    });
    worded.collect()
}
