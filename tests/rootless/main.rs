//! Containers of a user without privileges: nothing in this suite runs the runtime as root. Validated with runc (`RUNTIME=runc`).

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cgroups;
mod lives;
mod mappings;
mod refusals;
mod stage;
