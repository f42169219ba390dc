//! What an operator sees of pods and does with them: get, describe, logs, events, why, exec, restart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(missing_docs, unreachable_pub, unused_crate_dependencies, reason = "a test program")]

mod bundles;
mod docs;
mod exec;
mod following;
mod get;
mod logs;
mod scene;
mod telling;
mod unsupervised;
mod usage;
mod watching;
