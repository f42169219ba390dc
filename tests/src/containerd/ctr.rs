//! `ctr`: what a user of containerd types, and the state of a task as containerd tells it.

use std::process::Command;

use nix::unistd::Pid;

use super::command::{Finished, Running};
use super::daemon::{Daemon, IMAGE, snapshotter};
use super::protobuf::Message;
use crate::wait::until;

/// A task as containerd shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id of init.
    pub pid: i32,
    /// `CREATED`, `RUNNING`, `STOPPED`, `PAUSED`, `PAUSING` or `UNKNOWN`.
    pub status: &'static str,
    /// How it ended, if it did.
    pub exit_status: i64,
}

impl Task {
    /// Whether it is `RUNNING`.
    #[must_use]
    pub fn runs(self) -> bool {
        self.status == "RUNNING"
    }

    /// Its init.
    #[must_use]
    pub fn init(self) -> Pid {
        Pid::from_raw(self.pid)
    }
}

impl Daemon {
    /// Run `ctr` with `arguments` to its end.
    pub fn ctr(&self, arguments: &[&str]) -> Finished {
        self.start_ctr(arguments).finish()
    }

    /// Start `ctr` with `arguments`.
    pub fn start_ctr(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", self.namespace()]).args(arguments);
        self.start_program(command)
    }

    /// `ctr run OPTIONS IMAGE ID COMMAND` to its end; the container is removed.
    pub fn run(&self, id: &str, options: &[&str], command: &[&str]) -> Finished {
        let mut finished = self.start_run(id, options, command);
        finished.close_stdin();
        let finished = finished.finish();
        self.ctr(&["container", "rm", id]);
        finished
    }

    /// `ctr run`, which is still running.
    pub fn start_run(&self, id: &str, options: &[&str], command: &[&str]) -> Running {
        self.remember(id);
        let fifos = self.home().join("fifo");
        let fixed = ["run", "--runtime", self.runtime(), "--snapshotter", snapshotter(), "--fifo-dir", fifos.to_str().unwrap()];
        self.start_ctr(&[fixed.as_slice(), options, &[IMAGE, id], command].concat())
    }

    /// `ctr run -d` with its output in a file, and its task.
    pub fn detach(&self, id: &str, options: &[&str], command: &[&str]) -> Task {
        self.try_detach(id, options, command).ok();
        self.task(id).expect("the task that was just started")
    }

    /// `ctr run -d` with its output in a file.
    pub fn try_detach(&self, id: &str, options: &[&str], command: &[&str]) -> Finished {
        let log = format!("file://{}", self.output_path(id));
        self.start_run(id, &[&["--detach", "--log-uri", &log], options].concat(), command).finish()
    }

    fn output_path(&self, id: &str) -> String {
        self.home().join(format!("{id}.log")).to_str().unwrap().to_owned()
    }

    /// What a detached container has written.
    #[must_use]
    pub fn output(&self, id: &str) -> String {
        std::fs::read_to_string(self.output_path(id)).unwrap_or_default()
    }

    /// `ctr task exec` to its end.
    pub fn exec(&self, id: &str, command: &[&str]) -> Finished {
        let mut exec = self.start_exec(id, &[], command);
        exec.close_stdin();
        exec.finish()
    }

    /// `ctr task exec`, still running, under a name of its own.
    pub fn start_exec(&self, id: &str, options: &[&str], command: &[&str]) -> Running {
        let name = self.command_base();
        let name = format!("e{}", name.rsplit('/').next().unwrap_or_default());
        let fifos = self.home().join("fifo");
        let fixed = ["task", "exec", "--exec-id", &name, "--fifo-dir", fifos.to_str().unwrap()];
        self.start_ctr(&[fixed.as_slice(), options, &[id], command].concat())
    }

    /// The task as containerd's API shows it; none if it has none.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<Task> {
        let answer = self.grpc().call("/containerd.services.tasks.v1.Tasks/Get", &Message::new().text(1, id)).ok()?;
        let process = answer.message(1);
        let words = ["UNKNOWN", "CREATED", "RUNNING", "STOPPED", "PAUSED", "PAUSING"];
        let status = usize::try_from(process.number(4)).ok().and_then(|number| words.get(number).copied()).unwrap_or("UNKNOWN");
        Some(Task { pid: i32::try_from(process.number(3)).unwrap(), status, exit_status: process.number(9) })
    }

    /// Wait until the task has stopped, and how.
    pub fn wait_stopped(&self, id: &str) -> i64 {
        until(&format!("{id} stops"), || self.task(id).is_some_and(|task| task.status == "STOPPED"));
        self.task(id).unwrap().exit_status
    }

    /// Kill the task if it runs, delete it and its container.
    pub fn remove(&self, id: &str) {
        if self.task(id).is_some_and(|task| task.status != "STOPPED") {
            self.ctr(&["task", "kill", "--signal", "SIGKILL", id]);
            self.wait_stopped(id);
        }
        if self.task(id).is_some() {
            self.ctr(&["task", "rm", id]);
        }
        self.ctr(&["container", "rm", id]).ok();
    }
}
