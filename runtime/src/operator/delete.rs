//! `delete pod/NAME`: the shim is asked, and its end waited for; a pod without one is cleared by this process.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hshim_health::control::Request;
use hshim_health::layout::SupervisionDir;
use hshim_health::pod::decode;

use super::cli::PodDeleteArgs;
use super::manifest_file;
use super::node;
use super::pod_clearing;
use super::pod_lock::{PodLock, Responsible};
use super::pod_name::{self, DEFAULT_NAMESPACE, PodName};
use super::pod_records;
use crate::cli::Globals;
use crate::init_process::InitProcess;
use crate::logging;
use crate::shim_client::{AskError, ShimClient};
use crate::verbs::print;

/// How long a shim that does not answer may take to turn out to be ending.
const ENDING: Duration = Duration::from_secs(10);
/// How long `--force` waits before it kills the shim.
const FORCE: Duration = Duration::from_secs(10);
/// A poll that waits for ever.
const FOR_EVER: Duration = Duration::MAX;

/// Performs `delete`; each pod for itself.
pub(crate) fn delete(args: &PodDeleteArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    node::require_for_pods()?;
    let mut pods = if args.pods.is_empty() { Vec::new() } else { pod_name::parse(&args.pods, args.namespace.as_deref())? };
    pods.extend(of_manifests(args)?);
    let mut code = ExitCode::SUCCESS;
    for pod in &pods {
        match delete_pod(pod, args, globals) {
            Ok(true) => print(&format!("pod \"{}\" deleted\n", pod.name))?,
            Ok(false) if args.ignore_not_found => {}
            Ok(false) => {
                logging::report(&format!("pods \"{}\" not found in namespace \"{}\"", pod.name, pod.namespace));
                code = ExitCode::FAILURE;
            }
            Err(error) => {
                logging::report(&format!("{pod}: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Only their names matter: what is wrong with the rest must not keep a pod alive.
fn of_manifests(args: &PodDeleteArgs) -> anyhow::Result<Vec<PodName>> {
    if args.filename.is_empty() {
        return Ok(Vec::new());
    }
    let mut pods = Vec::new();
    for document in manifest_file::read_all(&args.filename)? {
        let text = |path: &str| document.value.pointer(path).and_then(serde_json::Value::as_str);
        let Some(name) = text("/metadata/name").filter(|_| text("/kind") == Some("Pod")) else {
            // Its faults say why it is no pod.
            decode(&document.value).map_err(|faults| anyhow::anyhow!("{}: {faults}", document.file))?;
            anyhow::bail!("{}: metadata.name is missing", document.file);
        };
        let namespace = args.namespace.as_deref().or(text("/metadata/namespace")).unwrap_or(DEFAULT_NAMESPACE);
        pods.extend(pod_name::parse(&[format!("pod/{name}")], Some(namespace))?);
    }
    Ok(pods)
}

/// False if there is no such pod.
fn delete_pod(pod: &PodName, args: &PodDeleteArgs, globals: &Globals) -> anyhow::Result<bool> {
    let dir = pod.dir(&globals.root);
    let mut was_there = false;
    loop {
        match PodLock::responsible(&dir)? {
            Responsible::Nobody => return Ok(was_there),
            Responsible::Shim(shim) => {
                if !ask(&dir, &shim, args)? {
                    return Ok(true);
                }
            }
            // What is left when there is no shim (any more): usually nothing.
            Responsible::Caller(lock) => return clear(&dir, &lock, args).map(|()| true),
        }
        was_there = true;
    }
}

/// Asks the shim. True when it has ended, false when it is left to itself.
fn ask(dir: &SupervisionDir, shim: &InitProcess, args: &PodDeleteArgs) -> anyhow::Result<bool> {
    let grace = if args.force { Some(Duration::ZERO) } else { args.grace_period.map(Duration::from_secs) };
    match request_delete(dir, grace) {
        Ok(()) => {}
        Err(error @ AskError::Refused(_)) => return Err(error.into()),
        // It may just have closed its socket: then it is about to end.
        Err(_) if shim.ends_within(ENDING)? => return Ok(true),
        Err(_) if args.force => {}
        Err(error) => {
            return Err(error).context("its supervisor does not answer: --force kills it and clears everything");
        }
    }
    if !args.wait && !args.force {
        return Ok(false);
    }
    if !shim.ends_within(if args.force { FORCE } else { FOR_EVER })? {
        shim.signal(libc::SIGKILL).context("kill the supervisor")?;
        anyhow::ensure!(shim.ends_within(ENDING)?, "the supervisor does not end after SIGKILL");
    }
    Ok(true)
}

/// A shim that serves no more is a broken connection, too.
fn request_delete(dir: &SupervisionDir, grace: Option<Duration>) -> Result<(), AskError> {
    let gone = || AskError::Broken { socket: dir.socket(), source: std::io::ErrorKind::ConnectionRefused.into() };
    let mut client = ShimClient::connect(dir)?.ok_or_else(gone)?;
    client.set_patience(Some(ENDING))?;
    client.ask(&Request::Delete { grace }).map(drop)
}

fn clear(dir: &SupervisionDir, lock: &PodLock, args: &PodDeleteArgs) -> anyhow::Result<()> {
    let grace = match (args.force, args.grace_period) {
        (true, _) => None,
        (false, Some(seconds)) => Some(Duration::from_secs(seconds)),
        (false, None) => pod_records::supervision(dir)?.map(|supervision| supervision.plan.termination_grace),
    };
    pod_clearing::clear(dir, lock, grace)
}
