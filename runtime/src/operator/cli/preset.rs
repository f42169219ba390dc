//! The flags about presets.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Presets besides those of `--presets-dir`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PresetArgs {
    /// File with presets, after those of --presets-dir; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) preset: Vec<PathBuf>,
}

/// `preset …`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PresetCommand {
    /// Print manifests as apply would have them, and which preset gave which field.
    Test(PresetTestArgs),
    /// Print what presets add to a bundle, as JSON.
    Merge(PresetMergeArgs),
}

/// `preset test`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PresetTestArgs {
    /// Manifest, YAML or JSON; - is standard input; may be repeated.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Namespace of pods that name none; one that names another is refused.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Further presets.
    #[command(flatten)]
    pub(crate) presets: PresetArgs,
}

/// `preset merge`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PresetMergeArgs {
    /// Directory with config.json.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Name of the container; that of the directory if it is left out.
    #[arg(long, value_name = "CONTAINER-ID")]
    pub(crate) id: Option<String>,
    /// Write it into config.json, too.
    #[arg(long)]
    pub(crate) write: bool,
    /// Further presets.
    #[command(flatten)]
    pub(crate) presets: PresetArgs,
}
