//! One probe of one life of a container.
//!
//! ```text
//!            due                      answer, below the threshold
//!   resting ─────▶ attempt in flight ─────────────────────────────▶ resting
//!                        │ answer crosses the threshold
//!                        ▼
//!                     verdict ──▶ resting (readiness; liveness success)
//!                             └─▶ on hold (startup; liveness failure): no attempt until the next life
//! ```
//!
//! Attempts start on a grid anchored at the container's start: start + initial delay + k × period. An attempt that overruns
//! makes the next one start as soon as it ends; further grid points that it covered are lost.

use serde::{Deserialize, Serialize};

use crate::input::Outcome;
use crate::moment::Moment;
use crate::plan::{ProbeKind, ProbePlan};
use crate::status::{ProbeStatus, Problem, Verdict};

/// State of one probe in one life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prober {
    kind: ProbeKind,
    anchor: Moment,
    due: Moment,
    in_flight: Option<u64>,
    attempts: u64,
    streak: Option<Streak>,
    verdict: Option<Verdict>,
    on_hold: bool,
    last_problem: Option<Problem<Moment>>,
}

/// Equal raw results in a row; the length stops at the threshold, so that a healthy probe's state does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Streak {
    result: Verdict,
    length: u32,
    since: Moment,
}

impl Prober {
    /// A probe of a life that began at `started`.
    pub(crate) fn new(kind: ProbeKind, plan: &ProbePlan, started: Moment) -> Self {
        let anchor = started + plan.initial_delay;
        Self {
            kind,
            anchor,
            due: anchor,
            in_flight: None,
            attempts: 0,
            streak: None,
            verdict: None,
            on_hold: false,
            last_problem: None,
        }
    }

    pub(crate) const fn kind(&self) -> ProbeKind {
        self.kind
    }

    pub(crate) const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// When the failures in a row began, and how many there are.
    pub(crate) fn failures(&self) -> Option<(Moment, u32)> {
        self.streak.filter(|streak| streak.result == Verdict::Failure).map(|streak| (streak.since, streak.length))
    }

    /// When the next attempt starts; none while one is in flight or the probe is on hold.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        (self.in_flight.is_none() && !self.on_hold).then_some(self.due)
    }

    /// Start an attempt if one is due: its number.
    pub(crate) fn attempt(&mut self, plan: &ProbePlan, now: Moment) -> Option<u64> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.attempts += 1;
        self.in_flight = Some(self.attempts);
        self.due = self.grid_after(plan, now);
        self.in_flight
    }

    /// Begin now instead of at the next grid point, but not before the initial delay is over.
    pub(crate) fn hurry(&mut self, now: Moment) {
        self.due = now.max(self.anchor);
    }

    /// Forget grid points that passed while the probe had to rest.
    pub(crate) fn realign(&mut self, plan: &ProbePlan, now: Moment) {
        if self.due < now {
            self.due = self.grid_after(plan, now);
        }
    }

    /// Take the answer to an attempt. False if it does not belong to the one in flight.
    pub(crate) fn land(&mut self, attempt: u64) -> bool {
        let mine = self.in_flight == Some(attempt);
        if mine {
            self.in_flight = None;
        }
        mine
    }

    /// Count an outcome; the verdict if a threshold was crossed by it and the stored verdict changed.
    pub(crate) fn judge(&mut self, plan: &ProbePlan, outcome: &Outcome, now: Moment) -> Option<Verdict> {
        let (result, threshold) = match outcome {
            Outcome::Success => (Verdict::Success, plan.success_threshold),
            Outcome::Failure(message) => {
                self.note_problem(message, now);
                (Verdict::Failure, plan.failure_threshold)
            }
            Outcome::Error(message) => {
                self.note_problem(message, now);
                return None;
            }
            Outcome::Skipped => return None,
        };
        if self.extend_streak(result, threshold, now) < threshold {
            return None;
        }
        let changed = self.verdict != Some(result);
        self.verdict = Some(result);
        self.on_hold = match self.kind {
            ProbeKind::Startup => true,
            ProbeKind::Liveness => result == Verdict::Failure,
            ProbeKind::Readiness => false,
        };
        changed.then_some(result)
    }

    fn extend_streak(&mut self, result: Verdict, threshold: u32, now: Moment) -> u32 {
        let streak = match self.streak {
            Some(streak) if streak.result == result => {
                // Failures are shown, so they are counted on; successes stop at the threshold.
                let limit = if result == Verdict::Failure { u32::MAX } else { threshold };
                Streak { length: streak.length.saturating_add(1).min(limit), ..streak }
            }
            Some(_) | None => Streak { result, length: 1, since: now },
        };
        self.streak = Some(streak);
        streak.length
    }

    fn note_problem(&mut self, message: &str, now: Moment) {
        self.last_problem = Some(Problem { message: message.to_owned(), at: now });
    }

    fn grid_after(&self, plan: &ProbePlan, now: Moment) -> Moment {
        let period = plan.period.as_nanos().max(1);
        if now < self.anchor {
            return self.anchor;
        }
        let into = now.since(self.anchor).as_nanos() % period;
        now + nanoseconds(period - into)
    }

    pub(crate) fn status(&self) -> ProbeStatus<Moment> {
        ProbeStatus {
            probe: self.kind,
            verdict: self.verdict,
            failures: self.failures().map_or(0, |(_, length)| length),
            last_problem: self.last_problem.clone(),
        }
    }
}

/// A number of nanoseconds below 2^64 (584 years): a period is at most 2^31 seconds.
fn nanoseconds(count: u128) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::ProbeHandler;

    fn plan() -> ProbePlan {
        ProbePlan {
            handler: ProbeHandler::Exec { command: vec!["true".to_owned()] },
            initial_delay: Duration::from_secs(5),
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace: None,
        }
    }

    fn at(milliseconds: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(milliseconds))
    }

    fn failure() -> Outcome {
        Outcome::Failure("no".to_owned())
    }

    #[test]
    fn the_first_attempt_comes_exactly_after_the_initial_delay_and_then_on_the_grid() {
        let plan = plan();
        let mut prober = Prober::new(ProbeKind::Liveness, &plan, at(100_000));
        assert_eq!(prober.deadline(), Some(at(105_000)));
        assert_eq!(prober.attempt(&plan, at(104_999)), None);
        assert_eq!(prober.attempt(&plan, at(105_000)), Some(1));
        assert_eq!(prober.deadline(), None, "one attempt at a time");
        assert!(prober.land(1));
        assert_eq!(prober.deadline(), Some(at(110_000)));
        assert_eq!(prober.attempt(&plan, at(110_002)), Some(2), "a late start");
        assert!(prober.land(2));
        assert_eq!(prober.deadline(), Some(at(115_000)), "does not move the grid");
    }

    #[test]
    fn an_attempt_that_overruns_is_followed_at_once_and_other_missed_points_are_lost() {
        let plan = plan();
        let mut prober = Prober::new(ProbeKind::Liveness, &plan, at(0));
        assert_eq!(prober.attempt(&plan, at(5_000)), Some(1));
        assert!(prober.land(1));
        assert_eq!(prober.attempt(&plan, at(22_000)), Some(2), "10 s was due long ago");
        assert!(prober.land(2));
        assert_eq!(prober.deadline(), Some(at(25_000)));
    }

    #[test]
    fn an_answer_to_another_attempt_is_not_taken() {
        let plan = plan();
        let mut prober = Prober::new(ProbeKind::Liveness, &plan, at(0));
        assert!(!prober.land(1));
        assert_eq!(prober.attempt(&plan, at(5_000)), Some(1));
        assert!(!prober.land(2));
        assert!(prober.land(1));
        assert!(!prober.land(1), "nor twice");
    }

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let plan = ProbePlan { success_threshold: 2, failure_threshold: 3, ..plan() };
        let script = [
            (Outcome::Success, None),
            (Outcome::Success, Some(Verdict::Success)),
            (Outcome::Success, None),
            (failure(), None),
            (failure(), None),
            (Outcome::Success, None),
            (failure(), None),
            (failure(), None),
            (Outcome::Error("broken".to_owned()), None),
            (Outcome::Skipped, None),
            (failure(), Some(Verdict::Failure)),
            (failure(), None),
            (Outcome::Success, None),
            (Outcome::Success, Some(Verdict::Success)),
        ];
        let mut prober = Prober::new(ProbeKind::Readiness, &plan, at(0));
        for (n, (outcome, expected)) in script.iter().enumerate() {
            assert_eq!(prober.judge(&plan, outcome, at(0)), *expected, "line {n}");
        }
    }

    #[test]
    fn startup_rests_after_either_verdict_liveness_after_a_failure_readiness_never() {
        let plan = ProbePlan { failure_threshold: 1, ..plan() };
        let held = |kind, outcome: &Outcome| {
            let mut prober = Prober::new(kind, &plan, at(0));
            assert!(prober.judge(&plan, outcome, at(0)).is_some());
            prober.deadline().is_none()
        };
        assert!(held(ProbeKind::Startup, &Outcome::Success));
        assert!(held(ProbeKind::Startup, &failure()));
        assert!(!held(ProbeKind::Liveness, &Outcome::Success));
        assert!(held(ProbeKind::Liveness, &failure()));
        assert!(!held(ProbeKind::Readiness, &Outcome::Success));
        assert!(!held(ProbeKind::Readiness, &failure()));
    }

    #[test]
    fn a_healthy_probe_does_not_change_its_status() {
        let plan = plan();
        let mut prober = Prober::new(ProbeKind::Liveness, &plan, at(0));
        prober.judge(&plan, &Outcome::Success, at(1));
        let before = prober.status();
        prober.judge(&plan, &Outcome::Success, at(2));
        assert_eq!(prober.status(), before);
    }

    #[test]
    fn hurrying_does_not_undercut_the_initial_delay() {
        let plan = plan();
        let mut prober = Prober::new(ProbeKind::Readiness, &plan, at(0));
        prober.hurry(at(2_000));
        assert_eq!(prober.deadline(), Some(at(5_000)));
        prober.hurry(at(7_300));
        assert_eq!(prober.deadline(), Some(at(7_300)));
        assert_eq!(prober.attempt(&plan, at(7_300)), Some(1));
        prober.land(1);
        assert_eq!(prober.deadline(), Some(at(10_000)), "and keeps the grid");
    }
}
