//! The command line: global flags before the verb, and the OCI verbs with runc's flags.
//!
//! The operator's verbs (`apply`, `get` …) stand in [`crate::operator::cli`]. Where both worlds have a verb (`exec`, `delete`,
//! `events`), [`crate::grammar`] decides which of them is meant before clap sees the arguments.

mod bundle;
mod checkpoint;
mod exec;
mod globals;
mod update;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use bundle::{BundleArgs, CreateArgs, RunArgs, Supervise};
pub(crate) use checkpoint::{CheckpointArgs, RestoreArgs};
pub(crate) use exec::ExecArgs;
pub(crate) use globals::{CgroupManager, Globals, LogFormat, Rootless};
pub(crate) use update::UpdateArgs;

use crate::operator::cli::OperatorCommand;

/// The lines that callers of runc read after the program's name.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// A minimal OCI container runtime with built-in health supervision.
#[derive(Debug, Parser)]
#[command(name = "hshim", version = VERSION, about, disable_help_subcommand = true, disable_version_flag = true)]
pub(crate) struct Cli {
    /// What stands before the verb.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// Print the version and the newest specification that is understood.
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every verb.
#[allow(clippy::large_enum_variant, reason = "there is one in the whole process")]
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A verb of the OCI runtime.
    #[command(flatten)]
    Oci(OciCommand),
    /// A verb of the operator.
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// The verbs of the OCI runtime (runtime-tools docs/command-line-interface.md, and runc's own).
#[allow(clippy::large_enum_variant, reason = "there is one in the whole process")]
#[derive(Debug, Subcommand)]
pub(crate) enum OciCommand {
    /// Create a container from a bundle; `start` runs its process.
    Create(CreateArgs),
    /// Run the process of a created container.
    Start(IdArgs),
    /// Print the state of a container as JSON.
    State(IdArgs),
    /// Send a signal to a container's init process.
    Kill(KillArgs),
    /// Delete what is left of a container.
    Delete(DeleteArgs),
    /// Create a container, start it, and wait for its end.
    Run(RunArgs),
    /// Run a further process in a running container.
    Exec(ExecArgs),
    /// Stop every process of a container where it stands.
    Pause(IdArgs),
    /// Let the processes of a paused container run again.
    Resume(IdArgs),
    /// Change the resource limits of a container.
    Update(UpdateArgs),
    /// Print what a container uses, and when it runs out of memory, as JSON lines.
    Events(EventsArgs),
    /// List the containers.
    List(ListArgs),
    /// Show the processes of a container.
    Ps(PsArgs),
    /// Write an example config.json.
    Spec(SpecArgs),
    /// Print what this runtime can do, as JSON.
    Features,
    /// Save a running container; not supported.
    Checkpoint(CheckpointArgs),
    /// Bring a saved container back; not supported.
    Restore(RestoreArgs),
    /// Hold a new unit of systemd until its container has joined.
    #[command(hide = true)]
    CgroupPlaceholder,
    /// Write the identity of a bundle's process for hshim-enter.
    #[command(hide = true)]
    EnterIdentity(EnterIdentityArgs),
}

/// A verb that takes nothing but the container.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
}

/// `kill`.
#[derive(Args, Clone, Debug)]
pub(crate) struct KillArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Name or number of the signal.
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_negative_numbers = true)]
    pub(crate) signal: String,
    /// To all processes of the container.
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// `delete`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Kill it if it still runs; a missing container is no error.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Leave its cgroup for the next life.
    #[arg(long, hide = true)]
    pub(crate) keep_cgroup: bool,
}

/// `events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EventsArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Between two statistics (500ms, 5s, 1m30s).
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::quantity::duration)]
    pub(crate) interval: std::time::Duration,
    /// Print the statistics of now and end.
    #[arg(long)]
    pub(crate) stats: bool,
}

/// `list`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Format of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableOrJson::Table)]
    pub(crate) format: TableOrJson,
    /// Only names.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `ps`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PsArgs {
    /// Format of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableOrJson::Table)]
    pub(crate) format: TableOrJson,
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Options for ps(1); -ef when there are none.
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

/// `--format` of `list` and `ps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOrJson {
    /// Columns.
    Table,
    /// One JSON document.
    Json,
}

/// `spec`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpecArgs {
    /// Directory that config.json is written to.
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// For a caller without privileges.
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// `enter-identity`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EnterIdentityArgs {
    /// Directory with config.json.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// File that is written.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Whether a word is a verb of the OCI runtime.
pub(crate) fn is_oci_verb(verb: &str) -> bool {
    OciCommand::has_subcommand(verb)
}
