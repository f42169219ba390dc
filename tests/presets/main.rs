//! Presets: what an operator gives to pods and bundles that have never heard of hshim, and what is refused on the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(missing_docs, unreachable_pub, unused_crate_dependencies, reason = "a test program")]

mod bundles;
mod containerd;
mod files;
mod manifests;
mod merge;
mod node;
mod written;
