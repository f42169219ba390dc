//! `exec pod/NAME`: a command in a container of a pod, as `hshim exec` runs it.

use std::fs::File;
use std::process::ExitCode;

use anyhow::Context;
use hshim_health::status::ContainerState;

use super::cli::PodExecArgs;
use super::pod_name::DEFAULT_NAMESPACE;
use super::pod_view::PodView;
use super::screen;
use crate::cli::{ExecArgs, Globals};
use crate::verbs::exec::{self, NotExecuted};

/// The command is not there (POSIX, Shell Command Language 2.8.2).
const NOT_FOUND: u8 = 127;
/// It is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Performs `exec`.
pub(crate) fn exec(args: &PodExecArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let pod = PodView::open(&globals.root, namespace, &args.pod)?;
    let (container, is_choice) = pod.default_container(args.container.as_deref())?;
    if is_choice {
        screen::remark(&format!("Defaulted container {container:?} out of: {}", pod.container_names()));
    }
    refuse_not_running(&pod, &container)?;
    let runtime = &pod.supervision.runtime;
    anyhow::ensure!(
        runtime.is_hshim,
        "container {container} is run by {}: its own exec can enter it, with --root {}",
        runtime.path.display(),
        runtime.root.display()
    );
    let id = pod.launch(&container).context("the pod's records do not say how the container is launched")?.id.clone();
    if !args.stdin {
        let null = File::open("/dev/null").context("open /dev/null")?;
        nix::unistd::dup2_stdin(null).context("put /dev/null in place of standard input")?;
    }
    let globals = Globals { root: runtime.root.clone(), ..globals.clone() };
    match exec::exec(&ExecArgs { tty: args.tty, command: args.command.clone(), ..ExecArgs::of(id) }, &globals) {
        Err(error) => match error.downcast_ref::<NotExecuted>() {
            Some(not_executed) => {
                crate::logging::report(&format!("{error:#}"));
                Ok(ExitCode::from(if not_executed.is_missing() { NOT_FOUND } else { NOT_EXECUTABLE }))
            }
            None => Err(error.context(format!("exec in container {container} of {}", args.pod))),
        },
        done => done,
    }
}

/// What an unsupervised pod's status says may not be true any more; the runtime finds out.
fn refuse_not_running(pod: &PodView, container: &str) -> anyhow::Result<()> {
    let state = pod.container(container).map(|status| &status.state).filter(|_| pod.is_supervised());
    match state {
        Some(ContainerState::Waiting { reason, .. }) => {
            anyhow::bail!("cannot exec in container {container}, which is not running: {reason:?}: hshim why says more")
        }
        Some(ContainerState::Terminated(ended)) => anyhow::bail!(
            "cannot exec in container {container}, which has ended: {:?}, exit code {}",
            ended.reason,
            ended.exit.code
        ),
        Some(ContainerState::Running { .. }) | None => Ok(()),
    }
}
