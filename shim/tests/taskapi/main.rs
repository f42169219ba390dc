//! The real shim over ttrpc, as containerd would use it, with containers of runc and of hshim. There is no containerd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    unused_crate_dependencies,
    dead_code,
    reason = "a test program that shares sources with the shim"
)]

#[path = "../../src/task/messages.rs"]
mod messages;
#[path = "../../src/wire.rs"]
mod wire;

mod agent;
mod bootstrap;
mod checklist;
mod input;
mod phases;
mod processes;
mod restarts;
mod shim;
mod signals;
mod streams;
mod tasks;
