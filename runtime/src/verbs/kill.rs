//! `kill`: a signal to the init process, or to all processes of a container.

use crate::cli::{Globals, KillArgs};
use crate::container::Container;
use crate::signal_name::SignalNumber;
use crate::status::Status;
use crate::supervised_bundle::SupervisedBundle;

use super::refuse_unsupported;

/// Performs `kill`.
pub(crate) fn kill(args: &KillArgs, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let SignalNumber(signal) = args.signal.parse()?;
    let id = args.id.parse()?;
    let supervised = SupervisedBundle::find(&globals.root, &id);
    if let Some(bundle) = supervised
        && bundle.kill(signal, args.all)?
    {
        return Ok(());
    }
    let container = Container::open(&globals.root, &id)?;
    let status = container.status()?;
    if args.all {
        // Also of a stopped container: what it started may live on in a shared pid namespace.
        return container.signal_all(signal);
    }
    let Some(init) = container.init()?.filter(|_| status != Status::Stopped) else {
        anyhow::bail!("container not running: {}", args.id)
    };
    init.signal(signal)?;
    if status == Status::Paused && signal == libc::SIGKILL {
        // A frozen process of cgroup v1 dies only when it is thawed.
        container.state.cgroup.set_frozen(false);
    }
    Ok(())
}
