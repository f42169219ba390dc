//! Pods without a cluster, as a user runs them: images loaded, manifests applied, pods deleted, and nothing left.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod archives;
mod bad_input;
mod environment;
mod examples;
mod hostile_images;
mod images;
mod killed;
mod lives;
mod node;
mod removal;
mod volumes;
