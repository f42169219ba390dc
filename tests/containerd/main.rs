//! containerd's shim under the distribution's containerd: `ctr`, CRI, restarts in place, hard weather.
//!
//! Validated on the reference first: `SHIM_RUNTIME=io.containerd.runc.v2` judges the suite, without it the suite judges hshim.
//! Each test has a containerd of its own and ends with the proof that nothing is left. `HSHIM_HEAVY=1` enlarges the crowds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(missing_docs, unreachable_pub, unused_crate_dependencies, reason = "a test program")]

mod annotations;
mod api;
mod crowd;
mod documentation;
mod event_stream;
mod events;
mod io;
mod owners;
mod pods;
mod restarts;
mod streams;
mod supervised;
mod supervised_pods;
mod supervised_weather;
mod tasks;
mod terminal;
mod weather;
