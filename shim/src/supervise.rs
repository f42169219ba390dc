//! The owner loop: the one place that calls the calculator.
//!
//! ```text
//!   deadline ─┐                            ┌─▶ perform(action) ── a task ──▶ effect ─┐
//!   effect ───┼─▶ input ─▶ Supervisor::step┤                                         │
//!   question ─┘                            └─▶ remember, answer questions            │
//!      ▲                                                                             │
//!      └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Nothing here waits for an effect: a hung probe or runtime never stops the clock of health.

use std::time::Duration;

use hshim_health::control::{Reply, Request};
use hshim_health::input::Input;
use hshim_health::plan::{ContainerIndex, Origin};
use hshim_health::status::{ContainerState, WaitingReason};
use hshim_health::{Action, Moment, Supervisor};
use tokio::sync::oneshot;

use crate::arguments::Stay;
use crate::control::Question;

/// The world as the loop sees it; tests have another one.
pub(crate) trait World {
    /// The time.
    fn now(&self) -> Moment;
    /// Waits for what happens next: at the latest the deadline.
    async fn next(&mut self, deadline: Option<Moment>) -> Happening;
    /// Begins an action, without waiting for its effect.
    fn perform(&mut self, action: Action);
    /// Keeps the supervisor's memory where a new shim would look for it.
    fn remember(&mut self, supervisor: &Supervisor);
    /// Every container has ended for good: nothing is kept for a further life.
    fn let_go(&mut self);
    /// Sends a signal to a container's process, or remembers it for the one that is being created. False if there is none.
    fn signal(&mut self, container: ContainerIndex, signal: i32, reach: Reach) -> bool;
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The init process.
    Init,
    /// Every process of the container.
    All,
}

/// Something happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The deadline has come.
    Deadline,
    /// An effect of an action, or what amounts to one.
    Input(Input),
    /// The created process of a bundle ended before its start was asked for.
    UnstartedEnded,
    /// Somebody asks.
    Asked(Question),
    /// The first life of a bundle could not be created: there is nothing to look after.
    Doomed,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The pod was deleted.
    Deleted,
    /// It never came to be.
    Doomed,
    /// Its container has ended with this code, and whoever started the shim takes it from here.
    Handed(i32),
}

/// The loop's memory beside the calculator: who still waits for an answer.
#[derive(Debug)]
pub(crate) struct Loop<W> {
    supervisor: Supervisor,
    world: W,
    starters: Vec<oneshot::Sender<Reply>>,
    waiters: Vec<oneshot::Sender<Reply>>,
    delete_asked: bool,
    stay: Stay,
}

const FIRST: ContainerIndex = ContainerIndex(0);

impl<W: World> Loop<W> {
    /// A loop that has not begun.
    pub(crate) fn new(supervisor: Supervisor, world: W, stay: Stay) -> Self {
        Self { supervisor, world, starters: Vec::new(), waiters: Vec::new(), delete_asked: false, stay }
    }

    /// Runs until the pod is deleted.
    pub(crate) async fn run(&mut self) -> Ending {
        self.step(Input::Tick);
        while !self.is_over() {
            if self.stay == Stay::UntilContainerEnds && self.supervisor.has_ended() && !self.delete_asked {
                return Ending::Handed(self.exit_code());
            }
            let deadline = self.supervisor.next_deadline();
            match self.world.next(deadline).await {
                Happening::Deadline => self.step(Input::Tick),
                Happening::Input(input) => self.take(input),
                Happening::UnstartedEnded => self.on_unstarted_ended(),
                Happening::Asked(question) => self.answer(question),
                Happening::Doomed => return Ending::Doomed,
            }
        }
        Ending::Deleted
    }

    /// The pod of a bundle stays until it is deleted, so that its end can be asked for.
    fn is_over(&self) -> bool {
        self.supervisor.is_finished() && (self.delete_asked || !self.is_bundle())
    }

    fn is_bundle(&self) -> bool {
        self.supervisor.plan().origin == Origin::Bundle
    }

    fn step(&mut self, input: Input) {
        let now = self.world.now();
        let actions = self.supervisor.step(input, now);
        // On disk before it is needed: before the first action has an effect.
        if actions.iter().any(|action| matches!(action, Action::Publish(_))) {
            self.world.remember(&self.supervisor);
        }
        for action in actions {
            self.world.perform(action);
        }
        if self.supervisor.has_ended() {
            self.world.let_go();
            let reply = Reply::Exited { code: self.exit_code() };
            tell(&mut self.waiters, &reply);
        }
    }

    fn take(&mut self, input: Input) {
        let reply = if let Input::Started { container: FIRST, .. } = input {
            Some(Reply::Done)
        } else if let Input::StartFailed { container: FIRST, message, .. } = &input {
            Some(Reply::Refused { message: message.clone() })
        } else {
            None
        };
        self.step(input);
        if let Some(reply) = reply {
            tell(&mut self.starters, &reply);
        }
    }

    /// A created container that was killed before its start has ended for good; one that nobody killed may still be started.
    fn on_unstarted_ended(&mut self) {
        if self.supervisor.status().stop_requested_at.is_some() {
            self.step(Input::StopRequested { grace: Some(Duration::ZERO) });
        }
    }

    fn answer(&mut self, Question { request, answer }: Question) {
        let reply = match request {
            Request::Start => return self.start(answer),
            Request::Wait => return self.wait(answer),
            Request::Delete { grace } => self.delete(grace),
            Request::Kill { signal, all } => self.kill(signal, if all { Reach::All } else { Reach::Init }),
            Request::Restart { container } => self.restart(&container),
        };
        send(answer, reply);
    }

    fn start(&mut self, answer: oneshot::Sender<Reply>) {
        if !self.is_bundle() {
            return send(answer, refused("a pod made by apply starts by itself"));
        }
        match self.state() {
            State::Created if self.supervisor.status().stop_requested_at.is_none() => {
                self.starters.push(answer);
                self.step(Input::StartRequested);
            }
            State::Running | State::Starting => send(answer, refused("cannot start an already running container")),
            State::Created | State::Waiting | State::Ended => {
                send(answer, refused("cannot start a container that has stopped"));
            }
        }
    }

    fn wait(&mut self, answer: oneshot::Sender<Reply>) {
        if self.supervisor.has_ended() {
            send(answer, Reply::Exited { code: self.exit_code() });
        } else {
            self.waiters.push(answer);
        }
    }

    fn delete(&mut self, grace: Option<Duration>) -> Reply {
        if self.is_bundle() {
            let name = &self.supervisor.plan().name;
            match self.state() {
                State::Created | State::Ended => {}
                State::Running => return refused(&format!("cannot delete container {name} that is not stopped: running")),
                State::Starting | State::Waiting => {
                    return refused(&format!(
                        "cannot delete container {name} that is not stopped: it will be restarted; kill it with a terminating signal first"
                    ));
                }
            }
        }
        self.delete_asked = true;
        self.step(Input::StopRequested { grace });
        Reply::Done
    }

    fn kill(&mut self, signal: i32, reach: Reach) -> Reply {
        if !self.is_bundle() {
            return refused("the containers of a pod are ended by deleting the pod");
        }
        let state = self.state();
        if state == State::Ended {
            return refused("container not running");
        }
        let terminating = matches!(signal, libc::SIGTERM | libc::SIGKILL | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP);
        if terminating {
            self.step(Input::SupervisionEnded);
        }
        let reached = self.world.signal(FIRST, signal, reach);
        // In back-off there is no process, but a restart that will now not come.
        if reached || (terminating && state == State::Waiting) { Reply::Done } else { refused("container not running") }
    }

    fn restart(&mut self, name: &str) -> Reply {
        if self.is_bundle() && self.supervisor.has_ended() {
            return refused("the container has ended for good; delete it and create it again");
        }
        let plan = self.supervisor.plan();
        match plan.containers.iter().position(|container| container.name == name) {
            Some(position) => {
                self.step(Input::RestartRequested { container: ContainerIndex(position) });
                Reply::Done
            }
            None => refused(&format!("pod {} has no container named {name}", plan.name)),
        }
    }

    /// Of the container of a bundle.
    fn state(&self) -> State {
        if self.supervisor.has_ended() {
            return State::Ended;
        }
        match self.supervisor.status().containers.into_iter().next().map(|container| container.state) {
            Some(ContainerState::Running { .. }) => State::Running,
            Some(ContainerState::Waiting { reason: WaitingReason::Created, .. }) => State::Created,
            Some(ContainerState::Waiting { reason: WaitingReason::ContainerCreating, .. }) => State::Starting,
            Some(ContainerState::Waiting { .. } | ContainerState::Terminated(_)) => State::Waiting,
            None => State::Ended,
        }
    }

    /// Of the first container's last life; as after SIGKILL when it never had one.
    pub(crate) fn exit_code(&self) -> i32 {
        let first = self.supervisor.status().containers.into_iter().next();
        let last = first.and_then(|container| match container.state {
            ContainerState::Terminated(termination) => Some(termination),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => container.last_termination,
        });
        last.map_or(128 + libc::SIGKILL, |termination| termination.exit.code)
    }
}

/// Where the container of a bundle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Starting,
    Running,
    Waiting,
    Ended,
}

fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.to_owned() }
}

/// Whoever asked may be gone.
fn send(answer: oneshot::Sender<Reply>, reply: Reply) {
    drop(answer.send(reply));
}

fn tell(askers: &mut Vec<oneshot::Sender<Reply>>, reply: &Reply) {
    for answer in askers.drain(..) {
        send(answer, reply.clone());
    }
}

#[cfg(test)]
mod tests;
