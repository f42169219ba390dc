//! CRI as a kubelet speaks it: pods, containers, execs, streams. Field numbers are those of `runtime.v1`'s api.proto.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::daemon::{Daemon, IMAGE};
use super::grpc::{Grpc, Refusal};
use super::protobuf::{Fields, Message};

const POD_NETWORK: i64 = 0;
const OF_CONTAINER: i64 = 1;
const OF_NODE: i64 = 2;

/// CRI of a daemon.
#[derive(Debug)]
pub struct Cri<'a> {
    daemon: &'a Daemon,
    grpc: Grpc,
}

/// What a pod shall be.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodRequest<'a> {
    /// Its name.
    pub name: &'a str,
    /// A network of its own instead of the host's.
    pub network: bool,
    /// Its annotations.
    pub annotations: &'a [(&'a str, &'a str)],
    /// Its RuntimeClass' handler, if not the one under test.
    pub handler: Option<&'a str>,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its sandbox's id.
    pub id: String,
    config: Message,
    logs: PathBuf,
}

/// What a container shall be.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContainerRequest<'a> {
    /// Its name in the pod.
    pub name: &'a str,
    /// Its command.
    pub command: &'a [&'a str],
    /// The container's own annotations.
    pub annotations: &'a [(&'a str, &'a str)],
    /// It has a standard input.
    pub stdin: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Bytes of memory, 0 for no limit.
    pub memory: i64,
    /// A directory of the host, and where it is in the container.
    pub mount: Option<(&'a str, &'a str)>,
}

/// A container that was created.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its log, in CRI's format.
    pub log: PathBuf,
}

/// What CRI says about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// `CREATED`, `RUNNING`, `EXITED` or `UNKNOWN`.
    pub state: &'static str,
    /// When it was started, in nanoseconds since the epoch.
    pub started_at: i64,
    /// How it ended.
    pub exit_code: i64,
    /// A word for that.
    pub reason: String,
}

/// What a command in a container gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit code.
    pub exit_code: i64,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Daemon {
    /// CRI of this daemon.
    #[must_use]
    pub fn cri(&self) -> Cri<'_> {
        Cri { daemon: self, grpc: self.grpc() }
    }
}

impl Cri<'_> {
    fn call(&self, method: &str, request: &Message) -> Result<Fields, Refusal> {
        self.grpc.call(&format!("/runtime.v1.RuntimeService/{method}"), request)
    }

    fn ask(&self, method: &str, request: &Message) -> Fields {
        self.call(method, request).unwrap_or_else(|refusal| panic!("{method}: {refusal}"))
    }

    /// `RunPodSandbox`.
    #[must_use]
    pub fn run_pod(&self, pod: &PodRequest<'_>) -> Pod {
        self.try_run_pod(pod).unwrap_or_else(|refusal| panic!("RunPodSandbox: {refusal}"))
    }

    /// `RunPodSandbox`, which may be refused.
    ///
    /// # Errors
    /// CRI's refusal.
    pub fn try_run_pod(&self, pod: &PodRequest<'_>) -> Result<Pod, Refusal> {
        let logs = self.daemon.home().join("logs").join(pod.name);
        std::fs::create_dir_all(&logs).unwrap();
        let uid = format!("{}-{}", self.daemon.name(), pod.name);
        let metadata = Message::new().text(1, pod.name).text(2, &uid).text(3, "default");
        let network = if pod.network { POD_NETWORK } else { OF_NODE };
        let security = Message::new().message(1, &namespaces(network));
        let linux = Message::new().text(1, &format!("/{}", self.daemon.name())).message(2, &security);
        let config = Message::new().message(1, &metadata).text(2, if pod.network { pod.name } else { "" });
        let config = config.text(3, logs.to_str().unwrap()).map(7, pod.annotations).message(8, &linux);
        let answer = self.call("RunPodSandbox", &Message::new().message(1, &config).text(2, pod.handler.unwrap_or("judged")))?;
        let id = answer.text(1);
        self.daemon.remember(&id);
        Ok(Pod { id, config, logs })
    }

    /// The pod's address; empty for one on the host's network.
    #[must_use]
    pub fn pod_address(&self, pod: &Pod) -> String {
        self.ask("PodSandboxStatus", &Message::new().text(1, &pod.id)).message(1).message(5).text(1)
    }

    /// Whether the pod is `READY`.
    #[must_use]
    pub fn is_ready(&self, pod: &Pod) -> bool {
        self.ask("PodSandboxStatus", &Message::new().text(1, &pod.id)).message(1).number(3) == 0
    }

    /// `StopPodSandbox` and `RemovePodSandbox`.
    pub fn remove_pod(&self, pod: &Pod) {
        self.ask("StopPodSandbox", &Message::new().text(1, &pod.id));
        self.ask("RemovePodSandbox", &Message::new().text(1, &pod.id));
    }

    /// `CreateContainer`.
    #[must_use]
    pub fn create(&self, pod: &Pod, container: &ContainerRequest<'_>) -> Container {
        let request = Message::new().text(1, &pod.id).message(2, &container.encoded()).message(3, &pod.config);
        let id = self.ask("CreateContainer", &request).text(1);
        self.daemon.remember(&id);
        Container { id, log: pod.logs.join(format!("{}.log", container.name)) }
    }

    /// `StartContainer`.
    pub fn start(&self, container: &Container) {
        self.try_start(container).unwrap_or_else(|refusal| panic!("StartContainer: {refusal}"));
    }

    /// `StartContainer`, which may be refused.
    ///
    /// # Errors
    /// CRI's refusal.
    pub fn try_start(&self, container: &Container) -> Result<(), Refusal> {
        self.call("StartContainer", &Message::new().text(1, &container.id)).map(drop)
    }

    /// Create and start.
    #[must_use]
    pub fn run(&self, pod: &Pod, request: &ContainerRequest<'_>) -> Container {
        let container = self.create(pod, request);
        self.start(&container);
        container
    }

    /// `StopContainer` with so many seconds of grace.
    pub fn stop(&self, container: &Container, grace: i64) {
        self.ask("StopContainer", &Message::new().text(1, &container.id).number(2, grace));
    }

    /// `RemoveContainer`.
    pub fn remove(&self, container: &Container) {
        self.ask("RemoveContainer", &Message::new().text(1, &container.id));
    }

    /// `ContainerStatus`.
    #[must_use]
    pub fn status(&self, container: &Container) -> ContainerStatus {
        let status = self.ask("ContainerStatus", &Message::new().text(1, &container.id)).message(1);
        let words = ["CREATED", "RUNNING", "EXITED", "UNKNOWN"];
        ContainerStatus {
            state: words[usize::try_from(status.number(3)).unwrap()],
            started_at: status.number(5),
            exit_code: status.number(7),
            reason: status.text(10),
        }
    }

    /// `ListContainers`: names and states of a pod's containers.
    #[must_use]
    pub fn list(&self, pod: &Pod) -> BTreeMap<String, i64> {
        let filter = Message::new().text(3, &pod.id);
        let answer = self.ask("ListContainers", &Message::new().message(1, &filter));
        answer.messages(1).iter().map(|it| (it.message(3).text(1), it.number(6))).collect()
    }

    /// `ReopenContainerLog`.
    pub fn reopen_log(&self, container: &Container) {
        self.ask("ReopenContainerLog", &Message::new().text(1, &container.id));
    }

    /// `ExecSync` with a timeout in seconds, 0 for none.
    ///
    /// # Errors
    /// CRI's refusal, a timeout too.
    pub fn exec_sync(&self, container: &Container, command: &[&str], timeout: i64) -> Result<ExecResult, Refusal> {
        let request = Message::new().text(1, &container.id).texts(2, command).number(3, timeout);
        let answer = self.call("ExecSync", &request)?;
        Ok(ExecResult { exit_code: answer.number(3), stdout: answer.text(1), stderr: answer.text(2) })
    }

    /// `Exec`: the address of its stream.
    #[must_use]
    pub fn exec(&self, container: &Container, command: &[&str], tty: bool) -> String {
        let request = Message::new().text(1, &container.id).texts(2, command).number(3, tty).number(4, true);
        self.ask("Exec", &request.number(5, true).number(6, !tty)).text(1)
    }

    /// `Attach`: the address of its stream.
    #[must_use]
    pub fn attach(&self, container: &Container, tty: bool) -> String {
        let request = Message::new().text(1, &container.id).number(2, true).number(3, tty);
        self.ask("Attach", &request.number(4, true).number(5, !tty)).text(1)
    }

    /// `PortForward`: the address of its stream.
    #[must_use]
    pub fn port_forward(&self, pod: &Pod, port: i32) -> String {
        self.ask("PortForward", &Message::new().text(1, &pod.id).number(2, port)).text(1)
    }

    /// `ContainerStats`: nanoseconds of CPU and bytes of working set.
    #[must_use]
    pub fn stats(&self, container: &Container) -> (i64, i64) {
        let stats = self.ask("ContainerStats", &Message::new().text(1, &container.id)).message(1);
        (stats.message(2).message(2).number(1), stats.message(3).message(2).number(1))
    }

    /// `UpdateContainerResources`: a limit of memory.
    pub fn limit_memory(&self, container: &Container, bytes: i64) {
        let resources = Message::new().number(4, bytes);
        self.ask("UpdateContainerResources", &Message::new().text(1, &container.id).message(2, &resources));
    }
}

impl ContainerRequest<'_> {
    fn encoded(&self) -> Message {
        let log = format!("{}.log", self.name);
        let resources = Message::new().number(4, self.memory);
        let security = Message::new().message(3, &namespaces(POD_NETWORK));
        let linux = Message::new().message(1, &resources).message(2, &security);
        let mut config = Message::new().message(1, &Message::new().text(1, self.name)).message(2, &Message::new().text(1, IMAGE));
        config = config.texts(3, self.command).map(10, self.annotations).text(11, &log);
        if let Some((host, inside)) = self.mount {
            config = config.message(7, &Message::new().text(1, inside).text(2, host));
        }
        config.number(12, self.stdin).number(14, self.tty).message(15, &linux)
    }
}

/// Processes of the container's own, the rest of the pod.
fn namespaces(network: i64) -> Message {
    Message::new().number(1, network).number(2, OF_CONTAINER)
}
