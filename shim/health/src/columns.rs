//! The columns of `kubectl get pods` and the words of `kubectl describe` (printers/internalversion `printPod`,
//! kubectl/pkg/describe, apimachinery/pkg/util/duration).

use std::time::Duration;

use jiff::Timestamp;

use crate::input::Exit;
use crate::plan::{ProbeHandler, ProbePlan};
use crate::status::{ConditionKind, ContainerState, ContainerStatus, PodPhase, PodStatus, TerminationReason, WaitingReason};

/// One line of `get pods`, without the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `1/1`.
    pub ready: String,
    /// `Running`, `CrashLoopBackOff` …
    pub status: String,
    /// `1 (5s ago)`.
    pub restarts: String,
    /// `75s`.
    pub age: String,
}

impl Row {
    /// The line for a status at this time.
    #[must_use]
    pub fn of(status: &PodStatus<Timestamp>, now: Timestamp) -> Self {
        let ready = status.containers.iter().filter(|container| container.ready).count();
        Self {
            ready: format!("{ready}/{}", status.containers.len()),
            status: status_word(status),
            restarts: restarts(status, now),
            age: human_duration(elapsed(status.started_at, now)),
        }
    }
}

/// The STATUS column.
#[must_use]
pub fn status_word<T>(status: &PodStatus<T>) -> String {
    let terminal = matches!(status.phase, PodPhase::Succeeded | PodPhase::Failed);
    if status.stop_requested_at.is_some() && !terminal {
        return "Terminating".to_owned();
    }
    // The first declared container that has something to say wins.
    let word = status.containers.iter().find_map(container_word).unwrap_or_else(|| format!("{:?}", status.phase));
    if word == "Completed" { word_beside_completed(status).unwrap_or(word) } else { word }
}

/// What counts more than that the first container has completed: the others, if they run or failed.
fn word_beside_completed<T>(status: &PodStatus<T>) -> Option<String> {
    let runs = |container: &ContainerStatus<T>| container.ready && matches!(container.state, ContainerState::Running { .. });
    let some_run = status.containers.iter().any(runs);
    let pod_ready = status.conditions.iter().any(|condition| condition.kind == ConditionKind::Ready && condition.status);
    if some_run && pod_ready {
        return Some("Running".to_owned());
    }
    let failed = status.containers.iter().find_map(|container| match &container.state {
        ContainerState::Terminated(ended) if ended.exit.code != 0 => Some(termination_word(ended.reason, ended.exit)),
        ContainerState::Terminated(_) | ContainerState::Running { .. } | ContainerState::Waiting { .. } => None,
    });
    failed.or_else(|| some_run.then(|| "NotReady".to_owned()))
}

fn container_word<T>(container: &ContainerStatus<T>) -> Option<String> {
    match &container.state {
        ContainerState::Running { .. } => None,
        // A life that is being re-created right after the last one: kubectl never sees this moment, the kubelet kills and
        // restarts in one synchronisation.
        ContainerState::Waiting { reason: WaitingReason::ContainerCreating, .. } if container.last_termination.is_some() => None,
        ContainerState::Waiting { reason, .. } => Some(format!("{reason:?}")),
        ContainerState::Terminated(ended) => Some(termination_word(ended.reason, ended.exit)),
    }
}

fn termination_word(reason: TerminationReason, exit: Exit) -> String {
    match (reason, exit.signal) {
        (TerminationReason::Unknown, Some(signal)) => format!("Signal:{signal}"),
        (TerminationReason::Unknown, None) => format!("ExitCode:{}", exit.code),
        (
            TerminationReason::Completed
            | TerminationReason::Error
            | TerminationReason::OOMKilled
            | TerminationReason::StartError,
            _,
        ) => format!("{reason:?}"),
    }
}

fn restarts(status: &PodStatus<Timestamp>, now: Timestamp) -> String {
    let count: u64 = status.containers.iter().map(|container| u64::from(container.restart_count)).sum();
    let ends = status.containers.iter().filter_map(|container| container.last_termination.as_ref());
    match ends.map(|ended| ended.finished_at).max() {
        Some(last) if count > 0 => format!("{count} ({} ago)", human_duration(elapsed(last, now))),
        Some(_) | None => count.to_string(),
    }
}

/// From `then` to `now`; nothing if `then` is later.
#[must_use]
pub fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// kubectl's HumanDuration: two units where they matter, then one.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: u64, big_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `1h0m0s`, `100ms`, `1.5s`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if duration.is_zero() {
        return "0s".to_owned();
    }
    if seconds == 0 {
        let (count, unit) = match duration.subsec_nanos() {
            nanos @ 1_000_000.. => (f64::from(nanos) / 1e6, "ms"),
            nanos @ 1_000.. => (f64::from(nanos) / 1e3, "µs"),
            nanos => (f64::from(nanos), "ns"),
        };
        return format!("{count}{unit}");
    }
    let fraction = match duration.subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    let rest = format!("{}{fraction}s", seconds % 60);
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// A probe as `kubectl describe` shows it: `exec [cat /tmp/healthy] delay=5s timeout=1s period=5s #success=1 #failure=3`.
#[must_use]
pub fn probe_line(probe: &ProbePlan) -> String {
    let handler = match &probe.handler {
        ProbeHandler::Exec { command } => format!("exec [{}]", command.join(" ")),
    };
    format!(
        "{handler} delay={} timeout={} period={} #success={} #failure={}",
        go_duration(probe.initial_delay),
        go_duration(probe.timeout),
        go_duration(probe.period),
        probe.success_threshold,
        probe.failure_threshold
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        let rows = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (15_060, "4h11m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(human_duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn durations_are_gos() {
        let rows = [
            (0, "0s"),
            (100, "100ms"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (160_000, "2m40s"),
            (300_000, "5m0s"),
            (3_600_000, "1h0m0s"),
        ];
        for (milliseconds, expected) in rows {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), expected);
        }
    }
}
