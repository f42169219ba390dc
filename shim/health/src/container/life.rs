//! A running process with its probes: which of them are due, and when.

use serde::{Deserialize, Serialize};

use super::{Orders, Stop, Surroundings};
use crate::action::Action;
use crate::input::RunNumber;
use crate::moment::Moment;
use crate::plan::ProbeKind;
use crate::prober::Prober;
use crate::status::Verdict;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) started_at: Moment,
    pub(crate) pid: u32,
    pub(crate) paused: bool,
    pub(crate) probers: Vec<Prober>,
    pub(crate) stop: Option<Stop>,
}

impl Life {
    pub(super) fn is_started(&self) -> bool {
        let startup = self.probers.iter().find(|prober| prober.kind() == ProbeKind::Startup);
        startup.is_none_or(|prober| prober.verdict() == Some(Verdict::Success))
    }

    /// Until the startup probe has passed, the others rest.
    fn is_open(&self, kind: ProbeKind) -> bool {
        kind == ProbeKind::Startup || self.is_started()
    }

    pub(super) fn probe_deadline(&self) -> Option<Moment> {
        if self.paused {
            return None;
        }
        self.probers.iter().filter(|prober| self.is_open(prober.kind())).filter_map(Prober::deadline).min()
    }

    pub(super) fn probe(&mut self, run: RunNumber, around: Surroundings<'_>, orders: &mut Orders) {
        if self.paused {
            return;
        }
        let started = self.is_started();
        for prober in &mut self.probers {
            let kind = prober.kind();
            let Some(plan) = around.plan.probe(kind).filter(|_| started || kind == ProbeKind::Startup) else { continue };
            if let Some(attempt) = prober.attempt(plan, around.now) {
                let (container, timeout) = (around.index, plan.timeout);
                orders.actions.push(Action::Probe { container, run, probe: kind, attempt, timeout });
            }
        }
    }

    /// The startup probe has passed: readiness is looked at now, liveness at its next grid point.
    pub(super) fn open_gate(&mut self, around: Surroundings<'_>) {
        self.realign(around);
        for prober in self.probers.iter_mut().filter(|prober| prober.kind() == ProbeKind::Readiness) {
            prober.hurry(around.now);
        }
    }

    pub(super) fn realign(&mut self, around: Surroundings<'_>) {
        for prober in &mut self.probers {
            if let Some(plan) = around.plan.probe(prober.kind()) {
                prober.realign(plan, around.now);
            }
        }
    }
}
