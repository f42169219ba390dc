//! The operator's subcommands and their flags.
//!
//! Verbs that the OCI runtime has too are named `pod-exec`, `pod-delete` and `pod-events` here, hidden, with
//! `#[command(name = "pod-exec", bin_name = "hshim exec", hide = true)]`: [`crate::grammar`] puts these names in place of the
//! plain ones when an argument like `pod/NAME` says that the operator's meaning is wanted.

use clap::Subcommand;

/// The verbs of the operator.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {}
