//! The wait between restarts.
//!
//! Kubernetes' crash-loop back-off (client-go/util/flowcontrol/backoff.go), counted from the container's actual exit:
//! the first restart is immediate, then `initial`, doubled each time up to `cap`; a life that outlasts `reset_after`
//! begins again at nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::plan::BackoffPlan;

/// Memory of the back-off of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backoff {
    next: Option<Advance>,
    /// When there were restarts; only as many as the budget asks about.
    #[serde(default)]
    restarts: Vec<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Advance {
    delay: Duration,
    at: Moment,
}

impl Backoff {
    /// How long to wait after an exit at `finished`.
    pub(crate) fn wait_after(&self, plan: &BackoffPlan, finished: Moment) -> Duration {
        match self.next {
            Some(advance) if finished.since(advance.at) <= plan.reset_after => advance.delay,
            Some(_) | None => Duration::ZERO,
        }
    }

    /// A restart is ordered `now`, after an exit at `finished`: the next wait becomes longer.
    pub(crate) fn advance(&mut self, plan: &BackoffPlan, finished: Moment, now: Moment) {
        let delay = match self.next {
            Some(advance) if finished.since(advance.at) <= plan.reset_after => advance.delay.saturating_mul(2).min(plan.cap),
            Some(_) | None => plan.initial.min(plan.cap),
        };
        self.next = Some(Advance { delay, at: now });
        if let Some(budget) = plan.budget {
            self.restarts.retain(|at| now.since(*at) < budget.within);
            self.restarts.push(now);
        }
    }

    /// Whether the budget has a further restart.
    pub(crate) fn allows(&self, plan: &BackoffPlan, now: Moment) -> bool {
        plan.budget.is_none_or(|budget| {
            let recent = self.restarts.iter().filter(|at| now.since(**at) < budget.within).count();
            u32::try_from(recent).is_ok_and(|recent| recent < budget.restarts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_from_nothing_up_to_the_cap() {
        let plan = BackoffPlan::KUBERNETES;
        let mut backoff = Backoff::default();
        let mut now = at(100);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = backoff.wait_after(&plan, now);
            waits.push(wait.as_secs());
            let start = now + wait;
            backoff.advance(&plan, now, start);
            now = start;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_life_longer_than_the_reset_time_forgets_the_backoff() {
        let plan = BackoffPlan::KUBERNETES;
        let mut backoff = Backoff::default();
        backoff.advance(&plan, at(0), at(0));
        backoff.advance(&plan, at(10), at(20));
        assert_eq!(backoff.wait_after(&plan, at(620)), Duration::from_secs(20), "exactly 600 s is not longer");
        assert_eq!(backoff.wait_after(&plan, at(621)), Duration::ZERO);
        backoff.advance(&plan, at(621), at(621));
        assert_eq!(backoff.wait_after(&plan, at(622)), Duration::from_secs(10));
    }

    #[test]
    fn a_budget_ends_restarts_and_fills_up_with_time() {
        let plan = BackoffPlan {
            budget: Some(crate::plan::RestartBudget { restarts: 2, within: Duration::from_secs(60) }),
            ..BackoffPlan::KUBERNETES
        };
        let mut backoff = Backoff::default();
        let mut allowed = Vec::new();
        for second in [0, 10, 20, 59, 60, 61] {
            allowed.push(backoff.allows(&plan, at(second)));
            if backoff.allows(&plan, at(second)) {
                backoff.advance(&plan, at(second), at(second));
            }
        }
        assert_eq!(allowed, [true, true, false, false, true, false]);
        assert!(backoff.allows(&BackoffPlan::KUBERNETES, at(61)), "no budget, no end");
    }

    #[test]
    fn a_cap_below_the_initial_wait_is_the_wait() {
        let plan = BackoffPlan { cap: Duration::from_secs(3), ..BackoffPlan::KUBERNETES };
        let mut backoff = Backoff::default();
        backoff.advance(&plan, at(0), at(0));
        assert_eq!(backoff.wait_after(&plan, at(1)), Duration::from_secs(3));
    }
}
