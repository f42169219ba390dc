//! Whether an ended container is started again.

use crate::input::Exit;
use crate::plan::RestartPolicy;
use crate::status::StopCause;

impl RestartPolicy {
    /// After this end, with this cause? A kill by a probe is a failure whatever the exit code says, and a restart that the
    /// operator asked for happens under every policy.
    #[must_use]
    pub fn restarts_after(self, cause: &StopCause, exit: Exit) -> bool {
        match (cause, self) {
            (StopCause::StopRequested, _) => false,
            (StopCause::RestartRequested, _) => true,
            (StopCause::ProbeFailed { .. }, policy) => policy.restarts_after_probe_kill(),
            (StopCause::Itself, Self::Always) => true,
            (StopCause::Itself, Self::OnFailure) => exit.code != 0,
            (StopCause::Itself, Self::Never | Self::AfterProbeKill) => false,
        }
    }

    /// Is a container that a probe kills started again?
    #[must_use]
    pub const fn restarts_after_probe_kill(self) -> bool {
        !matches!(self, Self::Never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ProbeKind;

    #[test]
    fn the_truth_table_of_the_kubelet_with_a_probe_kill_as_a_failure() {
        let exit = |code| Exit { code, signal: None, oom_killed: false };
        let probe = StopCause::ProbeFailed { probe: ProbeKind::Liveness, failures: 3, last_output: String::new() };
        let itself = StopCause::Itself;
        let rows = [
            (RestartPolicy::Always, &itself, 0, true),
            (RestartPolicy::Always, &itself, 1, true),
            (RestartPolicy::Always, &probe, 0, true),
            (RestartPolicy::OnFailure, &itself, 0, false),
            (RestartPolicy::OnFailure, &itself, 1, true),
            (RestartPolicy::OnFailure, &itself, 137, true),
            (RestartPolicy::OnFailure, &probe, 0, true),
            (RestartPolicy::Never, &itself, 0, false),
            (RestartPolicy::Never, &itself, 1, false),
            (RestartPolicy::Never, &probe, 137, false),
            (RestartPolicy::AfterProbeKill, &itself, 1, false),
            (RestartPolicy::AfterProbeKill, &probe, 0, true),
            (RestartPolicy::Always, &StopCause::StopRequested, 1, false),
            (RestartPolicy::Never, &StopCause::RestartRequested, 0, true),
        ];
        for (policy, cause, code, expected) in rows {
            assert_eq!(policy.restarts_after(cause, exit(code)), expected, "{policy:?} {cause:?} {code}");
        }
    }
}
