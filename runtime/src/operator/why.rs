//! `why`: in words, how a pod's containers are, why they were restarted or are not running, and what follows.

use std::process::ExitCode;

use hshim_health::explain;
use jiff::Timestamp;

use super::cli::OnePodArgs;
use super::pod_view::PodView;
use super::{one_pod, screen};
use crate::cli::Globals;

/// Performs `why`.
pub(crate) fn why(args: &OnePodArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (reference, pod) = one_pod(&args.pod, args.namespace.as_deref(), globals)?;
    let mut text = String::new();
    for line in sentences(&reference.to_string(), &pod) {
        // What a probe printed keeps its place under the sentence that quotes it.
        text.push_str(&screen::harmless(&line).replace('\n', "\n    "));
        text.push('\n');
    }
    screen::put(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn sentences(name: &str, pod: &PodView) -> Vec<String> {
    let mut lines = Vec::new();
    if !pod.is_supervised() {
        lines.push(format!(
            "{name} is unsupervised: its shim is gone, so nothing probes or restarts its containers; what follows was true before. \
             Delete it and make it again to have it looked after"
        ));
    }
    match &pod.status {
        Some(status) => lines.extend(explain::explain(&pod.supervision.plan, status, Timestamp::now())),
        None => lines.push(format!("{name} is being made: its shim has not said anything about it yet")),
    }
    lines
}
