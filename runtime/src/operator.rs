//! The operator's verbs: pods on this node, in kubectl's words.

mod apply;
mod check;
pub(crate) mod cli;
mod container_process;
mod container_spec;
mod delete;
mod image;
mod manifest_file;
mod node;
mod pod_clearing;
mod pod_files;
mod pod_lock;
mod pod_making;
pub(crate) mod pod_name;
mod pod_namespaces;
mod pod_records;
mod prepared_pod;
mod programs;
mod stored_manifest;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Globals};
use crate::verbs::print;
use cli::{CompletionArgs, OperatorCommand};

/// Performs one verb. An error is printed by the caller and ends the process with 1.
pub(crate) fn run(command: OperatorCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let done = match command {
        OperatorCommand::Apply(args) => apply::apply(&args, globals),
        OperatorCommand::Delete(args) => return delete::delete(&args, globals),
        OperatorCommand::Check(args) => check::check(&args),
        OperatorCommand::Image(command) => image::run(&command, globals),
        OperatorCommand::Completion(args) => completion(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn completion(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hshim", &mut script);
    print(&String::from_utf8_lossy(&script))
}
