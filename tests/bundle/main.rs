//! Bundles that ask for health: supervised from `create`, `run -d` and `run` on, and what every verb then says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(missing_docs, unreachable_pub, unused_crate_dependencies, reason = "a test program")]

mod asking;
mod lives;
mod scene;
mod shim_gone;
mod waiting_callers;
