//! The OCI verbs, one file each.

mod checkpoint;
mod create;
mod delete;
mod events;
pub(crate) mod exec;
mod features;
mod identity;
mod kill;
mod list;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::cgroup::systemd;
use crate::cli::{CgroupManager, Globals, OciCommand};
use crate::container::Container;

/// Performs one verb. An error is printed by the caller.
pub(crate) fn run(command: OciCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let done = match command {
        OciCommand::Run(args) => return run::run(&args, globals),
        OciCommand::Exec(args) => return exec::exec(&args, globals).context("exec failed"),
        OciCommand::Create(args) => create::create(&args.bundle, globals),
        OciCommand::Start(args) => start::start(&args.id, globals),
        OciCommand::State(args) => state::state(&args.id, globals),
        OciCommand::Kill(args) => kill::kill(&args, globals),
        OciCommand::Delete(args) => delete::delete(&args, globals),
        OciCommand::CgroupPlaceholder => systemd::hold(),
        OciCommand::Pause(args) => pause::pause(&args.id, globals),
        OciCommand::Resume(args) => resume::resume(&args.id, globals),
        OciCommand::Update(args) => update::update(&args, globals),
        OciCommand::Events(args) => events::events(&args, globals),
        OciCommand::List(args) => list::list(&args, globals),
        OciCommand::Ps(args) => ps::ps(&args, globals),
        OciCommand::Spec(args) => spec::spec(&args),
        OciCommand::Features => features::features(),
        OciCommand::Checkpoint(args) => checkpoint::checkpoint(&args.image.id, globals),
        OciCommand::Restore(args) => checkpoint::restore(&args.image.id),
        OciCommand::EnterIdentity(args) => identity::enter_identity(&args, globals),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Prints the one document of a verb. A closed pipe is the reader's wish and no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("write to standard output"))
        }
        _written_or_unwanted => Ok(()),
    }
}

/// What no verb that touches a container can do.
fn refuse_unsupported(globals: &Globals) -> anyhow::Result<()> {
    anyhow::ensure!(
        globals.cgroup_manager != Some(CgroupManager::Disabled),
        "--cgroup-manager disabled: hshim goes without a cgroup only where none can be written (--rootless)"
    );
    Ok(())
}

/// What is done with the files of a cgroup.
fn require_cgroup(container: &Container) -> anyhow::Result<()> {
    anyhow::ensure!(
        !container.state.cgroup.dirs().is_empty(),
        "{}: this container has no cgroup, because it was made without access to one: name a cgroup in linux.cgroupsPath that is writable \
         for its user, or make it as root",
        container.state.id
    );
    Ok(())
}
