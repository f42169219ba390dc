//! containerd's messages: the task service (api/runtime/task/v2/shim.proto; v3 has the same bytes), the types they carry, the
//! bootstrap of containerd 2.3, and the options of runc's and of containerd's own type.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;

use crate::wire::messages;

messages! {
    /// google.protobuf.Any: the name of a type, and its bytes.
    Any { 1 type_url: String, 2 value: Vec<u8> }
    /// google.protobuf.Timestamp.
    Timestamp { 1 seconds: i64, 2 nanos: i32 }
    /// containerd.types.Mount.
    Mount { 1 kind: String, 2 source: String, 3 target: String, 4 options: Vec<String> }
    /// containerd.v1.types.ProcessInfo.
    ProcessInfo { 1 pid: u32, 2 info: Option<Any> }
    /// containerd.runc.v1.ProcessDetails.
    ProcessDetails { 1 exec_id: String }

    CreateTaskRequest {
        1 id: String, 2 bundle: String, 3 rootfs: Vec<Mount>, 4 terminal: bool, 5 stdin: String, 6 stdout: String,
        7 stderr: String, 8 checkpoint: String, 9 parent_checkpoint: String, 10 options: Option<Any>
    }
    CreateTaskResponse { 1 pid: u32 }
    /// Of every request that names a process: `exec_id` is empty for init.
    ProcessRequest { 1 id: String, 2 exec_id: String }
    DeleteResponse { 1 pid: u32, 2 exit_status: u32, 3 exited_at: Option<Timestamp> }
    ExecProcessRequest {
        1 id: String, 2 exec_id: String, 3 terminal: bool, 4 stdin: String, 5 stdout: String, 6 stderr: String, 7 spec: Option<Any>
    }
    ResizePtyRequest { 1 id: String, 2 exec_id: String, 3 width: u32, 4 height: u32 }
    StateResponse {
        1 id: String, 2 bundle: String, 3 pid: u32, 4 status: u32, 5 stdin: String, 6 stdout: String, 7 stderr: String,
        8 terminal: bool, 9 exit_status: u32, 10 exited_at: Option<Timestamp>, 11 exec_id: String
    }
    KillRequest { 1 id: String, 2 exec_id: String, 3 signal: u32, 4 all: bool }
    CloseIoRequest { 1 id: String, 2 exec_id: String, 3 stdin: bool }
    PidsResponse { 1 processes: Vec<ProcessInfo> }
    UpdateTaskRequest { 1 id: String, 2 resources: Option<Any>, 3 annotations: BTreeMap<String, String> }
    StartResponse { 1 pid: u32 }
    WaitResponse { 1 exit_status: u32, 2 exited_at: Option<Timestamp> }
    StatsResponse { 1 stats: Option<Any> }
    ConnectResponse { 1 shim_pid: u32, 2 task_pid: u32, 3 version: String }

    /// containerd.runtime.bootstrap.v1.BootstrapParams (containerd 2.3).
    BootstrapParams {
        1 instance_id: String, 2 namespace: String, 3 log_level: i32, 4 containerd_version: String, 5 ttrpc_address: String,
        6 grpc_address: String, 7 containerd_binary: String, 8 extensions: Vec<Extension>, 9 socket_dir: String
    }
    Extension { 1 value: Option<Any> }
    /// containerd.runtime.bootstrap.v1.BootstrapResult.
    BootstrapResult { 1 version: i32, 2 address: String, 3 protocol: String }
    /// containerd.types.RuntimeInfo.
    RuntimeInfo { 1 name: String, 2 version: Option<RuntimeVersion>, 3 options: Option<Any>, 4 features: Option<Any> }
    RuntimeVersion { 1 version: String, 2 revision: String }

    /// containerd.runc.v1.Options.
    RuncOptions {
        1 no_pivot_root: bool, 2 no_new_keyring: bool, 3 shim_cgroup: String, 4 io_uid: u32, 5 io_gid: u32,
        6 binary_name: String, 7 root: String, 9 systemd_cgroup: bool
    }
    /// containerd.linux.runc.CreateOptions, which clients of containerd 1.6 and 1.7 send for runtimes of other names.
    RuncCreateOptions {
        1 no_pivot_root: bool, 8 no_new_keyring: bool, 9 shim_cgroup: String, 10 io_uid: u32, 11 io_gid: u32
    }
    /// runtimeoptions.v1.Options.
    RuntimeOptions { 1 type_url: String, 2 config_path: String, 3 config_body: Vec<u8> }
}

impl Timestamp {
    /// Of a point in time.
    pub(crate) fn of(time: Time) -> Self {
        Self { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
    }
}

impl Any {
    /// The last segment of the type's name: some senders put a host in front.
    pub(crate) fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}
