//! The lives of a container: created, started, watched, ended, and made again.

use std::sync::Arc;
use std::time::Duration;

use hshim_health::input::{Exit, Input, RunNumber, StartStage};
use jiff::Timestamp;

use super::error::TaskError;
use super::owner::{Effect, Finished, Frozen, ONLY, Owner, Process, Task, answer, tell};
use super::updates;
use crate::init::Init;
use crate::probe::Attempt;
use crate::start::{self, Before, StartError};

impl Owner {
    pub(super) fn order_start(&mut self, run: RunNumber) {
        match &self.process {
            Process::Created(init) if init.run == run => self.begin_start(Arc::clone(init)),
            Process::Created(_)
            | Process::Starting(_)
            | Process::Running(_)
            | Process::Dying(_)
            | Process::Creating { .. }
            | Process::Ended { .. } => self.begin_create(run),
        }
    }

    fn begin_create(&mut self, run: RunNumber) {
        if let Some(gone) = self.task.joined.changed() {
            log::warn!("container {}: {gone} is not what it was; it is not restarted", self.task.id);
            self.backlog.push_back(Input::SupervisionEnded);
            self.backlog.push_back(Input::StartFailed {
                container: ONLY,
                run,
                stage: StartStage::Config,
                message: format!("{gone} is not what it was when the container was created"),
            });
            return;
        }
        if let Some(health) = &mut self.health {
            health.announce_restart(&self.task, &self.supervisor);
        }
        let last = self.init().cloned();
        self.process = Process::Creating { last };
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let created = start::create(&task.pod, ONLY, run, Before::EndedLife).await;
            tell(&report, created.map_or_else(|error| Effect::NotStarted(run, error), |init| Effect::Created(Arc::new(init))));
        });
    }

    pub(super) fn on_created(&mut self, init: Arc<Init>) {
        self.watch(Arc::clone(&init));
        self.watch_memory();
        self.oom_told = false;
        self.pid = init.child.pid();
        let is_wanted = !self.supervision_has_ended();
        self.process = Process::Created(Arc::clone(&init));
        if let Some(health) = &mut self.health {
            health.remember_process(Some(init.identity.clone()));
        }
        if is_wanted {
            self.begin_start(init);
        } else {
            kill(&init, libc::SIGKILL);
        }
    }

    fn begin_start(&mut self, init: Arc<Init>) {
        self.process = Process::Starting(Arc::clone(&init));
        let (task, report, resources) = (Arc::clone(&self.task), self.report.clone(), self.resources.clone());
        tokio::spawn(async move {
            if let Some(resources) = resources.filter(|_| init.run != RunNumber(0))
                && let Err(error) = updates::apply(&task, &resources).await
            {
                log::error!("container {}: apply its last resources again: {error}", task.id);
            }
            let started = start::start(&task.pod, ONLY, &init).await;
            tell(&report, started.map_or_else(|error| Effect::NotStarted(init.run, error), |()| Effect::Started(init.run)));
        });
    }

    pub(super) fn on_started(&mut self, run: RunNumber) {
        let Process::Starting(init) = &self.process else { return };
        let init = Arc::clone(init);
        self.process = Process::Running(Arc::clone(&init));
        self.on_first_start(run);
        self.step(Input::Started { container: ONLY, run, pid: init.child.pid() });
        self.update_at_last();
        if let Some(exit) = self.early_exit.take() {
            self.on_exited(run, exit);
        }
    }

    pub(super) fn on_not_started(&mut self, run: RunNumber, error: &StartError) {
        self.process = match std::mem::replace(&mut self.process, Process::Ended { last: None }) {
            Process::Starting(init) if self.early_exit.take().is_none() => Process::Dying(init),
            Process::Starting(init) => Process::Ended { last: Some(init) },
            Process::Creating { last } | Process::Ended { last } => Process::Ended { last },
            other @ (Process::Created(_) | Process::Running(_) | Process::Dying(_)) => other,
        };
        if let Some(starter) = self.starter.take() {
            // The first start failed: its caller is told, and nothing is tried again.
            self.backlog.push_back(Input::SupervisionEnded);
            answer(starter, Err(TaskError::Failed(error.to_string())));
        }
        self.step(Input::StartFailed { container: ONLY, run, stage: error.stage(), message: error.to_string() });
        self.update_at_last();
    }

    pub(super) fn on_exited(&mut self, run: RunNumber, exit: Exit) {
        let code = u32::try_from(exit.code).unwrap_or(255);
        let finished = Finished { code, at: Timestamp::now() };
        match std::mem::replace(&mut self.process, Process::Ended { last: None }) {
            Process::Running(init) if init.run == run => {
                self.process = Process::Ended { last: Some(init) };
                self.last_exit = Some((exit, finished));
                self.frozen = Frozen::No;
                // cgroup v2 tells of it some time later.
                if exit.oom_killed && !self.oom_told {
                    self.tell_out_of_memory();
                }
                self.step(Input::Exited { container: ONLY, run, exit });
            }
            Process::Starting(init) if init.run == run => {
                self.early_exit = Some(exit);
                self.process = Process::Starting(init);
            }
            Process::Created(init) if init.run == run => {
                // Of a later life: it was killed because nobody wants it any more, and the end before it is the true one.
                self.last_exit.get_or_insert((exit, finished));
                self.process = Process::Ended { last: Some(init) };
                self.backlog.push_back(Input::StopRequested { grace: Some(Duration::ZERO) });
                self.step(Input::StartFailed { container: ONLY, run, stage: StartStage::Config, message: String::new() });
            }
            Process::Dying(init) if init.run == run => {
                self.last_exit.get_or_insert((exit, Finished { code: 128, ..finished }));
                self.process = Process::Ended { last: Some(init) };
                self.settle();
            }
            // The end of a life that a later one has replaced.
            other @ (Process::Created(_)
            | Process::Starting(_)
            | Process::Running(_)
            | Process::Dying(_)
            | Process::Creating { .. }
            | Process::Ended { .. }) => self.process = other,
        }
    }

    /// Waits for the end of a life, and lets nothing of it survive.
    pub(super) fn watch(&self, init: Arc<Init>) {
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let exit = init.ended_and_pinned().await;
            if !init.owns_pid_namespace {
                kill_all(&task, libc::SIGKILL).await;
            }
            init.probes_ended().await;
            tell(&report, Effect::Exited(init.run, exit));
        });
    }

    pub(super) fn begin_probe(&self, run: RunNumber, attempt: Attempt) {
        let Some(init) = self.running().cloned() else { return };
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let (probe, number) = (attempt.probe, attempt.number);
            let outcome = task.pod.prober.attempt(&task.pod, ONLY, &init, attempt).await;
            tell(&report, Effect::Probed { run, probe, attempt: number, outcome });
        });
    }
}

pub(super) async fn kill_all(task: &Task, signal: i32) {
    let Some((plan, launch)) = task.pod.container(ONLY) else { return };
    if let Err(error) = task.pod.runtime.kill_all(&launch.id, signal, &task.pod.files(plan)).await {
        log::warn!("signal all processes of container {}: {error}", launch.id);
    }
}

pub(super) fn kill(init: &Init, signal: i32) {
    if let Err(error) = init.child.signal(signal) {
        log::error!("send signal {signal} to the process {}: {error}", init.child.pid());
    }
}
