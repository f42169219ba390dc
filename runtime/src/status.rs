//! The status of a container in OCI's words.

use std::fmt;

/// Always derived from what is there, never remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// `create` is at work.
    Creating,
    /// The init process waits for `start`.
    Created,
    /// It executes the container's command.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended, or a `create` was cut short.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}
