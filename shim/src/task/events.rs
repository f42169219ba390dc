//! containerd's events: their messages and topics (api/events/task.proto, container.proto).

use std::collections::BTreeMap;

use super::messages::{Any, Mount, Timestamp};
use crate::wire::{Message, messages};

messages! {
    TaskCreate {
        1 container_id: String, 2 bundle: String, 3 rootfs: Vec<Mount>, 4 io: Option<TaskIo>, 5 checkpoint: String, 6 pid: u32
    }
    TaskIo { 1 stdin: String, 2 stdout: String, 3 stderr: String, 4 terminal: bool }
    TaskStart { 1 container_id: String, 2 pid: u32 }
    TaskDelete { 1 container_id: String, 2 pid: u32, 3 exit_status: u32, 4 exited_at: Option<Timestamp>, 5 id: String }
    TaskExit { 1 container_id: String, 2 id: String, 3 pid: u32, 4 exit_status: u32, 5 exited_at: Option<Timestamp> }
    TaskOom { 1 container_id: String }
    TaskExecAdded { 1 container_id: String, 2 exec_id: String }
    TaskExecStarted { 1 container_id: String, 2 exec_id: String, 3 pid: u32 }
    TaskPaused { 1 container_id: String }
    TaskResumed { 1 container_id: String }
    /// What hshim's own events are dressed as: the one type that `ctr events` shows in every version.
    ContainerUpdate { 1 id: String, 2 image: String, 3 labels: BTreeMap<String, String>, 4 snapshot_key: String }

    /// containerd.services.events.ttrpc.v1.ForwardRequest.
    ForwardRequest { 1 envelope: Option<Envelope> }
    Envelope { 1 timestamp: Option<Timestamp>, 2 namespace: String, 3 topic: String, 4 event: Option<Any> }
}

/// An event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `/tasks/exit` …
    pub(crate) topic: &'static str,
    /// The message.
    pub(crate) body: Any,
}

macro_rules! topics {
    ($($message:ident = $topic:literal, $name:literal;)*) => {$(
        impl From<$message> for Event {
            fn from(message: $message) -> Self {
                let type_url = concat!("containerd.events.", $name).to_owned();
                Self { topic: $topic, body: Any { type_url, value: message.to_bytes() } }
            }
        }
    )*};
}

topics! {
    TaskCreate = "/tasks/create", "TaskCreate";
    TaskStart = "/tasks/start", "TaskStart";
    TaskDelete = "/tasks/delete", "TaskDelete";
    TaskExit = "/tasks/exit", "TaskExit";
    TaskOom = "/tasks/oom", "TaskOOM";
    TaskExecAdded = "/tasks/exec-added", "TaskExecAdded";
    TaskExecStarted = "/tasks/exec-started", "TaskExecStarted";
    TaskPaused = "/tasks/paused", "TaskPaused";
    TaskResumed = "/tasks/resumed", "TaskResumed";
}

impl Event {
    /// An event of hshim's own about a container.
    pub(crate) fn custom(topic: &'static str, id: &str, labels: BTreeMap<String, String>) -> Self {
        let update = ContainerUpdate { id: id.to_owned(), labels, ..ContainerUpdate::default() };
        Self { topic, body: Any { type_url: "containerd.events.ContainerUpdate".to_owned(), value: update.to_bytes() } }
    }

    /// May be dropped when too many wait.
    pub(crate) fn is_custom(&self) -> bool {
        !self.topic.starts_with("/tasks/")
    }
}
