//! containerd's own API where `ctr` has no command for it: a task that is created and not yet started, options of the runtime, waiting.

use hshim_tests::containerd::{Daemon, IMAGE, Message, Refusal};

/// Create a container and its task, not started; the pid of init. `options` are the runtime's, a message of `containerd.runc.v1.Options`.
pub fn create(daemon: &Daemon, id: &str, command: &[&str], options: Option<&Message>) -> Result<i64, Refusal> {
    create_with(daemon, id, &[], command, options)
}

/// As [`create`], in the shim of a group.
pub fn create_in_group(daemon: &Daemon, id: &str, group: &str, options: &Message) -> Result<i64, Refusal> {
    let annotation = format!("io.containerd.runc.v2.group={group}");
    create_with(daemon, id, &["--annotation", &annotation], &["sleep", "1000"], Some(options))
}

fn create_with(daemon: &Daemon, id: &str, extra: &[&str], command: &[&str], options: Option<&Message>) -> Result<i64, Refusal> {
    daemon.remember(id);
    let snapshotter = snapshotter(daemon);
    let fixed = ["container", "create", "--runtime", daemon.runtime(), "--snapshotter", &snapshotter];
    daemon.ctr(&[fixed.as_slice(), extra, &["--", IMAGE, id], command].concat()).ok();
    let mounts = Message::new().text(1, &snapshotter).text(2, id);
    let mounts = daemon.grpc().call("/containerd.services.snapshots.v1.Snapshots/Mounts", &mounts).unwrap();
    let mut request = mounts.all_bytes(1).fold(Message::new().text(1, id), |request, mount| request.bytes(3, mount));
    if let Some(options) = options {
        request = request.message(9, &Message::new().text(1, "containerd.runc.v1.Options").bytes(2, options.encoded()));
    }
    daemon.grpc().call("/containerd.services.tasks.v1.Tasks/Create", &request).map(|answer| answer.number(2))
}

/// Start a created task.
pub fn start(daemon: &Daemon, id: &str) -> Result<i64, Refusal> {
    daemon.grpc().call("/containerd.services.tasks.v1.Tasks/Start", &Message::new().text(1, id)).map(|answer| answer.number(1))
}

/// Wait for the end of a task, in a thread of its own; its exit status.
pub fn wait(daemon: &Daemon, id: &str) -> std::thread::JoinHandle<Result<i64, Refusal>> {
    let (grpc, id) = (daemon.grpc(), id.to_owned());
    std::thread::spawn(move || {
        let answer = grpc.call("/containerd.services.tasks.v1.Tasks/Wait", &Message::new().text(1, &id))?;
        Ok(answer.number(1))
    })
}

/// Update the resources of a task.
pub fn update(daemon: &Daemon, id: &str, resources: &str) {
    let kind = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let any = Message::new().text(1, kind).bytes(2, resources.as_bytes());
    let request = Message::new().text(1, id).message(2, &any);
    daemon.grpc().call("/containerd.services.tasks.v1.Tasks/Update", &request).unwrap();
}

fn snapshotter(daemon: &Daemon) -> String {
    let plugins = daemon.ctr(&["plugins", "ls"]).ok();
    let usable = plugins.lines().any(|line| line.contains("overlayfs") && line.trim_end().ends_with("ok"));
    if usable { "overlayfs" } else { "native" }.to_owned()
}
