//! The answer to an attempt of a probe, and what it changes.

use super::{Container, Orders, Stage, Surroundings};
use crate::event::EventReason;
use crate::input::Outcome;
use crate::plan::ProbeKind;
use crate::status::Verdict;

/// The answer to an attempt of a probe.
pub(crate) struct Answer {
    pub(crate) kind: ProbeKind,
    pub(crate) attempt: u64,
    pub(crate) outcome: Outcome,
}

impl Container {
    pub(crate) fn on_probed(&mut self, answer: Answer, around: Surroundings<'_>, orders: &mut Orders) {
        let Answer { kind, attempt, outcome } = answer;
        let Stage::Running(life) = &mut self.stage else { return };
        let Some(plan) = around.plan.probe(kind) else { return };
        let Some(prober) = life.probers.iter_mut().find(|prober| prober.kind() == kind) else { return };
        if !prober.land(attempt) || life.stop.is_some() || life.paused || self.retired {
            return;
        }
        let outcome = outcome.counted(around.plan.errors_count_as_failures);
        if let Some(text) = outcome.complaint(kind) {
            orders.warn(around.plan, EventReason::Unhealthy, text);
        }
        match (prober.judge(plan, &outcome, around.now), kind) {
            (Some(Verdict::Failure), ProbeKind::Startup | ProbeKind::Liveness) => self.stop_unhealthy(kind, around, orders),
            (Some(Verdict::Success), ProbeKind::Startup) => life.open_gate(around),
            (Some(_), ProbeKind::Liveness | ProbeKind::Readiness) | (None, _) => {}
        }
    }
}

impl Outcome {
    fn counted(self, errors_count_as_failures: bool) -> Self {
        match self {
            Self::Error(text) if errors_count_as_failures => Self::Failure(text),
            Self::Success | Self::Failure(_) | Self::Error(_) | Self::Skipped => self,
        }
    }

    /// The text of the event about it, as in the kubelet's prober.
    fn complaint(&self, kind: ProbeKind) -> Option<String> {
        match self {
            Self::Failure(output) => Some(format!("{} probe failed: {output}", kind.title())),
            Self::Error(error) => Some(format!("{} probe errored and resulted in unknown state: {error}", kind.title())),
            Self::Success | Self::Skipped => None,
        }
    }
}
