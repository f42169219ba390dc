//! The operator's verbs: pods on this node, in kubectl's words.

pub(crate) mod cli;
mod columns_view;
mod describe;
mod events;
mod get;
mod log_files;
mod logs;
mod pod_exec;
mod pod_object;
mod pod_reference;
mod pod_view;
mod restart;
mod screen;
mod tab_stops;
mod watch;
mod why;

use std::process::ExitCode;

use crate::cli::Globals;
use cli::OperatorCommand;
use pod_reference::{DEFAULT_NAMESPACE, PodReference};
use pod_view::PodView;
use screen::ReaderGone;

/// The command line contradicts itself; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(String);

/// Performs one verb. An error is printed by the caller and ends the process with 1.
pub(crate) fn run(command: OperatorCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let done = match command {
        OperatorCommand::Get(args) => get::get(&args, globals),
        OperatorCommand::Describe(args) => describe::describe(&args, globals),
        OperatorCommand::Logs(args) => logs::logs(&args, globals),
        OperatorCommand::Events(args) => events::events(&args, globals),
        OperatorCommand::Why(args) => why::why(&args, globals),
        OperatorCommand::Exec(args) => pod_exec::exec(&args, globals),
        OperatorCommand::Restart(args) => restart::restart(&args, globals),
    };
    done.or_else(|error| {
        if error.is::<ReaderGone>() {
            return Ok(ExitCode::SUCCESS);
        }
        if error.is::<WrongUsage>() {
            crate::logging::report(&error.to_string());
            return Ok(ExitCode::from(crate::WRONG_USAGE));
        }
        Err(error)
    })
}

/// The pod that the operands of a verb name.
fn one_pod(words: &[String], namespace: Option<&str>, globals: &Globals) -> anyhow::Result<(PodReference, PodView)> {
    let reference = PodReference::parse_one(words).map_err(|error| WrongUsage(error.to_string()))?;
    let pod = PodView::open(&globals.root, namespace.unwrap_or(DEFAULT_NAMESPACE), &reference)?;
    Ok((reference, pod))
}
