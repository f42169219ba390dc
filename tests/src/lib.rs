//! The harness of the end-to-end suites: where the programs are, what containers are made of, how to wait and how to skip.
//!
//! Nothing here knows hshim from the inside: the suites run built programs as a user would.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a harness fails a test by panicking, as the test itself does"
)]

pub mod bundle;
pub mod containerd;
pub mod descriptor;
pub mod image;
pub mod programs;
pub mod rootfs;
pub mod scratch;
pub mod skip;
pub mod wait;
