//! Simulated pods: a world with a jumping clock around the real [`hshim_health::Supervisor`].
//!
//! `world` performs the supervisor's actions on scripted containers, `timeline` prints what happened, `scenes` compares whole
//! timelines with committed ones, `comparison` keeps the tables of docs/kubelet-differences.md true, `properties` checks what
//! must hold for every script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the actions that it is about")]

mod comparison;
mod explanations;
mod owners;
mod pods;
mod properties;
mod scenes;
mod timeline;
mod world;
