//! The conversation with a running shim: one request, one reply, as JSON payloads of the ttrpc method
//! `/hshim.v1.Supervisor/Call` on the socket of the supervision directory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// ttrpc service name.
pub const SERVICE: &str = "hshim.v1.Supervisor";
/// ttrpc method name.
pub const METHOD: &str = "Call";

/// Set to `1` in the environment of every runtime command that a shim runs: the command then means the container itself. Without
/// it, `start`, `kill` and `delete` of a supervised id are asked of its shim, and the two would wait for each other.
pub const WITHOUT_SUPERVISION: &str = "HSHIM_WITHOUT_SUPERVISION";

/// What is asked of a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Start the created container of a bundle; replied to when it runs or could not be started.
    Start,
    /// Stop every container of the pod, then delete all that belongs to it and end. Replied to at once; it is done when
    /// the supervision directory is gone.
    Delete {
        /// Instead of the pod's own grace.
        grace: Option<Duration>,
    },
    /// Send a signal to the container of a bundle. A terminating one (TERM, KILL, INT, QUIT, HUP) ends supervision: the
    /// container will not be restarted.
    Kill {
        /// Signal number.
        signal: i32,
        /// To all its processes.
        all: bool,
    },
    /// Stop and start again one container, by name, without back-off.
    Restart {
        /// Which.
        container: String,
    },
    /// Reply when every container has ended for good (bundle: its final exit).
    Wait,
}

/// What a shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// It was done, or begun.
    Done,
    /// Answer to `Wait`: the exit code of the first container.
    Exited {
        /// 128 + n after signal n.
        code: i32,
    },
    /// It was refused; the text says why and what would help.
    Refused {
        /// Lower case, no full stop.
        message: String,
    },
}

/// The one line that a shim writes to its ready descriptor once it serves (a pod), or once the container is created (a bundle).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ready {
    /// It serves. For a bundle, the process id of the created init.
    Serving {
        /// Only of a bundle.
        pid: Option<u32>,
    },
    /// It could not, has left nothing behind, and ends.
    Failed {
        /// What went wrong.
        message: String,
    },
}
