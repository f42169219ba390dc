//! The probes of a container: an exec handler, and numbers with Kubernetes' defaults.

use std::time::Duration;

use crate::expansion::expand;
use crate::faults::{FaultKind, Faults};
use crate::plan::{ProbeHandler, ProbeKind, ProbePlan};
use crate::pod::ProbeSpec;

/// A probe as meant. Zeroes are defaults, as Kubernetes' defaulting has it; a probe with faults comes out with something harmless.
pub(crate) fn probe_plan(
    kind: ProbeKind,
    spec: ProbeSpec,
    path: &str,
    faults: &mut Faults,
    lookup: impl Fn(&str) -> Option<String>,
) -> ProbePlan {
    let command = handler(&spec, path, faults).unwrap_or_default();
    let mut number = |field: &str, value: Option<i32>, default: u32| -> u32 {
        match value.unwrap_or(0) {
            0 => default,
            value => u32::try_from(value).unwrap_or_else(|_negative| {
                faults.invalid(&format!("{path}.{field}"), value, "must be greater than or equal to 0");
                default
            }),
        }
    };
    let initial_delay = number("initialDelaySeconds", spec.initial_delay_seconds, 0);
    let timeout = number("timeoutSeconds", spec.timeout_seconds, 1);
    let period = number("periodSeconds", spec.period_seconds, 10);
    let success_threshold = number("successThreshold", spec.success_threshold, 1);
    let failure_threshold = number("failureThreshold", spec.failure_threshold, 3);
    if kind != ProbeKind::Readiness && success_threshold != 1 {
        faults.invalid(&format!("{path}.successThreshold"), success_threshold, "must be 1");
    }
    let termination_grace = spec.termination_grace_period_seconds.and_then(|seconds| {
        let at = format!("{path}.terminationGracePeriodSeconds");
        match (kind, u64::try_from(seconds)) {
            (ProbeKind::Readiness, _) => faults.invalid(&at, seconds, "must not be set for readinessProbes"),
            (ProbeKind::Startup | ProbeKind::Liveness, Ok(seconds @ 1..)) => return Some(Duration::from_secs(seconds)),
            (ProbeKind::Startup | ProbeKind::Liveness, Ok(0) | Err(_)) => faults.invalid(&at, seconds, "must be greater than 0"),
        }
        None
    });
    ProbePlan {
        handler: ProbeHandler::Exec { command: command.iter().map(|word| expand(word, &lookup)).collect() },
        initial_delay: Duration::from_secs(initial_delay.into()),
        period: Duration::from_secs(period.into()),
        timeout: Duration::from_secs(timeout.into()),
        success_threshold,
        failure_threshold,
        termination_grace,
    }
}

fn handler(spec: &ProbeSpec, path: &str, faults: &mut Faults) -> Option<Vec<String>> {
    // Examined in this order; the first is the handler, every further one is too many.
    let given = spec.exec.iter().map(|_| "exec").chain(spec.other_handlers.iter().copied());
    for extra in given.skip(1) {
        faults.forbidden(&format!("{path}.{extra}"), "may not specify more than 1 handler type");
    }
    match (&spec.exec, spec.other_handlers.first()) {
        (Some(command), _) if command.is_empty() => faults.required(&format!("{path}.exec.command"), ""),
        (Some(command), _) => return Some(command.clone()),
        (None, Some(other)) => {
            faults.add(&format!("{path}.{other}"), FaultKind::NotSupported, None, "use an exec probe");
        }
        (None, None) => faults.required(path, "must specify a handler type"),
    }
    None
}
