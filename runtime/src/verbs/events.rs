//! `events`: statistics at intervals, and a line when the container runs out of memory, until its end.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::cgroup::oom::OomWatch;
use crate::cgroup::statistics::Statistics;
use crate::cli::{EventsArgs, Globals};
use crate::container::Container;
use crate::init_process::InitProcess;
use crate::status::Status;

use super::{refuse_unsupported, require_cgroup};

/// One line of output.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Statistics>,
}

/// Performs `events`.
pub(crate) fn events(args: &EventsArgs, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    anyhow::ensure!(!args.interval.is_zero(), "--interval: must be greater than 0");
    let container = Container::open(&globals.root, &args.id.parse()?)?;
    require_cgroup(&container)?;
    let init = container.init()?.context("container not running")?;
    anyhow::ensure!(container.status()? != Status::Stopped, "container not running: {}", args.id);
    if args.stats {
        return write(&statistics(&container)).map(drop);
    }
    watch(&container, &init, args.interval)
}

fn statistics(container: &Container) -> Event<'_> {
    Event { kind: "stats", id: &container.state.id, data: Some(Statistics::read(&container.state.cgroup)) }
}

fn watch(container: &Container, init: &InitProcess, interval: Duration) -> anyhow::Result<()> {
    let mut oom = OomWatch::open(&container.state.cgroup)?;
    let mut next = Instant::now() + interval;
    let mut is_read = true;
    while is_read {
        wait(init, oom.as_ref(), next.saturating_duration_since(Instant::now()))?;
        if oom.as_mut().is_some_and(OomWatch::has_happened) {
            is_read = write(&Event { kind: "oom", id: &container.state.id, data: None })?;
        }
        if init.has_ended()? {
            return Ok(());
        }
        if Instant::now() >= next {
            is_read &= write(&statistics(container))?;
            next += interval;
        }
    }
    Ok(())
}

/// Until something may have happened.
fn wait(init: &InitProcess, oom: Option<&OomWatch>, patience: Duration) -> anyhow::Result<()> {
    let mut descriptors = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    descriptors.extend(oom.map(|oom| PollFd::new(oom.as_fd(), PollFlags::POLLIN)));
    // Rounded up: a millisecond early would be a busy loop of one turn.
    let timeout = PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut descriptors, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("wait for events"),
    }
}

/// False when nobody reads any more.
fn write(event: &Event<'_>) -> anyhow::Result<bool> {
    let line = serde_json::to_string(event).context("write an event as JSON")?;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}
