//! What to do.

use std::time::Duration;

use crate::event::Event;
use crate::input::RunNumber;
use crate::moment::Moment;
use crate::plan::{ContainerIndex, ProbeKind};
use crate::status::PodStatus;

/// One order to the shim, performed without waiting for its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create and start this life of a container; answered by `Started` or `StartFailed`.
    Start {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
    },
    /// Make one attempt of a probe; answered by `Probed`.
    Probe {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// Which probe.
        probe: ProbeKind,
        /// Unique within the life; brought back by the answer.
        attempt: u64,
        /// After which the attempt is a failure.
        timeout: Duration,
    },
    /// Send the stop signal to the init process. The supervisor keeps the grace itself and follows with `Kill`.
    Terminate {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
        /// Signal number.
        signal: i32,
    },
    /// Kill the container: SIGKILL, nothing of it may survive. Answered by `Exited`.
    Kill {
        /// Whose.
        container: ContainerIndex,
        /// Which life.
        run: RunNumber,
    },
    /// Write this event down and show it. A repeated event comes again with the same id and a higher count.
    Record(Event<Moment>),
    /// The status changed: replace the status file.
    Publish(PodStatus<Moment>),
    /// Nothing will happen any more: every container has ended for good and the pod was asked to stop.
    Finish,
}
