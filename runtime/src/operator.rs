//! The operator's verbs: pods on this node, in kubectl's words.

pub(crate) mod cli;

use std::process::ExitCode;

use crate::cli::Globals;
use cli::OperatorCommand;

/// Performs one verb. An error is printed by the caller and ends the process with 1.
pub(crate) fn run(command: OperatorCommand, _globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {}
}
