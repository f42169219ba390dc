//! hshim: a minimal OCI container runtime with built-in health supervision.
//!
//! One process per command, single-threaded, gone when the command is done: libcontainer may only be used so
//! (it clones and goes on in Rust). What must live longer is the shim's.

mod atomic_file;
mod bundle;
mod bundle_presets;
mod cgroup;
mod cli;
mod console;
mod container;
mod container_id;
mod container_lock;
mod container_view;
mod copy_up;
mod creation;
mod errand;
mod exec_process;
mod foreground;
#[cfg(test)]
mod fuzz;
mod grammar;
mod home;
mod hooks;
mod identity;
mod init_executor;
mod init_process;
mod late_mounts;
mod libcontainer_builder;
mod logging;
mod loopback;
mod map_program;
mod mount_options;
mod mount_targets;
mod number_set;
mod operator;
mod preserved_fds;
mod quantity;
mod rlimit;
mod rootfs_dev;
mod rootless;
mod rootless_cgroup;
mod rootless_mapping;
mod scheduling;
mod sealed_executable;
mod seccomp;
mod session_keyring;
mod shim_client;
mod shim_process;
mod signal_name;
mod spec_faults;
mod spec_normalise;
mod start_fifo;
mod state_file;
mod status;
mod supervised_bundle;
mod supervision;
mod sys;
mod table;
mod tree_copy;
mod verbs;
mod working_directory;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Command, OciCommand};
use grammar::World;

/// For a process that lives milliseconds: musl's own asks the kernel for a mapping for every few objects, and gives it back.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Wrong usage of an OCI verb, as runc; and every error of a verb that has no other code.
const FAILURE: u8 = 1;
/// Wrong usage of an operator's verb.
const WRONG_USAGE: u8 = 2;
/// `exec` could not start its process (runc's code).
const EXEC_FAILURE: u8 = 255;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(done) = map_program::perform(&args) {
        return done;
    }
    // A caller that ignores it would take the exit codes of our children away.
    sys::default_signals(libc::SIGCHLD..=libc::SIGCHLD);
    rootless::remember_owner();
    let sealed = sealed_executable::seal(&args);
    let mut command = Cli::command();
    let resolved = grammar::resolve(args, &command);
    let cli = match command.try_get_matches_from_mut(&resolved.args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error, &resolved),
    };
    if let Err(error) = logging::start(&cli.globals).and(sealed) {
        return failed(&error, FAILURE);
    }
    let failure = if matches!(cli.command, Command::Oci(OciCommand::Exec(_))) { EXEC_FAILURE } else { FAILURE };
    let done = match cli.command {
        Command::Oci(command) => verbs::run(command, &cli.globals),
        Command::Operator(command) => operator::run(command, &cli.globals),
    };
    done.unwrap_or_else(|error| failed(&error, failure))
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    logging::report(&format!("{error:#}"));
    ExitCode::from(code)
}

fn wrong_usage(error: &clap::Error, resolved: &grammar::Resolved) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe is the reader's wish.
        drop(write!(std::io::stdout(), "{}", grammar::as_typed(&error.render().to_string())));
        return ExitCode::SUCCESS;
    }
    let text = grammar::as_typed(&error.render().to_string());
    logging::start_for_wrong_usage(&resolved.args);
    logging::report(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(if resolved.world == World::Oci { FAILURE } else { WRONG_USAGE })
}
