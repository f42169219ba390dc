//! What a container must not be able to do, and what a specification must not be able to ask for. docs/security.md says which of our
//! parts each test holds in place.
//!
//! Where the behaviour is common the tests also run on a reference (`RUNTIME=runc`); what only hshim promises asks
//! [`hshim_tests::programs::judges_hshim`] first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod capabilities;
mod entering;
mod executable;
mod filesystem;
mod inheritance;
mod mounts;
mod process_settings;
mod processes;
mod races;
mod refusals;
mod stage;
mod users;
