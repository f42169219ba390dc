//! What the owner of a container answers to calls about it.

use std::sync::Arc;

use hshim_health::input::{Input, RunNumber};

use super::error::TaskError;
use super::events::{Event, TaskDelete, TaskOom, TaskPaused, TaskResumed, TaskStart};
use super::lives::kill_all;
use super::messages::{
    Any, CloseIoRequest, ConnectResponse, DeleteResponse, KillRequest, PidsResponse, ProcessDetails, ProcessInfo,
    ResizePtyRequest, StartResponse, StateResponse, StatsResponse, Timestamp, WaitResponse,
};
use super::owner::{Answer, Call, Effect, Finished, Frozen, ONLY, Owner, Process, Task, answer, tell};
use super::{mounts, record, stats};
use crate::runtime_command::Cgroup;
use crate::wire::Message;

/// containerd's Status.
const CREATED: u32 = 1;
const RUNNING: u32 = 2;
pub(super) const STOPPED: u32 = 3;
const PAUSED: u32 = 4;
const PAUSING: u32 = 5;

impl Finished {
    /// Reply of Wait.
    pub(super) fn wait_response(self) -> Vec<u8> {
        WaitResponse { exit_status: self.code, exited_at: Some(Timestamp::of(self.at)) }.to_bytes()
    }

    /// Reply of Delete.
    pub(super) fn delete_response(self, pid: u32) -> Vec<u8> {
        DeleteResponse { pid, exit_status: self.code, exited_at: Some(Timestamp::of(self.at)) }.to_bytes()
    }
}

impl Owner {
    pub(super) fn on_call(&mut self, call: Call, to: Answer) {
        let reply = match call {
            Call::State(exec_id) if exec_id.is_empty() => Ok(self.state()),
            Call::State(exec_id) => self.exec_state(&exec_id),
            Call::Start(exec_id) if exec_id.is_empty() => return self.start(to),
            Call::Start(exec_id) => return self.start_exec(&exec_id, to),
            Call::Delete(exec_id) if exec_id.is_empty() => return self.delete(to),
            Call::Delete(exec_id) => return self.delete_exec(&exec_id, to),
            Call::Wait(exec_id) if exec_id.is_empty() => return self.wait(to),
            Call::Wait(exec_id) => return self.wait_exec(&exec_id, to),
            Call::Pid => Ok(ConnectResponse { shim_pid: std::process::id(), task_pid: self.pid, version: version() }.to_bytes()),
            Call::Pids => Ok(self.pids()),
            Call::Pause => return self.pause(to),
            Call::Resume => return self.resume(to),
            Call::Stats => self.stats(),
            Call::Kill(request) if request.exec_id.is_empty() => return self.kill(&request, to),
            Call::Kill(request) => self.kill_exec(&request.exec_id, &request),
            Call::Exec(request) => self.add_exec(request),
            Call::Resize(request) => self.resize(&request),
            Call::CloseIo(request) => self.close_io(&request),
            Call::Update(request) => return self.update(request, to),
        };
        answer(to, reply);
    }

    pub(super) fn status(&self) -> u32 {
        match (&self.process, self.finished, self.frozen) {
            (_, Some(_), _) => STOPPED,
            (Process::Created(init) | Process::Starting(init), None, _) if init.run.0 == 0 => CREATED,
            (_, None, Frozen::Yes) => PAUSED,
            (_, None, Frozen::Freezing) => PAUSING,
            (_, None, Frozen::No) => RUNNING,
        }
    }

    fn state(&self) -> Vec<u8> {
        let wanted = self.task.wanted.clone();
        StateResponse {
            id: self.task.id.clone(),
            bundle: self.task.bundle.to_string_lossy().into_owned(),
            pid: self.pid,
            status: self.status(),
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            terminal: wanted.terminal,
            exit_status: self.finished.map_or(0, |finished| finished.code),
            exited_at: self.finished.map(|finished| Timestamp::of(finished.at)),
            exec_id: String::new(),
        }
        .to_bytes()
    }

    fn start(&mut self, to: Answer) {
        let is_created = matches!(&self.process, Process::Created(init) if init.run.0 == 0);
        if !is_created || self.starter.is_some() || self.supervision_has_ended() {
            let status = self.status_word();
            let message = format!("cannot start container {} that is {status}", self.task.id);
            return answer(to, Err(TaskError::FailedPrecondition(message)));
        }
        self.starter = Some(to);
        self.step(Input::StartRequested);
    }

    /// The event goes out before any end of this process.
    pub(super) fn on_first_start(&mut self, run: RunNumber) {
        if run.0 == 0 {
            self.task.shared.events.publish(TaskStart { container_id: self.task.id.clone(), pid: self.pid });
        }
        if let Some(starter) = self.starter.take() {
            answer(starter, Ok(StartResponse { pid: self.pid }.to_bytes()));
        }
    }

    fn wait(&mut self, to: Answer) {
        match self.finished {
            Some(finished) => answer(to, Ok(finished.wait_response())),
            None => {
                self.waiters.retain(|waiter| !waiter.is_closed());
                self.waiters.push(to);
            }
        }
    }

    pub(super) fn status_word(&self) -> &'static str {
        match self.status() {
            CREATED => "created",
            RUNNING => "running",
            PAUSED => "paused",
            PAUSING => "being paused",
            _ => "stopped",
        }
    }

    fn pids(&self) -> Vec<u8> {
        let mut pids = if self.finished.is_some() { Default::default() } else { self.task.cgroups.pids() };
        // Never empty while the container counts as running.
        if pids.is_empty() && self.finished.is_none() {
            pids.insert(self.pid);
        }
        let info = |pid: u32| {
            let (exec_id, _) = self.execs.iter().find(|(_, exec)| exec.pid() == Some(pid))?;
            let details = ProcessDetails { exec_id: exec_id.clone() };
            Some(Any { type_url: "containerd.runc.v1.ProcessDetails".to_owned(), value: details.to_bytes() })
        };
        let processes = pids.into_iter().map(|pid| ProcessInfo { pid, info: info(pid) }).collect();
        PidsResponse { processes }.to_bytes()
    }

    fn stats(&self) -> Result<Vec<u8>, TaskError> {
        let stats = stats::read(&self.task.cgroups);
        let none = || TaskError::NotFound(format!("container {} has no cgroup", self.task.id));
        Ok(StatsResponse { stats: Some(stats.ok_or_else(none)?) }.to_bytes())
    }

    fn kill(&mut self, request: &KillRequest, to: Answer) {
        let KillRequest { signal, all, .. } = *request;
        let signal = match i32::try_from(signal) {
            Ok(signal) if signal <= 64 => signal,
            Ok(_) | Err(_) => return answer(to, Err(TaskError::InvalidArgument(format!("there is no signal {signal}")))),
        };
        if self.finished.is_some() {
            return answer(to, Err(TaskError::NotFound(format!("process of container {} already finished", self.task.id))));
        }
        let is_the_end = signal != 0 && (all || self.ends_supervision(signal));
        if is_the_end {
            self.step(Input::SupervisionEnded);
        }
        if is_the_end {
            // Nobody waits for a runtime that does not come to an end with it.
            self.task.pod.runtime.hurry();
        }
        // A life that is just being made would not hear a gentle signal, and nobody wants it any more.
        let is_being_made = matches!(&self.process, Process::Starting(init) if init.run.0 > 0);
        self.signal(if is_the_end && is_being_made { libc::SIGKILL } else { signal });
        let frozen = std::mem::replace(&mut self.frozen, Frozen::No);
        let must_thaw = signal == libc::SIGKILL && frozen == Frozen::Yes;
        if !must_thaw {
            self.frozen = frozen;
        }
        if !all && !must_thaw {
            return answer(to, Ok(Vec::new()));
        }
        let task = Arc::clone(&self.task);
        tokio::spawn(async move {
            if all {
                kill_all(&task, signal).await;
            }
            // On cgroup v1 even SIGKILL waits until the process is thawed.
            if must_thaw && let Err(error) = thaw(&task).await {
                log::warn!("thaw the killed container {}: {error}", task.id);
            }
            answer(to, Ok(Vec::new()));
        });
    }

    fn ends_supervision(&self, signal: i32) -> bool {
        matches!(signal, libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) || self.task.stop_signal == Some(signal)
    }

    fn pause(&mut self, to: Answer) {
        let stopping = self.supervisor.status().containers.iter().any(|container| container.stopping.is_some());
        if self.running().is_none() || stopping || self.frozen != Frozen::No || self.finished.is_some() {
            let message = format!("cannot pause container {} that is {}", self.task.id, self.status_word());
            return answer(to, Err(TaskError::FailedPrecondition(message)));
        }
        self.frozen = Frozen::Freezing;
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let frozen = match task.pod.container(ONLY) {
                Some((plan, launch)) => task.pod.runtime.pause(&launch.id, &task.pod.files(plan)).await.map_err(TaskError::from),
                None => Ok(()),
            };
            tell(&report, Effect::Frozen(frozen, to));
        });
    }

    pub(super) fn on_frozen(&mut self, result: Result<(), TaskError>, to: Answer) {
        match result {
            Ok(()) if self.finished.is_none() => {
                self.frozen = Frozen::Yes;
                self.task.shared.events.publish(TaskPaused { container_id: self.task.id.clone() });
                self.step(Input::Paused { container: ONLY });
                answer(to, Ok(Vec::new()));
            }
            Ok(()) => answer(to, Err(TaskError::FailedPrecondition(format!("container {} has ended", self.task.id)))),
            Err(error) => {
                self.frozen = Frozen::No;
                answer(to, Err(error));
            }
        }
    }

    fn resume(&mut self, to: Answer) {
        if self.frozen != Frozen::Yes {
            let message = format!("cannot resume container {} that is {}", self.task.id, self.status_word());
            return answer(to, Err(TaskError::FailedPrecondition(message)));
        }
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let thawed = thaw(&task).await;
            tell(&report, Effect::Thawed(thawed, to));
        });
    }

    pub(super) fn on_thawed(&mut self, result: Result<(), TaskError>, to: Answer) {
        if result.is_ok() {
            self.frozen = Frozen::No;
            self.task.shared.events.publish(TaskResumed { container_id: self.task.id.clone() });
            self.step(Input::Resumed { container: ONLY });
        }
        answer(to, result.map(|()| Vec::new()));
    }

    fn resize(&self, request: &ResizePtyRequest) -> Result<Vec<u8>, TaskError> {
        let streams = if request.exec_id.is_empty() { Some(&self.task.streams) } else { self.exec(&request.exec_id)?.streams() };
        if let Some(streams) = streams {
            streams.resize(request.width, request.height)?;
        }
        Ok(Vec::new())
    }

    fn close_io(&mut self, request: &CloseIoRequest) -> Result<Vec<u8>, TaskError> {
        match (request.stdin, request.exec_id.as_str()) {
            (false, _) => {}
            (true, "") => self.task.streams.close_stdin(),
            (true, exec_id) => self.exec_mut(exec_id)?.close_stdin(),
        }
        Ok(Vec::new())
    }

    /// The kernel killed a process of the container for lack of memory. What it says of an ended life comes too late: that was told with the end.
    pub(super) fn on_out_of_memory(&mut self) {
        if !matches!(self.process, Process::Creating { .. } | Process::Ended { .. }) {
            self.tell_out_of_memory();
        }
    }

    pub(super) fn tell_out_of_memory(&mut self) {
        self.oom_told = true;
        let id = self.task.id.clone();
        match &mut self.health {
            // containerd's clients hold it against the container for ever: not if it goes on in a next life.
            Some(health) => health.out_of_memory(&self.task),
            None => self.task.shared.events.publish(TaskOom { container_id: id }),
        }
    }

    fn delete(&mut self, to: Answer) {
        if self.finished.is_some() {
            self.deleters.push(to);
            return self.begin_delete();
        }
        let is_unstarted = matches!(&self.process, Process::Created(init) if init.run.0 == 0);
        if !is_unstarted {
            let message = format!("cannot delete container {} that is {}", self.task.id, self.status_word());
            return answer(to, Err(TaskError::FailedPrecondition(message)));
        }
        self.deleters.push(to);
        self.step(Input::SupervisionEnded);
        self.signal(libc::SIGKILL);
    }

    pub(super) fn begin_delete(&mut self) {
        if std::mem::replace(&mut self.deleting, true) {
            return;
        }
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let deleted = clear(&task).await;
            tell(&report, Effect::Deleted(deleted));
        });
    }

    /// Whether the container is gone.
    pub(super) fn on_deleted(&mut self, result: Result<(), TaskError>) -> bool {
        self.deleting = false;
        let finished = self.finished.unwrap_or(Finished { code: 128, at: jiff::Timestamp::now() });
        let is_gone = result.is_ok();
        if is_gone {
            self.task.shared.events.publish(Event::from(TaskDelete {
                container_id: self.task.id.clone(),
                pid: self.pid,
                exit_status: finished.code,
                exited_at: Some(Timestamp::of(finished.at)),
                id: String::new(),
            }));
        }
        for to in self.deleters.drain(..) {
            answer(to, result.clone().map(|()| finished.delete_response(self.pid)));
        }
        is_gone
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

async fn thaw(task: &Task) -> Result<(), TaskError> {
    let Some((plan, launch)) = task.pod.container(ONLY) else { return Ok(()) };
    Ok(task.pod.runtime.resume(&launch.id, &task.pod.files(plan)).await?)
}

/// Nothing of the container is left.
async fn clear(task: &Task) -> Result<(), TaskError> {
    task.streams.drained().await;
    let Some((plan, launch)) = task.pod.container(ONLY) else { return Ok(()) };
    let files = task.pod.files(plan);
    if let Err(error) = task.pod.runtime.delete(&launch.id, Cgroup::Remove, &files).await {
        // Without its files containerd's `delete` has been here: its client went while the container was being created.
        if files.exists() {
            return Err(error.into());
        }
    }
    crate::cleanup::remove_traces(&task.pod, launch);
    crate::cleanup::remove_cgroup(&launch.bundle);
    mounts::unmount_below(&task.bundle.join("rootfs")).await?;
    record::forget(&task.bundle, &task.pod.dir.0);
    Ok(())
}
