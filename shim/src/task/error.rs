//! Why a request is refused: one variant for each code of ttrpc that clients tell apart (reference: gRPC's status codes).

use thiserror::Error;
use ttrpc::proto::{Code, Response};

use crate::runtime_command::RuntimeError;
use crate::start::StartError;
use crate::wire::WireError;

/// A refusal, in words for the user.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum TaskError {
    /// No such container or process, or it has ended.
    #[error("{0}")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}")]
    AlreadyExists(String),
    /// Not in the state that this needs.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The request itself is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// hshim cannot do this.
    #[error("{0}")]
    Unimplemented(String),
    /// Not now: there is no process for a moment.
    #[error("{0}")]
    Unavailable(String),
    /// The runtime or the system failed.
    #[error("{0}")]
    Failed(String),
}

impl TaskError {
    /// `task ID: not found`.
    pub(crate) fn no_such(id: &str, exec_id: &str) -> Self {
        let what = if exec_id.is_empty() { format!("container {id}") } else { format!("process {exec_id} of container {id}") };
        Self::NotFound(format!("{what}: not found"))
    }

    const fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NOT_FOUND,
            Self::AlreadyExists(_) => Code::ALREADY_EXISTS,
            Self::FailedPrecondition(_) => Code::FAILED_PRECONDITION,
            Self::InvalidArgument(_) => Code::INVALID_ARGUMENT,
            Self::Unimplemented(_) => Code::UNIMPLEMENTED,
            Self::Unavailable(_) => Code::UNAVAILABLE,
            Self::Failed(_) => Code::UNKNOWN,
        }
    }

    /// As the answer to a request.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new();
        response.set_status(ttrpc::get_status(self.code(), self.to_string()));
        response
    }
}

impl From<WireError> for TaskError {
    fn from(error: WireError) -> Self {
        Self::InvalidArgument(format!("the request is not understood: {error}"))
    }
}

impl From<RuntimeError> for TaskError {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StartError> for TaskError {
    fn from(error: StartError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
