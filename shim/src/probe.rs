//! One attempt of a probe.
//!
//! ```text
//! frozen? ─▶ leaf cgroup, pipes ─▶ hshim-enter ─▶ its end awaited, output drained ─▶ leaf removed ─▶ outcome
//!                                        └ no end by timeout + slack: leaf and hshim-enter are killed
//! ```
//! hshim-enter is timer, killer and reporter; the shim keeps a later deadline of its own. An attempt that was cut off by the end
//! of the container says nothing about its health.

mod capture;
mod entrance;

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hshim_enter::{CgroupEntry, EnterProgram, Entered, Entry, Leaf, Report, Shape};
use hshim_health::columns::go_duration;
use hshim_health::input::Outcome;
use hshim_health::plan::{ContainerIndex, ProbeHandler, ProbeKind};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::children::{Child, Children};
use crate::init::Init;
use crate::pod::Pod;
use crate::spawn;
use capture::Capture;
pub(crate) use entrance::{Entrance, EntranceError};

/// How much later than hshim-enter's the shim's own deadline is.
const SLACK: Duration = Duration::from_secs(5);
/// How long the end of a container may take to be seen after it killed what ran in it.
const CONTAINER_END: Duration = Duration::from_millis(500);

/// What an attempt is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Which probe.
    pub(crate) probe: ProbeKind,
    /// Its number.
    pub(crate) number: u64,
    /// After which it is a failure.
    pub(crate) timeout: Duration,
}

/// Why an attempt could not be made.
#[derive(Debug, Error)]
enum ProbeError {
    #[error("the plan has no such probe")]
    NoSuchProbe,
    #[error(transparent)]
    Program(#[from] hshim_enter::LoadError),
    #[error(transparent)]
    Entrance(#[from] EntranceError),
    #[error("{doing}: {source}")]
    Prepare { doing: &'static str, source: io::Error },
    #[error("enter the container: {0}")]
    Spawn(#[from] hshim_enter::SpawnError),
}

/// Makes attempts.
#[derive(Debug)]
pub(crate) struct Prober {
    children: Arc<Children>,
    program: OnceCell<EnterProgram>,
    leaves: AtomicU64,
}

impl Prober {
    /// Whose helpers are known to `children`.
    pub(crate) fn new(children: Arc<Children>) -> Self {
        Self { children, program: OnceCell::new(), leaves: AtomicU64::new(0) }
    }

    /// Makes one attempt.
    pub(crate) async fn attempt(&self, pod: &Pod, container: ContainerIndex, init: &Init, attempt: Attempt) -> Outcome {
        // The end of the life waits for this, so that no leaf is left in its cgroup.
        let _probing = init.probing.read().await;
        match self.try_attempt(pod, container, init, attempt).await {
            Ok(outcome) => outcome,
            Err(_) if init.child.ends_within(CONTAINER_END).await => Outcome::Skipped,
            Err(error) => Outcome::Error(error.to_string()),
        }
    }

    async fn try_attempt(
        &self,
        pod: &Pod,
        container: ContainerIndex,
        init: &Init,
        attempt: Attempt,
    ) -> Result<Outcome, ProbeError> {
        let (plan, launch) = pod.container(container).ok_or(ProbeError::NoSuchProbe)?;
        let ProbeHandler::Exec { command } = &plan.probe(attempt.probe).ok_or(ProbeError::NoSuchProbe)?.handler;
        let program = self.program.get_or_try_init(|| async { EnterProgram::load() }).await?;
        let files = pod.files(plan);
        let entrance = init.entrance.get_or_try_init(|| Entrance::open(pod, launch, &files, init)).await?;
        if entrance.is_frozen()? {
            return Ok(Outcome::Skipped);
        }
        let (report, output) = self.run(program, entrance, command, attempt.timeout).await?;
        let cut_off = matches!(
            report,
            Report::ReaperKilled
                | Report::Nothing
                | Report::CouldNotEnter { .. }
                | Report::Signaled { signal: libc::SIGKILL, .. }
        );
        if cut_off && init.child.ends_within(CONTAINER_END).await {
            return Ok(Outcome::Skipped);
        }
        Ok(judge(report, output, command, attempt.timeout))
    }

    async fn run(
        &self,
        program: &EnterProgram,
        entrance: &Entrance,
        command: &[String],
        timeout: Duration,
    ) -> Result<(Report, String), ProbeError> {
        let prepare = |doing| move |source| ProbeError::Prepare { doing, source };
        let argv: Result<Vec<CString>, io::Error> = command.iter().map(|word| spawn::c_string(OsStr::new(word))).collect();
        let argv = argv.map_err(prepare("read the command"))?;
        let null = spawn::null().map_err(prepare("open /dev/null"))?;
        let (stdout, stdout_end) = Capture::new().map_err(prepare("make a pipe"))?;
        let (stderr, stderr_end) = Capture::new().map_err(prepare("make a pipe"))?;
        let number = self.leaves.fetch_add(1, Ordering::Relaxed);
        let leaf = entrance.make_leaf(number).map_err(prepare("make a cgroup for the probe"))?;
        let entry = Entry {
            shape: Shape::Probe,
            identity: &entrance.identity,
            argv: &argv,
            target: &entrance.target,
            cgroup: CgroupEntry { leaf: Some(leaf.directory()), kill: leaf.kill_file(), v1_tasks: &entrance.v1_tasks() },
            stdin: null.as_fd(),
            stdout: stdout_end.as_fd(),
            stderr: stderr_end.as_fd(),
            timeout: Some(timeout),
            terminal: false,
            preserve_fds: 0,
        };
        let spawned = program.spawn(&entry);
        drop((stdout_end, stderr_end));
        let report = match spawned {
            Ok(entered) => self.finish(entered, [&stdout, &stderr], &leaf, timeout).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = leaf.remove() {
            log::warn!("remove the cgroup of a probe: {error}");
        }
        Ok((report?, capture::text(stdout, stderr)))
    }

    /// Waits for the end of hshim-enter while the output is drained; a background child that holds the pipes is not waited for.
    async fn finish(
        &self,
        entered: Entered,
        output: [&Capture; 2],
        leaf: &Leaf,
        timeout: Duration,
    ) -> Result<Report, ProbeError> {
        let failed = |source| ProbeError::Prepare { doing: "watch hshim-enter", source };
        let Entered { pid, pidfd, report } = entered;
        capture::make_nonblocking(&report).map_err(failed)?;
        let child = self.children.watch_pidfd(pid, pidfd).map_err(failed)?;
        let [stdout, stderr] = output;
        let ended = tokio::select! {
            biased;
            ended = child.ended() => Some(ended),
            () = async { tokio::join!(stdout.drain(), stderr.drain()); std::future::pending().await } => None,
            () = tokio::time::sleep(timeout + SLACK) => None,
        };
        match ended {
            Some(ended) => drop(ended.map_err(failed)?),
            None => {
                kill(&child, leaf).await;
                return Ok(Report::TimedOut);
            }
        }
        stdout.take_rest();
        stderr.take_rest();
        read_report(&report).map_err(failed)
    }
}

/// The shim's own deadline is over: hshim-enter itself hangs or is held up.
async fn kill(child: &Child, leaf: &Leaf) {
    log::warn!("hshim-enter {} overran its deadline: kill it and its leaf", child.pid());
    for killed in [leaf.kill(), child.signal(libc::SIGKILL)] {
        if let Err(error) = killed {
            log::error!("kill an overdue probe: {error}");
        }
    }
    // A process that hangs in the kernel is not waited for; its end is seen by the reaper of strangers.
    drop(tokio::time::timeout(SLACK, child.ended()).await);
}

/// It has ended, so it has said all it will; what holds the other end of the pipe now is not trusted to be quick.
fn read_report(report: &OwnedFd) -> io::Result<Report> {
    match Report::read(report) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Report::Nothing),
        other => other,
    }
}

/// As the kubelet's exec handler (pkg/probe/exec) over a container runtime.
fn judge(report: Report, output: String, command: &[String], timeout: Duration) -> Outcome {
    match report {
        Report::Exited { code: 0, .. } => Outcome::Success,
        Report::Exited { .. } | Report::Signaled { .. } => Outcome::Failure(output),
        Report::TimedOut => {
            Outcome::Failure(format!("command timed out: \"{}\" timed out after {}", command.join(" "), go_duration(timeout)))
        }
        Report::ReaperKilled => {
            Outcome::Failure("the process that watches over the probe was killed from inside the container".to_owned())
        }
        Report::CouldNotExec { errno, .. } => Outcome::Error(could_not_exec(command, errno)),
        Report::CouldNotEnter { step, errno, .. } => {
            let error = io::Error::from_raw_os_error(errno);
            Outcome::Error(format!("enter the container: {}: {error}", Report::step_name(step)))
        }
        Report::Running { .. } | Report::Nothing => Outcome::Error("hshim-enter was killed before it could report".to_owned()),
    }
}

/// In the words of runc.
fn could_not_exec(command: &[String], errno: i32) -> String {
    let name = command.first().map_or("", String::as_str);
    match errno {
        libc::ENOENT if !name.contains('/') => format!("exec: {name:?}: executable file not found in $PATH"),
        libc::ENOENT => format!("exec: {name:?}: no such file or directory"),
        libc::EACCES => format!("exec: {name:?}: permission denied"),
        _ => format!("exec: {name:?}: {}", io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(report: Report) -> Outcome {
        judge(report, "out".to_owned(), &["cat".to_owned(), "/tmp/healthy".to_owned()], Duration::from_secs(1))
    }

    #[test]
    fn reports_become_the_outcomes_and_texts_of_the_kubelet() {
        let failure = |text: &str| Outcome::Failure(text.to_owned());
        let error = |text: &str| Outcome::Error(text.to_owned());
        assert_eq!(outcome(Report::Exited { code: 0, leftovers: true }), Outcome::Success);
        assert_eq!(outcome(Report::Exited { code: 1, leftovers: false }), failure("out"));
        assert_eq!(outcome(Report::Signaled { signal: 11, leftovers: false }), failure("out"));
        assert_eq!(outcome(Report::TimedOut), failure("command timed out: \"cat /tmp/healthy\" timed out after 1s"));
        assert!(matches!(outcome(Report::ReaperKilled), Outcome::Failure(_)));
        let not_found = error("exec: \"cat\": executable file not found in $PATH");
        assert_eq!(outcome(Report::CouldNotExec { errno: libc::ENOENT, pid: 0 }), not_found);
        assert!(matches!(outcome(Report::CouldNotEnter { step: 0, errno: 1, pid: 0 }), Outcome::Error(_)));
        assert!(matches!(outcome(Report::Nothing), Outcome::Error(_)));
    }
}
