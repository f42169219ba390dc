//! The operator's subcommands and their flags.
//!
//! Verbs that the OCI runtime has too are named `pod-exec`, `pod-delete` and `pod-events` here, hidden, with
//! `#[command(name = "pod-exec", bin_name = "hshim exec", hide = true)]`: [`crate::grammar`] puts these names in place of the
//! plain ones when an argument like `pod/NAME` says that the operator's meaning is wanted.

mod preset;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub(crate) use preset::{PresetArgs, PresetCommand, PresetMergeArgs, PresetTestArgs};
pub(crate) use view::{EventFormat, EventsArgs, GetArgs, LogsArgs, ObjectFormat, OnePodArgs, PodExecArgs, RestartArgs};

/// The verbs of the operator.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make the pods of manifests.
    Apply(ApplyArgs),
    /// Delete pods with everything that belongs to them.
    #[command(name = "pod-delete", bin_name = "hshim delete", hide = true)]
    Delete(PodDeleteArgs),
    /// Say everything that is wrong with manifests, and make nothing.
    Check(CheckArgs),
    /// Try presets on a manifest, or merge them into a bundle.
    #[command(subcommand)]
    Preset(PresetCommand),
    /// Load, list and remove images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print a completion script for a shell.
    Completion(CompletionArgs),

    /// Show pods.
    Get(GetArgs),
    /// Show everything about a pod.
    Describe(OnePodArgs),
    /// Print what a container wrote.
    Logs(LogsArgs),
    /// Show what happened to pods.
    #[command(name = "pod-events", bin_name = "hshim events", hide = true)]
    Events(EventsArgs),
    /// Say in words how a pod's containers are and why they were restarted.
    Why(OnePodArgs),
    /// Show which preset gave which field of a pod.
    Explain(OnePodArgs),
    /// Run a command in a container of a pod.
    #[command(name = "pod-exec", bin_name = "hshim exec", hide = true)]
    Exec(PodExecArgs),
    /// Stop containers of a pod and start them again, without back-off.
    Restart(RestartArgs),
}

/// `apply`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApplyArgs {
    /// Manifest, YAML or JSON; - is standard input; may be repeated.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Namespace of pods that name none; one that names another is refused.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// OCI runtime that runs the containers; this hshim if it is left out.
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime: Option<PathBuf>,
    /// Further presets.
    #[command(flatten)]
    pub(crate) presets: PresetArgs,
}

/// `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// Manifest, YAML or JSON; - is standard input; may be repeated.
    #[arg(short, long, value_name = "FILE", required_unless_present = "preset")]
    pub(crate) filename: Vec<PathBuf>,
    /// Further presets.
    #[command(flatten)]
    pub(crate) presets: PresetArgs,
}

/// `delete pod/NAME`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PodDeleteArgs {
    /// pod/NAME ..., or pod NAME ...
    #[arg(value_name = "pod/NAME", required_unless_present = "filename")]
    pub(crate) pods: Vec<String>,
    /// The pods of this manifest; - is standard input; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Namespace of the pods.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Seconds that the containers may take to end, instead of the pod's own.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u64>,
    /// Wait until everything is gone.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) wait: bool,
    /// Kill everything at once, the supervisor too if it does not answer.
    #[arg(long)]
    pub(crate) force: bool,
    /// A pod that is not there is no error.
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

/// `image …`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load images from an archive: docker save, or a tar of an OCI image layout.
    Load(ImageLoadArgs),
    /// List the images.
    #[command(visible_alias = "list")]
    Ls(ImageListArgs),
    /// Remove images.
    #[command(visible_alias = "remove")]
    Rm(ImageRemoveArgs),
}

/// `image load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageLoadArgs {
    /// The archive, plain or compressed with gzip; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// What to call the image, instead of the names in the archive.
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
}

/// `image ls`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageListArgs {
    /// Format of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = ImageFormat::Table)]
    pub(crate) output: ImageFormat,
}

/// `image rm`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageRemoveArgs {
    /// Names, or ids of at least twelve digits.
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) names: Vec<String>,
}

/// `--output` of `image ls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    /// Columns.
    Table,
    /// One JSON document.
    Json,
    /// Names only.
    Name,
}

/// `completion`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionArgs {
    /// Which.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
