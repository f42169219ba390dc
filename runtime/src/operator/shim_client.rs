//! Asking a pod's shim something.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::Context;
use hshim_health::control::{METHOD, Reply, Request, SERVICE};
use hshim_health::layout::SupervisionDir;
use ttrpc::Client;

/// Of an answer that is given at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the shim of a supervision directory, and waits so long for its answer. ttrpc's client brings a thread of its own: this process may
/// not fork any more after that.
pub(crate) fn ask(dir: &SupervisionDir, request: &Request, patience: Duration) -> anyhow::Result<Reply> {
    let asked = format!("ask the supervisor of {}", dir.0.display());
    // Through /proc/self/fd: the path of a pod's directory may be longer than a socket address can be.
    let directory = File::open(&dir.0).with_context(|| asked.clone())?;
    let socket = dir.socket();
    let name = socket.file_name().unwrap_or_default();
    let address = format!("unix:///proc/self/fd/{}/{}", directory.as_raw_fd(), name.display());
    let client = Client::connect(&address).with_context(|| asked.clone())?;
    let mut call = ttrpc::Request::new();
    call.service = SERVICE.to_owned();
    call.method = METHOD.to_owned();
    call.timeout_nano = i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX);
    call.payload = serde_json::to_vec(request).context("write the request as JSON")?;
    let response = client.request(call).with_context(|| asked.clone())?;
    serde_json::from_slice(&response.payload).with_context(|| format!("{asked}: understand its answer"))
}
