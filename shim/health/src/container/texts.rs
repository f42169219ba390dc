//! What events and statuses say about a container, in the kubelet's words where it has any.

use std::time::Duration;

use super::Surroundings;
use crate::plan::ContainerPlan;
use crate::status::StopCause;

pub(super) fn killing(cause: &StopCause, plan: &ContainerPlan) -> String {
    match cause {
        StopCause::ProbeFailed { probe, .. } => {
            let then = if plan.restart_policy.restarts_after_probe_kill() { ", will be restarted" } else { "" };
            format!("Container {} failed {} probe{then}", plan.name, probe.word())
        }
        StopCause::RestartRequested | StopCause::StopRequested | StopCause::Itself => format!("Stopping container {}", plan.name),
    }
}

fn pod_words(around: Surroundings<'_>) -> String {
    format!("{}_{}({})", around.pod.name, around.pod.namespace, around.pod.uid)
}

pub(super) fn backing_off_event(around: Surroundings<'_>) -> String {
    format!("Back-off restarting failed container {} in pod {}", around.plan.name, pod_words(around))
}

pub(super) fn budget(around: Surroundings<'_>) -> String {
    let name = &around.plan.name;
    around.plan.backoff.budget.map_or_else(String::new, |budget| {
        let within = crate::columns::go_duration(budget.within);
        format!("Container {name} was restarted {} times within {within}, its end is final", budget.restarts)
    })
}

pub(super) fn backing_off_message(wait: Duration, around: Surroundings<'_>) -> String {
    format!(
        "back-off {} restarting failed container={} pod={}",
        crate::columns::go_duration(wait),
        around.plan.name,
        pod_words(around)
    )
}
