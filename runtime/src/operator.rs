//! The operator's verbs: pods on this node, in kubectl's words.

mod apply;
mod check;
pub(crate) mod cli;
mod columns_view;
mod completion;
mod container_process;
mod container_spec;
mod delete;
mod describe;
mod events;
mod explain;
mod get;
mod image;
mod log_files;
mod logs;
pub(crate) mod manifest_file;
mod node;
mod pod_clearing;
mod pod_exec;
mod pod_files;
mod pod_lock;
mod pod_making;
pub(crate) mod pod_name;
mod pod_namespaces;
mod pod_object;
pub(crate) mod pod_records;
mod pod_reference;
pub(crate) mod pod_view;
mod prepared_pod;
mod preset;
pub(crate) mod preset_files;
mod programs;
mod restart;
mod screen;
mod stored_manifest;
mod tab_stops;
mod watch;
mod why;

use std::process::ExitCode;

use crate::cli::Globals;
use cli::OperatorCommand;
use pod_name::DEFAULT_NAMESPACE;
use pod_reference::PodReference;
use pod_view::PodView;
use screen::ReaderGone;

/// The command line contradicts itself; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(String);

/// Performs one verb. An error is printed by the caller and ends the process with 1.
pub(crate) fn run(command: OperatorCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let done = perform(command, globals);
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

fn perform(command: OperatorCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let done = match command {
        OperatorCommand::Apply(args) => apply::apply(&args, globals),
        OperatorCommand::Delete(args) => return delete::delete(&args, globals),
        OperatorCommand::Check(args) => check::check(&args, globals),
        OperatorCommand::Preset(command) => preset::run(&command, globals),
        OperatorCommand::Image(command) => image::run(&command, globals),
        OperatorCommand::Completion(args) => completion::completion(args.shell),
        OperatorCommand::Get(args) => return get::get(&args, globals),
        OperatorCommand::Describe(args) => return describe::describe(&args, globals),
        OperatorCommand::Logs(args) => return logs::logs(&args, globals),
        OperatorCommand::Events(args) => return events::events(&args, globals),
        OperatorCommand::Why(args) => return why::why(&args, globals),
        OperatorCommand::Explain(args) => return explain::explain(&args, globals),
        OperatorCommand::Exec(args) => return pod_exec::exec(&args, globals),
        OperatorCommand::Restart(args) => return restart::restart(&args, globals),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The pod that the operands of a verb name.
fn one_pod(words: &[String], namespace: Option<&str>, globals: &Globals) -> anyhow::Result<(PodReference, PodView)> {
    let reference = PodReference::parse_one(words).map_err(|error| WrongUsage(error.to_string()))?;
    let pod = PodView::open(&globals.root, namespace.unwrap_or(DEFAULT_NAMESPACE), &reference)?;
    Ok((reference, pod))
}
