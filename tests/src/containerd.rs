//! A containerd of one's own, with `ctr`, CRI and the checks that nothing of it is left: what the `containerd` suite and its bench stand on.
//!
//! ```text
//! Daemon (daemon)  scratch directory, configuration, process; leftovers (leftovers)
//!   ├─ ctr         commands with a deadline
//!   ├─ Grpc (grpc) one call over HTTP/2, messages of protobuf (protobuf)
//!   └─ Cri (cri)   pods and containers as a kubelet makes them; streams (websocket)
//! ```

mod cgroups;
mod command;
mod cri;
mod ctr;
mod daemon;
mod grpc;
mod leftovers;
mod meter;
mod protobuf;
mod shim;
mod websocket;

pub use cgroups::{cgroup_directories, cgroup_value};
pub use command::{Finished, Running};
pub use cri::{Container, ContainerRequest, ContainerStatus, Cri, ExecResult, Pod, PodRequest};
pub use ctr::Task;
pub use daemon::{Daemon, IMAGE, Setting, runtime, supervises};
pub use grpc::{Grpc, Refusal};
pub use meter::Meter;
pub use protobuf::{Fields, Message};
pub use shim::{Shim, shims_below};
pub use websocket::{Channel, WebSocket};
