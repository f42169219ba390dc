//! Further processes of a container.
//!
//! ```text
//!   Added ──Start──▶ Starting ──▶ Running ──▶ Stopped ──Delete──▶ (gone)
//!     └─────────────────┴── could not be started ──▶ Stopped
//! ```

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::answers::STOPPED;
use super::error::TaskError;
use super::events::{TaskExecAdded, TaskExecStarted, TaskExit};
use super::messages::{ExecProcessRequest, KillRequest, StartResponse, StateResponse, Timestamp};
use super::owner::{Answer, Effect, Finished, Frozen, ONLY, Owner, Process, Task, answer, tell};
use crate::bundle_spec;
use crate::children::Child;
use crate::runtime_command;
use crate::spawn::InheritedStdio;
use crate::streams::{Holder, Purpose, Streams, Wanted};
use crate::wire::Message;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// One further process.
#[derive(Debug)]
pub(super) struct Exec {
    wanted: Wanted,
    spec: Vec<u8>,
    stage: Stage,
    streams: Option<Arc<Streams>>,
    /// The client closed it, perhaps before it was opened.
    stdin_closed: bool,
    waiters: Vec<Answer>,
    deleters: Vec<Answer>,
}

#[derive(Debug)]
enum Stage {
    Added,
    Starting(Option<Answer>),
    Running(Arc<Child>),
    Stopped { pid: u32, finished: Finished },
}

impl Exec {
    /// It has begun to be started and its end is not known.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Starting(_) | Stage::Running(_))
    }

    /// Its process id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.stage {
            Stage::Running(child) => Some(child.pid()),
            Stage::Added | Stage::Starting(_) | Stage::Stopped { .. } => None,
        }
    }

    /// Open once it was started.
    pub(super) fn streams(&self) -> Option<&Arc<Streams>> {
        self.streams.as_ref()
    }

    /// The client will write nothing more.
    pub(super) fn close_stdin(&mut self) {
        self.stdin_closed = true;
        if let Some(streams) = &self.streams {
            streams.close_stdin();
        }
    }
}

impl Owner {
    /// One that was added and not deleted.
    pub(super) fn exec(&self, exec_id: &str) -> Result<&Exec, TaskError> {
        self.execs.get(exec_id).ok_or_else(|| TaskError::no_such(&self.task.id, exec_id))
    }

    pub(super) fn exec_mut(&mut self, exec_id: &str) -> Result<&mut Exec, TaskError> {
        self.execs.get_mut(exec_id).ok_or_else(|| TaskError::no_such(&self.task.id, exec_id))
    }

    pub(super) fn add_exec(&mut self, request: ExecProcessRequest) -> Result<Vec<u8>, TaskError> {
        let ExecProcessRequest { exec_id, terminal, stdin, stdout, stderr, spec, .. } = request;
        if self.execs.contains_key(&exec_id) {
            return Err(TaskError::AlreadyExists(format!("process {exec_id} of container {} already exists", self.task.id)));
        }
        if self.finished.is_some() || self.frozen != Frozen::No {
            let status = self.status_word();
            return Err(TaskError::FailedPrecondition(format!("cannot exec in container {} that is {status}", self.task.id)));
        }
        let spec = process_object(&spec.unwrap_or_default().value, terminal)?;
        let wanted = Wanted { stdin, stdout, stderr, terminal };
        let exec = Exec {
            wanted,
            spec,
            stage: Stage::Added,
            streams: None,
            stdin_closed: false,
            waiters: Vec::new(),
            deleters: Vec::new(),
        };
        self.execs.insert(exec_id.clone(), exec);
        self.task.shared.events.publish(TaskExecAdded { container_id: self.task.id.clone(), exec_id });
        Ok(Vec::new())
    }

    pub(super) fn exec_state(&self, exec_id: &str) -> Result<Vec<u8>, TaskError> {
        let exec = self.exec(exec_id)?;
        let (pid, status, finished) = match &exec.stage {
            Stage::Added | Stage::Starting(_) => (0, 1, None),
            // Frozen as the container is.
            Stage::Running(child) => (child.pid(), self.status(), None),
            Stage::Stopped { pid, finished } => (*pid, STOPPED, Some(*finished)),
        };
        let Wanted { stdin, stdout, stderr, terminal } = exec.wanted.clone();
        let response = StateResponse {
            id: self.task.id.clone(),
            bundle: self.task.bundle.to_string_lossy().into_owned(),
            pid,
            status,
            stdin,
            stdout,
            stderr,
            terminal,
            exit_status: finished.map_or(0, |finished| finished.code),
            exited_at: finished.map(|finished| Timestamp::of(finished.at)),
            exec_id: exec_id.to_owned(),
        };
        Ok(response.to_bytes())
    }

    pub(super) fn start_exec(&mut self, exec_id: &str, to: Answer) {
        if let Err(error) = self.may_start_exec(exec_id) {
            return answer(to, Err(error));
        }
        let task = Arc::clone(&self.task);
        let (report, id) = (self.report.clone(), exec_id.to_owned());
        let Ok(exec) = self.exec_mut(exec_id) else { return };
        exec.stage = Stage::Starting(Some(to));
        let (wanted, spec) = (exec.wanted.clone(), exec.spec.clone());
        tokio::spawn(async move {
            let started = begin(&task, &wanted, &spec).await;
            tell(&report, Effect::ExecStarted { exec_id: id, started });
        });
    }

    fn may_start_exec(&self, exec_id: &str) -> Result<(), TaskError> {
        let exec = self.exec(exec_id)?;
        let refused = |why: &str| {
            Err(TaskError::FailedPrecondition(format!("cannot start process {exec_id} of container {}: {why}", self.task.id)))
        };
        if !matches!(exec.stage, Stage::Added) {
            return refused("it has been started already");
        }
        if self.finished.is_some() {
            return refused("the container has ended");
        }
        if self.frozen != Frozen::No {
            return refused("the container is paused");
        }
        match &self.process {
            Process::Running(_) if self.is_being_stopped() => refused("the container is being restarted"),
            Process::Running(_) | Process::Created(_) => Ok(()),
            Process::Starting(_) | Process::Creating { .. } | Process::Ended { .. } | Process::Dying(_) => {
                let message =
                    format!("container {} has no process at the moment: it is being restarted; try again", self.task.id);
                Err(TaskError::Unavailable(message))
            }
        }
    }

    fn is_being_stopped(&self) -> bool {
        self.supervisor.status().containers.iter().any(|container| container.stopping.is_some())
    }

    pub(super) fn on_exec_started(&mut self, exec_id: &str, started: Result<(Child, Arc<Streams>), TaskError>) {
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        let Ok(exec) = self.exec_mut(exec_id) else { return };
        let Stage::Starting(starter) = &mut exec.stage else { return };
        let starter = starter.take();
        let reply = match started {
            Ok((child, streams)) => {
                let child = Arc::new(child);
                if exec.stdin_closed {
                    streams.close_stdin();
                }
                exec.streams = Some(streams);
                exec.stage = Stage::Running(Arc::clone(&child));
                let pid = child.pid();
                task.shared.events.publish(TaskExecStarted { container_id: task.id.clone(), exec_id: exec_id.to_owned(), pid });
                let exec_id = exec_id.to_owned();
                tokio::spawn(async move {
                    let code = match child.ended().await {
                        Ok(ended) => ended.exit(false).code,
                        Err(error) => {
                            log::error!("wait for process {} of container {}: {error}", child.pid(), task.id);
                            255
                        }
                    };
                    let finished = Finished { code: u32::try_from(code).unwrap_or(255), at: jiff::Timestamp::now() };
                    tell(&report, Effect::ExecEnded { exec_id, finished });
                });
                Ok(StartResponse { pid }.to_bytes())
            }
            Err(error) => {
                self.stop_exec(exec_id, 0, Finished { code: 255, at: jiff::Timestamp::now() });
                Err(error)
            }
        };
        if let Some(starter) = starter {
            answer(starter, reply);
        }
        self.settle();
    }

    pub(super) fn on_exec_ended(&mut self, exec_id: &str, finished: Finished) {
        let Ok(Exec { stage: Stage::Running(child), .. }) = self.exec(exec_id) else { return };
        let pid = child.pid();
        self.task.shared.events.publish(TaskExit {
            container_id: self.task.id.clone(),
            id: exec_id.to_owned(),
            pid,
            exit_status: finished.code,
            exited_at: Some(Timestamp::of(finished.at)),
        });
        self.stop_exec(exec_id, pid, finished);
        self.settle();
    }

    fn stop_exec(&mut self, exec_id: &str, pid: u32, finished: Finished) {
        let Ok(exec) = self.exec_mut(exec_id) else { return };
        exec.stage = Stage::Stopped { pid, finished };
        if let Some(streams) = &exec.streams {
            streams.end();
        }
        for waiter in exec.waiters.drain(..) {
            answer(waiter, Ok(finished.wait_response()));
        }
    }

    pub(super) fn wait_exec(&mut self, exec_id: &str, to: Answer) {
        match self.exec_mut(exec_id) {
            Err(error) => answer(to, Err(error)),
            Ok(Exec { stage: Stage::Stopped { finished, .. }, .. }) => answer(to, Ok(finished.wait_response())),
            Ok(exec) => {
                exec.waiters.retain(|waiter| !waiter.is_closed());
                exec.waiters.push(to);
            }
        }
    }

    pub(super) fn kill_exec(&self, exec_id: &str, request: &KillRequest) -> Result<Vec<u8>, TaskError> {
        let signal = i32::try_from(request.signal).ok().filter(|&signal| signal <= 64);
        let signal = signal.ok_or_else(|| TaskError::InvalidArgument(format!("there is no signal {}", request.signal)))?;
        match &self.exec(exec_id)?.stage {
            Stage::Added | Stage::Starting(_) => {
                Err(TaskError::FailedPrecondition(format!("process {exec_id} of container {} is not started", self.task.id)))
            }
            Stage::Running(child) => {
                child.signal(signal)?;
                Ok(Vec::new())
            }
            Stage::Stopped { .. } => {
                Err(TaskError::NotFound(format!("process {exec_id} of container {} already finished", self.task.id)))
            }
        }
    }

    pub(super) fn delete_exec(&mut self, exec_id: &str, to: Answer) {
        let (report, id) = (self.report.clone(), exec_id.to_owned());
        let container = self.task.id.clone();
        let exec = match self.exec_mut(exec_id) {
            Ok(exec) => exec,
            Err(error) => return answer(to, Err(error)),
        };
        match &exec.stage {
            Stage::Starting(_) | Stage::Running(_) => {
                let message = format!("cannot delete process {exec_id} of container {container} that is running");
                answer(to, Err(TaskError::FailedPrecondition(message)));
            }
            Stage::Added | Stage::Stopped { .. } => {
                exec.deleters.push(to);
                let streams = exec.streams.clone();
                tokio::spawn(async move {
                    if let Some(streams) = streams {
                        streams.drained().await;
                    }
                    tell(&report, Effect::ExecDeleted { exec_id: id });
                });
            }
        }
    }

    pub(super) fn on_exec_deleted(&mut self, exec_id: &str) {
        let Some(exec) = self.execs.remove(exec_id) else { return };
        let reply = match exec.stage {
            Stage::Stopped { pid, finished } => finished.delete_response(pid),
            Stage::Added | Stage::Starting(_) | Stage::Running(_) => Vec::new(),
        };
        for to in exec.deleters {
            answer(to, Ok(reply.clone()));
        }
        for waiter in exec.waiters {
            answer(waiter, Err(TaskError::no_such(&self.task.id, exec_id)));
        }
    }
}

/// The OCI process object as the runtime shall see it.
fn process_object(bytes: &[u8], terminal: bool) -> Result<Vec<u8>, TaskError> {
    let bad = |error: &dyn std::fmt::Display| TaskError::InvalidArgument(format!("the process of the exec: {error}"));
    let mut process: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| bad(&error))?;
    let Some(fields) = process.as_object_mut() else { return Err(bad(&"must be an object")) };
    fields.insert("terminal".to_owned(), terminal.into());
    Ok(process.to_string().into_bytes())
}

async fn begin(task: &Task, wanted: &Wanted, spec: &[u8]) -> Result<(Child, Arc<Streams>), TaskError> {
    let Some((plan, launch)) = task.pod.container(ONLY) else { return Err(TaskError::no_such(&task.id, "")) };
    let owner = bundle_spec::owner_of_process(&launch.bundle, spec)?;
    let shared = &task.shared;
    let purpose = Purpose { holder: Holder::Exec, owner, namespace: &shared.namespace, id: &task.id, children: &shared.children };
    let streams = Streams::open(wanted, &purpose).await?;
    let files = task.pod.files(plan);
    let stem = format!("exec-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let process = files.join(format!("{stem}.json"));
    fs::write(&process, spec).map_err(|error| TaskError::Failed(format!("write {}: {error}", process.display())))?;
    let stdio = InheritedStdio::new(streams.stdio()?);
    let console = streams.console_socket();
    let exec = runtime_command::Exec {
        process: &process,
        console_socket: console.as_deref(),
        stdio: stdio.fds(),
        files: &files,
        stem: &stem,
    };
    let child = task.pod.runtime.exec(&launch.id, &exec).await;
    drop(fs::remove_file(&process));
    streams.let_go_of_outputs();
    let child = child?;
    Ok((child, Arc::new(streams)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_decides_about_the_terminal_and_nonsense_is_refused() {
        let process = process_object(br#"{"args":["true"],"terminal":true}"#, false).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&process).unwrap()["terminal"], false);
        assert!(matches!(process_object(b"[]", false), Err(TaskError::InvalidArgument(_))));
        assert!(matches!(process_object(b"{", false), Err(TaskError::InvalidArgument(_))));
    }
}
