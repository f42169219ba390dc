//! Steps into running containers: the caller's side of the `hshim-enter` program.
//!
//! A caller prepares an [`Identity`] once (who the container's processes are), opens a [`Target`] (which container), and
//! [`EnterProgram::spawn`]s a command in it. The program runs from a sealed memfd, is told all it needs through one block
//! ([`wire`]), and answers with one [`Report`]. What the command writes is the caller's to read: the library reads no output.
#![allow(unsafe_code, reason = "exempt from the one-file rule: style.md, Unsafe")]

pub mod cgroup;
mod encode;
pub mod identity;
pub mod program;
pub mod report;
mod sys;
pub mod target;
pub mod wire;

pub use cgroup::{ContainerCgroup, Leaf};
pub use identity::{Capabilities, Identity, MemoryPolicy, Rlimit, SchedulerAttributes, Scheduling, Seccomp};
pub use program::{CgroupEntry, EnterProgram, Entered, Entry, LoadError, Shape, SpawnError};
pub use report::Report;
pub use target::Target;
