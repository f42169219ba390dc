//! The world of a real pod on this machine: actions become tasks, their effects come back through one channel.
//!
//! What it keeps of a container is where its process stands:
//! ```text
//!   Absent ─▶ Creating ─▶ Created ─▶ Starting ─▶ Running ─▶ Ended ─▶ Creating (next life)
//!                            └ a bundle waits here until it is asked to start
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use hshim_health::control::Ready;
use hshim_health::input::{Exit, Input, Outcome, RunNumber};
use hshim_health::plan::{ContainerIndex, Origin, ProbeKind};
use hshim_health::{Action, Moment, Supervisor};
use tokio::sync::mpsc;

use crate::clock::{self, Alarm};
use crate::control::Questions;
use crate::init::Init;
use crate::pod::Pod;
use crate::probe::Attempt;
use crate::ready::ReadyLine;
use crate::records::Records;
use crate::start::{self, Before, StartError};
use crate::supervise::{Happening, Reach, World};

/// The real world.
#[derive(Debug)]
pub(crate) struct Node {
    pod: Arc<Pod>,
    records: Records,
    questions: Questions,
    alarm: Alarm,
    places: Vec<Place>,
    effects: mpsc::UnboundedReceiver<Effect>,
    report: mpsc::UnboundedSender<Effect>,
    backlog: VecDeque<Input>,
    /// The caller of a bundle waits for its container to be created.
    ready: Option<ReadyLine>,
}

/// Where the process of one container stands.
#[derive(Debug, Default)]
struct Place {
    process: Process,
    /// It ended before the runtime's `start` did.
    early_exit: Option<Exit>,
    /// To be sent once there is a process.
    awaited_signal: Option<i32>,
}

#[derive(Debug, Default)]
enum Process {
    #[default]
    Absent,
    Creating,
    Created(Arc<Init>),
    Starting(Arc<Init>),
    Running(Arc<Init>),
    Ended,
}

/// What a task brings back.
#[derive(Debug)]
enum Effect {
    Created(ContainerIndex, Arc<Init>),
    Started(ContainerIndex, RunNumber),
    NotStarted(ContainerIndex, RunNumber, StartError),
    Exited(ContainerIndex, RunNumber, Exit),
    Probed { container: ContainerIndex, run: RunNumber, probe: ProbeKind, attempt: u64, outcome: Outcome },
}

impl Node {
    /// A world in which nothing runs yet. A bundle's first life begins to be created at once; `ready` is told of it.
    pub(crate) fn new(pod: Arc<Pod>, records: Records, questions: Questions, ready: ReadyLine) -> std::io::Result<Self> {
        let (report, effects) = mpsc::unbounded_channel();
        let places = pod.supervision.launches.iter().map(|_| Place::default()).collect();
        let alarm = Alarm::new()?;
        let mut node =
            Self { pod, records, questions, alarm, places, effects, report, backlog: VecDeque::new(), ready: Some(ready) };
        match node.pod.supervision.plan.origin {
            Origin::Bundle => node.begin_create(ContainerIndex(0), RunNumber(0)),
            Origin::Manifest => node.tell_ready(Ready::Serving { pid: None }),
        }
        Ok(node)
    }

    fn tell_ready(&mut self, ready: Ready) {
        if let Some(line) = self.ready.take() {
            line.tell(&ready);
        }
    }

    fn on_effect(&mut self, effect: Effect) -> Option<Happening> {
        match effect {
            Effect::Created(container, init) => {
                self.on_created(container, init);
                None
            }
            Effect::Started(container, run) => self.on_started(container, run),
            Effect::NotStarted(container, run, error) => Some(self.on_not_started(container, run, &error)),
            Effect::Exited(container, run, exit) => self.on_exited(container, run, exit),
            Effect::Probed { container, run, probe, attempt, outcome } => {
                Some(Happening::Input(Input::Probed { container, run, probe, attempt, outcome }))
            }
        }
    }

    /// Which process it is is on disk before the process runs.
    fn on_created(&mut self, container: ContainerIndex, init: Arc<Init>) {
        self.watch(container, Arc::clone(&init));
        let Some(place) = self.places.get_mut(container.0) else { return };
        place.process = Process::Created(Arc::clone(&init));
        if let Some(signal) = place.awaited_signal.take() {
            send(&init, signal);
        }
        self.remember_processes();
        if self.ready.is_some() {
            self.tell_ready(Ready::Serving { pid: Some(init.child.pid()) });
        } else {
            self.begin_start(container, init);
        }
    }

    fn on_started(&mut self, container: ContainerIndex, run: RunNumber) -> Option<Happening> {
        let place = self.places.get_mut(container.0)?;
        let Process::Starting(init) = &place.process else { return None };
        let pid = init.child.pid();
        place.process = Process::Running(Arc::clone(init));
        if let Some(exit) = place.early_exit.take() {
            place.process = Process::Ended;
            self.backlog.push_back(Input::Exited { container, run, exit });
        }
        Some(Happening::Input(Input::Started { container, run, pid }))
    }

    fn on_not_started(&mut self, container: ContainerIndex, run: RunNumber, error: &StartError) -> Happening {
        if let Some(place) = self.places.get_mut(container.0) {
            *place = Place { process: Process::Ended, ..Place::default() };
        }
        if self.ready.is_some() {
            self.tell_ready(Ready::Failed { message: error.to_string() });
            return Happening::Doomed;
        }
        Happening::Input(Input::StartFailed { container, run, stage: error.stage(), message: error.to_string() })
    }

    fn on_exited(&mut self, container: ContainerIndex, run: RunNumber, exit: Exit) -> Option<Happening> {
        let place = self.places.get_mut(container.0)?;
        match &place.process {
            Process::Running(init) if init.run == run => {
                place.process = Process::Ended;
                Some(Happening::Input(Input::Exited { container, run, exit }))
            }
            Process::Starting(init) if init.run == run => {
                place.early_exit = Some(exit);
                None
            }
            Process::Created(init) if init.run == run => {
                place.process = Process::Ended;
                Some(Happening::UnstartedEnded)
            }
            // Of a start that failed.
            Process::Running(_)
            | Process::Starting(_)
            | Process::Created(_)
            | Process::Absent
            | Process::Creating
            | Process::Ended => None,
        }
    }

    fn order_start(&mut self, container: ContainerIndex, run: RunNumber) {
        match self.places.get(container.0).map(|place| &place.process) {
            Some(Process::Created(init)) if init.run == run => self.begin_start(container, Arc::clone(init)),
            Some(_) => self.begin_create(container, run),
            None => log::error!("the plan has no container {}", container.0),
        }
    }

    fn begin_create(&mut self, container: ContainerIndex, run: RunNumber) {
        let Some(place) = self.places.get_mut(container.0) else { return };
        let before = match place.process {
            Process::Absent => Before::Nothing,
            Process::Creating | Process::Created(_) | Process::Starting(_) | Process::Running(_) | Process::Ended => {
                Before::EndedLife
            }
        };
        *place = Place { process: Process::Creating, ..Place::default() };
        let (pod, report) = (Arc::clone(&self.pod), self.report.clone());
        tokio::spawn(async move {
            tell(
                &report,
                match start::create(&pod, container, run, before).await {
                    Ok(init) => Effect::Created(container, Arc::new(init)),
                    Err(error) => Effect::NotStarted(container, run, error),
                },
            );
        });
    }

    fn begin_start(&mut self, container: ContainerIndex, init: Arc<Init>) {
        if let Some(place) = self.places.get_mut(container.0) {
            place.process = Process::Starting(Arc::clone(&init));
        }
        let (pod, report) = (Arc::clone(&self.pod), self.report.clone());
        tokio::spawn(async move {
            tell(
                &report,
                match start::start(&pod, container, &init).await {
                    Ok(()) => Effect::Started(container, init.run),
                    Err(error) => Effect::NotStarted(container, init.run, error),
                },
            );
        });
    }

    /// Waits for the end of a life, and lets nothing of it survive.
    fn watch(&self, container: ContainerIndex, init: Arc<Init>) {
        let (pod, report) = (Arc::clone(&self.pod), self.report.clone());
        tokio::spawn(async move {
            let exit = init.ended().await;
            if !init.owns_pid_namespace {
                kill_all(&pod, container, libc::SIGKILL).await;
            }
            init.probes_ended().await;
            if let Some(output) = pod.output(container) {
                output.finish_run();
            }
            tell(&report, Effect::Exited(container, init.run, exit));
        });
    }

    fn begin_probe(&self, container: ContainerIndex, run: RunNumber, probe: ProbeKind, attempt: Attempt) {
        let Some(Process::Running(init)) = self.places.get(container.0).map(|place| &place.process) else { return };
        let (init, pod, report) = (Arc::clone(init), Arc::clone(&self.pod), self.report.clone());
        tokio::spawn(async move {
            let number = attempt.number;
            let outcome = pod.prober.attempt(&pod, container, &init, attempt).await;
            tell(&report, Effect::Probed { container, run, probe, attempt: number, outcome });
        });
    }

    fn remember_processes(&mut self) {
        let processes = self.processes();
        self.records.remember_processes(processes);
    }

    fn processes(&self) -> Vec<Option<hshim_health::record::ProcessIdentity>> {
        self.places.iter().map(|place| place.init().map(|init| init.identity.clone())).collect()
    }
}

impl Place {
    fn init(&self) -> Option<&Arc<Init>> {
        match &self.process {
            Process::Created(init) | Process::Starting(init) | Process::Running(init) => Some(init),
            Process::Absent | Process::Creating | Process::Ended => None,
        }
    }
}

impl World for Node {
    fn now(&self) -> Moment {
        clock::now()
    }

    async fn next(&mut self, deadline: Option<Moment>) -> Happening {
        if let Err(error) = self.alarm.set(deadline) {
            log::error!("set the alarm: {error}");
        }
        loop {
            if let Some(input) = self.backlog.pop_front() {
                return Happening::Input(input);
            }
            tokio::select! {
                biased;
                Some(effect) = self.effects.recv() => if let Some(happening) = self.on_effect(effect) { return happening },
                Some(question) = self.questions.recv() => return Happening::Asked(question),
                rung = self.alarm.rung() => {
                    if let Err(error) = rung { log::error!("read the alarm: {error}"); }
                    return Happening::Deadline;
                }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { container, run } => self.order_start(container, run),
            Action::Probe { container, run, probe, attempt, timeout } => {
                self.begin_probe(container, run, probe, Attempt { probe, number: attempt, timeout });
            }
            Action::Terminate { container, signal, .. } => drop(self.signal(container, signal, Reach::Init)),
            Action::Kill { container, .. } => drop(self.signal(container, libc::SIGKILL, Reach::Init)),
            Action::Record(event) => self.records.record(event),
            Action::Publish(status) => self.records.publish(status),
            Action::Finish => {}
        }
    }

    fn remember(&mut self, supervisor: &Supervisor) {
        match supervisor.to_json() {
            Ok(memory) => self.records.remember(memory, self.processes()),
            Err(error) => log::error!("write the supervisor's memory: {error}"),
        }
    }

    fn let_go(&mut self) {
        self.pod.let_go_of_stdio();
    }

    fn signal(&mut self, container: ContainerIndex, signal: i32, reach: Reach) -> bool {
        let Some(place) = self.places.get_mut(container.0) else { return false };
        if let Some(init) = place.init() {
            send(init, signal);
            if reach == Reach::All {
                let pod = Arc::clone(&self.pod);
                tokio::spawn(async move { kill_all(&pod, container, signal).await });
            }
            return true;
        }
        let creating = matches!(place.process, Process::Creating);
        if creating {
            place.awaited_signal = Some(signal);
        }
        creating
    }
}

async fn kill_all(pod: &Pod, container: ContainerIndex, signal: i32) {
    let Some((plan, launch)) = pod.container(container) else { return };
    if let Err(error) = pod.runtime.kill_all(&launch.id, signal, &pod.files(plan)).await {
        log::warn!("signal all processes of container {}: {error}", launch.id);
    }
}

fn send(init: &Init, signal: i32) {
    if let Err(error) = init.child.signal(signal) {
        log::error!("send signal {signal} to the process {}: {error}", init.child.pid());
    }
}

/// The loop may have ended.
fn tell(report: &mpsc::UnboundedSender<Effect>, effect: Effect) {
    drop(report.send(effect));
}
