//! The callers of an OCI runtime, from the distribution: conmon alone, podman with conmon, and containerd's own shim for runc. Each check runs
//! with the installed runc first, so that it is known to hold, and then with hshim.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod conmon;
mod containerd;
mod podman;
mod podman_rootless;

use std::path::PathBuf;

use hshim_tests::programs;

/// The runtimes in the order that they are tried in.
fn runtimes() -> Vec<PathBuf> {
    programs::installed("runc").into_iter().chain([programs::hshim()]).collect()
}
