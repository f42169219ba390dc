//! How containerd starts, asks and cleans up after this program.
//!
//! ```text
//! start  ─▶ socket bound (or the pod's found) ─▶ server spawned with it as descriptor 3 ─▶ address printed
//! serve  ─▶ task service until Shutdown, a signal, or a minute in which nobody needs it
//! delete ─▶ what is left of one container is killed and removed, within containerd's five seconds
//! -info, -v
//! ```

mod delete;
mod flags;
mod info;
mod listener;
mod log_fifo;
mod parameters;
mod serve;
mod socket;
mod start;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub(crate) use flags::{Action, Flags};

/// Whether the arguments are containerd's, and not hshim's own.
pub(crate) fn is_for(args: &[OsString]) -> bool {
    args.first().and_then(|first| first.to_str()).is_none_or(|first| first != "supervise" && first != "--version")
}

/// Does what containerd asks for.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let flags = match Flags::parse(args) {
        Ok(flags) => flags,
        Err(error) => return fail(&error),
    };
    let done = match flags.action {
        Action::Version => say(format!("containerd-shim-hshim-v2 {}\n", env!("CARGO_PKG_VERSION")).as_bytes()),
        Action::Info => info::print(&flags),
        Action::Start => start::start(&flags),
        Action::Delete => delete::delete(&flags),
        Action::Serve => return serve::serve(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One short line: containerd shows what a failed invocation printed.
fn fail(error: &std::io::Error) -> ExitCode {
    drop(writeln!(std::io::stderr(), "containerd-shim-hshim-v2: {error}"));
    ExitCode::FAILURE
}

fn say(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
