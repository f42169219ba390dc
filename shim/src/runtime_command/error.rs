//! What can go wrong with a command of the runtime.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// A command of the runtime did not do what it should.
#[derive(Debug, Error)]
pub(crate) enum RuntimeError {
    /// The program could not be started.
    #[error("run {} {verb}: {source}", path.display())]
    Spawn {
        /// Of the runtime.
        path: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// It said what was wrong.
    #[error("{message}")]
    Refused {
        /// In its own words.
        message: String,
    },
    /// It ended without saying why.
    #[error("{} {verb} {end}, and left no message in its log", path.display())]
    Silent {
        /// Of the runtime.
        path: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// How it ended.
        end: String,
    },
    /// It did not end.
    #[error("{} {verb} did not answer within {} s and was killed", path.display(), after.as_secs_f32())]
    TimedOut {
        /// Of the runtime.
        path: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// It succeeded, but left no process id.
    #[error("read the pid file {} that create should have written: {source}", path.display())]
    PidFile {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What it keeps of an ended life cannot be removed.
    #[error("remove {}: {source}", path.display())]
    State {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The process that it made is already gone.
    #[error("the container's process {pid} ended before it was started: {source}")]
    Gone {
        /// Process id.
        pid: u32,
        /// Why not.
        source: std::io::Error,
    },
}
