//! Kubernetes' health decisions as a pure calculator.
//!
//! It is told what happened and when ([`Input`] at a [`Moment`]), and answers what to do ([`Action`]). It has no file, socket,
//! clock, thread or log line: whoever owns those (the shim) performs the actions and brings their effects back as inputs.
//! The types that processes of hshim exchange (plans, statuses, events, requests, the files of [`layout`]) live here too,
//! because this is the one crate that all of them share.

pub mod action;
pub mod admission;
pub mod annotation;
mod backoff;
pub mod columns;
mod container;
pub mod control;
pub mod event;
mod expansion;
pub mod explain;
pub mod faults;
mod fields;
pub mod input;
pub mod layout;
pub mod moment;
mod phase;
pub mod plan;
pub mod pod;
mod policy;
pub mod preset;
mod prober;
pub mod record;
mod recorder;
pub mod restart_owner;
mod stamping;
pub mod status;
pub mod supervisor;

pub use action::Action;
pub use input::Input;
pub use moment::Moment;
pub use supervisor::Supervisor;
