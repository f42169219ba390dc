//! The command line: `supervise --dir DIR --ready-fd N [--ends-with-container]`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use thiserror::Error;

/// What the process is to do. Verbs of containerd join this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Look after the pod of a supervision directory.
    Supervise {
        /// The directory, absolute.
        dir: PathBuf,
        /// Where the one line of `control::Ready` goes.
        ready: RawFd,
        /// How long it stays.
        stay: Stay,
    },
    /// Print name and version.
    Version,
}

/// How long the shim of a bundle stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Until the container is deleted.
    UntilDeleted,
    /// Until the container has ended for good; then the shim ends with its exit code and leaves the clearing to `delete`, because
    /// its caller waits for this very process (the one that the pid file names).
    UntilContainerEnds,
}

/// The command line is not understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum UsageError {
    /// No verb, or not one of ours.
    #[error("usage: containerd-shim-hshim-v2 supervise --dir DIR --ready-fd N (it is started by hshim, not by hand)")]
    Verb,
    /// A flag that does not exist.
    #[error("unknown argument {0}")]
    Unknown(String),
    /// A flag without its value, or with one that cannot be.
    #[error("{flag} wants {wanted}")]
    Value {
        /// Which.
        flag: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
}

impl Arguments {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut args = args.into_iter();
        match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
            Some("supervise") => supervise(args),
            Some("--version" | "-v") => Ok(Self::Version),
            Some(_) | None => Err(UsageError::Verb),
        }
    }
}

fn supervise(mut args: impl Iterator<Item = OsString>) -> Result<Arguments, UsageError> {
    const DIR: UsageError = UsageError::Value { flag: "--dir", wanted: "the absolute path of a supervision directory" };
    const READY: UsageError = UsageError::Value { flag: "--ready-fd", wanted: "the number of an open descriptor" };
    let (mut dir, mut ready, mut stay) = (None, None, Stay::UntilDeleted);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--dir") => dir = args.next().map(PathBuf::from),
            Some("--ready-fd") => ready = args.next().and_then(|number| number.to_str()?.parse().ok()),
            Some("--ends-with-container") => stay = Stay::UntilContainerEnds,
            _ => return Err(UsageError::Unknown(arg.to_string_lossy().into_owned())),
        }
    }
    let dir = dir.filter(|dir| dir.is_absolute()).ok_or(DIR)?;
    let ready = ready.filter(|&fd| fd > 2).ok_or(READY)?;
    Ok(Arguments::Supervise { dir, ready, stay })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, UsageError> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_supervise_line_is_understood_in_any_order() {
        let expected = Ok(Arguments::Supervise { dir: "/d".into(), ready: 3, stay: Stay::UntilDeleted });
        assert_eq!(parse("supervise --dir /d --ready-fd 3"), expected);
        assert_eq!(parse("supervise --ready-fd 3 --dir /d"), expected);
        let expected = Ok(Arguments::Supervise { dir: "/d".into(), ready: 3, stay: Stay::UntilContainerEnds });
        assert_eq!(parse("supervise --ends-with-container --ready-fd 3 --dir /d"), expected);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (line, message) in [
            ("", "usage: "),
            ("start", "usage: "),
            ("supervise --dir d --ready-fd 3", "--dir wants the absolute path"),
            ("supervise --dir /d", "--ready-fd wants the number"),
            ("supervise --dir /d --ready-fd 1", "--ready-fd wants the number"),
            ("supervise --loud", "unknown argument --loud"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }
}
