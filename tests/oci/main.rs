//! What the OCI runtime specification and runc's callers expect of a runtime, asked of a real one: `$RUNTIME`, or the built
//! hshim.
//!
//! The whole suite passes with `RUNTIME=runc` (1.1.5) before it judges hshim. Where hshim is knowingly different, or newer than
//! that runc, the test says so by [`support::judges_hshim`].

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

#[macro_use]
mod support;

mod cgroups;
mod command_line;
mod copy_up;
mod error_texts;
mod exec;
mod exec_flags;
mod filesystem;
mod flags_of_runc;
mod hooks;
mod kill;
mod lifecycle;
mod namespaces;
mod net_devices;
mod parallel;
mod process;
mod scheduling;
mod seccomp;
mod state;
mod terminal;
