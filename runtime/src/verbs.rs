//! The OCI verbs, one file each.

use std::process::ExitCode;

use crate::cli::{Globals, OciCommand};

/// Performs one verb. An error is printed by the caller.
pub(crate) fn run(command: OciCommand, _globals: &Globals) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{command:?} is not there yet")
}
