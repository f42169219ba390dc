//! The owner of one container: the only place that changes its state and that calls its supervisor.
//!
//! ```text
//!   Created ─▶ Starting ─▶ Running ─▶ Ended ─▶ Creating (next life, the ended process pinned) ─▶ Created …
//!       └──────────┴──────────┴─▶ the last end: /tasks/exit, Wait answers, State says STOPPED
//! ```
//! Nothing here waits for an effect: calls are answered from memory, or when their effect has come back.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use hshim_health::input::{Exit, Input, Outcome, RunNumber};
use hshim_health::plan::{ContainerIndex, ProbeKind};
use hshim_health::restart_owner::Agent;
use hshim_health::{Action, Supervisor};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::cgroups::TaskCgroups;
use super::error::TaskError;
use super::events::TaskExit;
use super::execs::Exec;
use super::health::Health;
use super::lives;
use super::messages::{
    CloseIoRequest, ExecProcessRequest, KillRequest, ResizePtyRequest, Timestamp as WireTimestamp, UpdateTaskRequest,
};
use super::namespaces::JoinedNamespaces;
use super::shared::Shared;
use crate::children::Child;
use crate::clock::{self, Alarm};
use crate::init::Init;
use crate::pod::Pod;
use crate::probe::Attempt;
use crate::start::StartError;
use crate::streams::{Streams, Wanted};

/// The one container of a plan.
pub(super) const ONLY: ContainerIndex = ContainerIndex(0);

/// What never changes about a container.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) wanted: Wanted,
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) streams: Arc<Streams>,
    pub(super) cgroups: TaskCgroups,
    /// Ends its supervision besides the signals that always do.
    pub(super) stop_signal: Option<i32>,
    /// Of the pod; a new life joins them only if they are still the same.
    pub(super) joined: JoinedNamespaces,
}

/// A request about one container; `String`s are exec ids, empty for init.
#[derive(Debug)]
pub(super) enum Call {
    State(String),
    Start(String),
    Delete(String),
    Wait(String),
    Pid,
    Pids,
    Pause,
    Resume,
    Stats,
    Kill(KillRequest),
    Exec(ExecProcessRequest),
    Resize(ResizePtyRequest),
    CloseIo(CloseIoRequest),
    Update(UpdateTaskRequest),
}

/// Where the encoded reply goes; whoever asked may be gone.
pub(super) type Answer = oneshot::Sender<Result<Vec<u8>, TaskError>>;

/// A call and its answer.
pub(super) type Asked = (Call, Answer);

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) code: u32,
    pub(super) at: Timestamp,
}

/// Where init stands.
#[derive(Debug)]
pub(super) enum Process {
    Created(Arc<Init>),
    Starting(Arc<Init>),
    Running(Arc<Init>),
    /// It could not be started and was killed.
    Dying(Arc<Init>),
    /// The next life is being created; the last one's process is kept so that its id is not reused.
    Creating {
        last: Option<Arc<Init>>,
    },
    Ended {
        last: Option<Arc<Init>>,
    },
}

/// Whether it is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frozen {
    No,
    Freezing,
    Yes,
}

/// What a spawned task brings back.
#[derive(Debug)]
pub(super) enum Effect {
    Created(Arc<Init>),
    Started(RunNumber),
    NotStarted(RunNumber, StartError),
    Exited(RunNumber, Exit),
    Probed { run: RunNumber, probe: ProbeKind, attempt: u64, outcome: Outcome },
    ExecStarted { exec_id: String, started: Result<(Child, Arc<Streams>), TaskError> },
    ExecEnded { exec_id: String, finished: Finished },
    ExecDeleted { exec_id: String },
    Frozen(Result<(), TaskError>, Answer),
    Thawed(Result<(), TaskError>, Answer),
    Updated(Result<serde_json::Value, TaskError>, Answer),
    OutOfMemory,
    Deleted(Result<(), TaskError>),
}

/// The owner.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) task: Arc<Task>,
    pub(super) supervisor: Supervisor,
    pub(super) health: Option<Health>,
    alarm: Alarm,
    pub(super) process: Process,
    /// It ended before the runtime's `start` did.
    pub(super) early_exit: Option<Exit>,
    /// The present or last process id of init; never 0.
    pub(super) pid: u32,
    pub(super) last_exit: Option<(Exit, Finished)>,
    /// The one end that clients hear of.
    pub(super) finished: Option<Finished>,
    pub(super) frozen: Frozen,
    pub(super) starter: Option<Answer>,
    pub(super) waiters: Vec<Answer>,
    pub(super) deleters: Vec<Answer>,
    pub(super) deleting: bool,
    pub(super) execs: BTreeMap<String, Exec>,
    pub(super) resources: Option<serde_json::Value>,
    /// They wait for the end of a start, or of another update.
    pub(super) updates: VecDeque<(UpdateTaskRequest, Answer)>,
    pub(super) is_updating: bool,
    /// A lack of memory in the present life has been told of.
    pub(super) oom_told: bool,
    pub(super) backlog: VecDeque<Input>,
    calls: mpsc::UnboundedReceiver<Asked>,
    effects: mpsc::UnboundedReceiver<Effect>,
    pub(super) report: mpsc::UnboundedSender<Effect>,
    pub(super) memory_watch: Option<JoinHandle<()>>,
    /// Only where something is decided by it.
    agent: Option<watch::Receiver<Agent>>,
    is_over: bool,
}

impl Owner {
    /// Owns a container whose first process has been created.
    pub(super) fn new(
        task: Task,
        supervisor: Supervisor,
        health: Option<Health>,
        init: Init,
        calls: mpsc::UnboundedReceiver<Asked>,
    ) -> std::io::Result<Self> {
        let (report, effects) = mpsc::unbounded_channel();
        let init = Arc::new(init);
        let agent = supervisor.follows_agent().then(|| task.shared.agent.watch());
        let mut owner = Self {
            task: Arc::new(task),
            supervisor,
            health,
            alarm: Alarm::new()?,
            pid: init.child.pid(),
            process: Process::Created(Arc::clone(&init)),
            early_exit: None,
            last_exit: None,
            finished: None,
            frozen: Frozen::No,
            starter: None,
            waiters: Vec::new(),
            deleters: Vec::new(),
            deleting: false,
            execs: BTreeMap::new(),
            resources: None,
            updates: VecDeque::new(),
            is_updating: false,
            oom_told: false,
            backlog: VecDeque::new(),
            calls,
            effects,
            report,
            memory_watch: None,
            agent,
            is_over: false,
        };
        owner.watch(init);
        owner.watch_memory();
        Ok(owner)
    }

    /// Runs until the container is deleted.
    pub(super) async fn run(mut self) {
        self.step(Input::Tick);
        while !self.is_over {
            if let Err(error) = self.alarm.set(self.supervisor.next_deadline()) {
                log::error!("set the alarm: {error}");
            }
            tokio::select! {
                biased;
                // First: an end is answered by who is there when it is looked at.
                agent = seen(self.agent.as_mut()) => self.step(Input::AgentSeen(agent)),
                Some(effect) = self.effects.recv() => self.on_effect(effect),
                Some((call, answer)) = self.calls.recv() => self.on_call(call, answer),
                rung = self.alarm.rung() => {
                    if let Err(error) = rung { log::error!("read the alarm: {error}"); }
                    self.step(Input::Tick);
                }
            }
        }
    }

    /// Tells the supervisor what happened and does what it says.
    pub(super) fn step(&mut self, input: Input) {
        self.backlog.push_back(input);
        while let Some(input) = self.backlog.pop_front() {
            let actions = self.supervisor.step(input, clock::now());
            if let Some(health) = &mut self.health {
                health.remember(&actions, &self.supervisor);
            }
            for action in actions {
                self.perform(action);
            }
        }
        self.settle();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { run, .. } => self.order_start(run),
            Action::Probe { run, probe, attempt, timeout, .. } => {
                self.begin_probe(run, Attempt { probe, number: attempt, timeout });
            }
            Action::Terminate { signal, .. } => self.signal(signal),
            Action::Kill { .. } => self.signal(libc::SIGKILL),
            Action::Record(event) => {
                if let Some(health) = &mut self.health {
                    health.record(&self.task, event, &self.supervisor);
                }
            }
            Action::Publish(status) => {
                let pid = self.running().map(|init| init.child.pid());
                if let Some(health) = &mut self.health {
                    health.publish(status, pid);
                }
            }
            Action::Finish => {}
        }
    }

    fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Created(init) => self.on_created(init),
            Effect::Started(run) => self.on_started(run),
            Effect::NotStarted(run, error) => self.on_not_started(run, &error),
            Effect::Exited(run, exit) => self.on_exited(run, exit),
            Effect::Probed { run, probe, attempt, outcome } => {
                self.step(Input::Probed { container: ONLY, run, probe, attempt, outcome });
            }
            Effect::ExecStarted { exec_id, started } => self.on_exec_started(&exec_id, started),
            Effect::ExecEnded { exec_id, finished } => self.on_exec_ended(&exec_id, finished),
            Effect::ExecDeleted { exec_id } => self.on_exec_deleted(&exec_id),
            Effect::Frozen(result, answer) => self.on_frozen(result, answer),
            Effect::Thawed(result, answer) => self.on_thawed(result, answer),
            Effect::Updated(result, answer) => self.on_updated(result, answer),
            Effect::OutOfMemory => self.on_out_of_memory(),
            Effect::Deleted(result) => self.is_over = self.on_deleted(result),
        }
    }

    /// Once everything has ended for good, says so, once.
    pub(super) fn settle(&mut self) {
        let Process::Ended { .. } = self.process else { return };
        let is_final = self.finished.is_none() && self.supervisor.has_ended();
        if !is_final || self.execs.values().any(Exec::is_running) {
            return;
        }
        let (exit, finished) = self
            .last_exit
            .unwrap_or((Exit { code: 128, signal: None, oom_killed: false }, Finished { code: 128, at: Timestamp::now() }));
        self.finished = Some(finished);
        self.process = Process::Ended { last: None };
        self.task.streams.end();
        self.task.pod.let_go_of_stdio();
        if exit.oom_killed && self.health.is_some() {
            self.task.shared.events.publish(super::events::TaskOom { container_id: self.task.id.clone() });
        }
        self.task.shared.events.publish(TaskExit {
            container_id: self.task.id.clone(),
            id: self.task.id.clone(),
            pid: self.pid,
            exit_status: finished.code,
            exited_at: Some(WireTimestamp::of(finished.at)),
        });
        for waiter in self.waiters.drain(..) {
            answer(waiter, Ok(finished.wait_response()));
        }
        if !self.deleters.is_empty() {
            self.begin_delete();
        }
    }

    /// Init, if it lives.
    pub(super) fn init(&self) -> Option<&Arc<Init>> {
        match &self.process {
            Process::Created(init) | Process::Starting(init) | Process::Running(init) | Process::Dying(init) => Some(init),
            Process::Creating { last } | Process::Ended { last } => last.as_ref(),
        }
    }

    /// Init, if it runs the container's program.
    pub(super) fn running(&self) -> Option<&Arc<Init>> {
        match &self.process {
            Process::Running(init) => Some(init),
            Process::Created(_) | Process::Starting(_) | Process::Dying(_) | Process::Creating { .. } | Process::Ended { .. } => {
                None
            }
        }
    }

    /// No restart comes any more.
    pub(super) fn supervision_has_ended(&self) -> bool {
        self.supervisor.status().stop_requested_at.is_some() || self.supervisor.has_ended()
    }

    /// Sends a signal to init, if there is one that lives.
    pub(super) fn signal(&self, signal: i32) {
        match &self.process {
            Process::Created(init) | Process::Starting(init) | Process::Running(init) | Process::Dying(init) => {
                lives::kill(init, signal)
            }
            Process::Creating { .. } | Process::Ended { .. } => {}
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(watch) = self.memory_watch.take() {
            watch.abort();
        }
        self.task.shared.agent.note();
    }
}

/// A change of what is known of containerd; never where nobody decides by it.
async fn seen(agent: Option<&mut watch::Receiver<Agent>>) -> Agent {
    if let Some(agent) = agent
        && agent.changed().await.is_ok()
    {
        return *agent.borrow_and_update();
    }
    std::future::pending().await
}

/// Whoever asked may be gone.
pub(super) fn answer(answer: Answer, reply: Result<Vec<u8>, TaskError>) {
    drop(answer.send(reply));
}

/// The owner may be gone.
pub(super) fn tell(report: &mpsc::UnboundedSender<Effect>, effect: Effect) {
    drop(report.send(effect));
}
