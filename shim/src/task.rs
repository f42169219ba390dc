//! containerd's task service: its containers, each owned by one task of the event loop.
//!
//! ```text
//! service ── request ──▶ tasks ── call ──▶ owner of the container ── effect of a spawned task ──▶ owner … ── reply ──▶ service
//! ```
//! A handler may be dropped at any moment (a deadline, a client that goes away): it only hands a call over and waits.

mod answers;
mod cgroups;
mod creation;
mod error;
mod events;
mod execs;
mod health;
mod lives;
mod memory_watch;
pub(crate) mod messages;
mod mounts;
mod namespaces;
pub(crate) mod options;
mod owner;
mod presets;
pub(crate) mod publisher;
pub(crate) mod record;
mod service;
pub(crate) mod shared;
mod stats;
mod tasks;
mod updates;

pub(crate) use mounts::unmount_below;
pub(crate) use service::services;
pub(crate) use tasks::Tasks;
