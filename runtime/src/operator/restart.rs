//! `restart`: containers of a pod are stopped and started again, without back-off.

use std::process::ExitCode;

use hshim_health::control::Request;

use super::cli::RestartArgs;
use super::{one_pod, screen};
use crate::cli::Globals;
use crate::shim_client::ShimClient;

/// Performs `restart`.
pub(crate) fn restart(args: &RestartArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (reference, pod) = one_pod(&args.pod, args.namespace.as_deref(), globals)?;
    let containers = match &args.container {
        Some(_) => vec![pod.default_container(args.container.as_deref())?.0],
        None => pod.supervision.plan.containers.iter().map(|container| container.name.clone()).collect(),
    };
    for container in containers {
        let Some(mut shim) = ShimClient::connect(&pod.dir)? else {
            anyhow::bail!(
                "{reference} is unsupervised: its shim is gone, and nobody could start it again: delete it and make it again"
            )
        };
        shim.ask(&Request::Restart { container: container.clone() })?;
        screen::put(format!("{reference} container {container} is being restarted\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
