//! The last steps of a container's init process, from the start barrier to execve, and what it tells `start` about them.
//!
//! ```text
//! created:  init holds the write side of <dir>/exec.fifo, close-on-exec, and waits in libcontainer's start barrier
//! start  →  filter, signals, then "+" into the FIFO, then execve
//!             it worked: the FIFO is closed by execve        → start reads "+" and the end of file
//!             it did not: the reason follows                 → start reads "+reason"
//!             init ended before (a hook failed, a signal)    → start reads the end of file alone
//! ```
//! Whether the FIFO has a writer is also how `state` tells created from running.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use hshim_enter::Seccomp;
use libcontainer::container::{ContainerStatus, State};
use libcontainer::hooks::run_hooks;
use libcontainer::oci_spec::runtime::{Hook, PosixRlimit, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{AccessFlags, access, execve, getpid};

use crate::copy_up::LateFiles;
use crate::rlimit;
use crate::sys;

/// Written before execve: what follows is about the command itself.
pub(crate) const ABOUT_TO_EXECUTE: u8 = b'+';

/// What init does when `start` lets it.
#[derive(Clone)]
pub(crate) struct InitExecutor {
    /// Write side of the FIFO.
    report: Rc<OwnedFd>,
    /// Loaded last; none when there is none or libcontainer has loaded it.
    filter: Option<Seccomp>,
    /// Set last, because init could not live with some.
    rlimits: Vec<PosixRlimit>,
    /// Environment, in the order of the specification.
    env: Vec<String>,
    /// What libcontainer adds to the environment.
    added: RefCell<Vec<String>>,
    /// Run first.
    hooks: Option<StartHooks>,
    /// Not there before `start`.
    late: LateFiles,
}

/// The hooks of the stage startContainer, and the state that they are told.
#[derive(Clone)]
pub(crate) struct StartHooks {
    hooks: Vec<Hook>,
    state: State,
}

impl StartHooks {
    /// Of a container that is `created` by the time they run.
    pub(crate) fn new(hooks: Vec<Hook>, mut state: State) -> Self {
        state.status = ContainerStatus::Created;
        Self { hooks, state }
    }

    fn run(&self, env: &HashMap<String, String>) -> Result<(), String> {
        // As runc does, the process is named as the container sees it.
        let state = State { pid: Some(getpid().as_raw()), ..self.state.clone() };
        for hook in &self.hooks {
            let run = run_hooks(Some(&vec![hook.clone()]), Some(&state), None, None, Some(env));
            run.map_err(|error| format!("startContainer hook {}: {error}", hook.path().display()))?;
        }
        Ok(())
    }
}

impl InitExecutor {
    /// For a container whose process has this environment.
    pub(crate) fn new(
        report: OwnedFd,
        filter: Option<Seccomp>,
        rlimits: Vec<PosixRlimit>,
        env: Vec<String>,
        hooks: Option<StartHooks>,
    ) -> Self {
        Self { report: Rc::new(report), filter, rlimits, env, added: RefCell::default(), hooks, late: LateFiles::default() }
    }

    /// The same in a container in which something is not there before `start`.
    pub(crate) fn with_late(self, late: LateFiles) -> Self {
        Self { late, ..self }
    }

    fn execute(&self, args: &[String]) -> Result<std::convert::Infallible, String> {
        let command = args.first().ok_or("process.args: cannot be empty")?;
        let added = self.added.borrow();
        let env = || self.env.iter().chain(added.iter());
        self.late.enter_cwd()?;
        if let Some(hooks) = &self.hooks {
            let pairs = env().filter_map(|variable| variable.split_once('='));
            hooks.run(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())?;
        }
        let path = env().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
        let found = look_up(command, path)?;
        let strings = |list: &mut dyn Iterator<Item = &String>| {
            list.map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, NulError>>()
        };
        let argv = strings(&mut args.iter()).map_err(|_nul| format!("exec: {command:?}: an argument contains NUL"))?;
        let envp = strings(&mut env()).map_err(|_nul| "process.env: a variable contains NUL".to_owned())?;
        let file = CString::new(found).map_err(|_nul| format!("exec: {command:?}: the name contains NUL"))?;
        self.become_ordinary()?;
        execve(&file, &argv, &envp).map_err(|error| format!("exec: {command:?}: {}", reason(error)))
    }

    /// Takes back what Rust's start-up code (it ignores SIGPIPE) and the caller left in this process, and loads the filter last.
    fn become_ordinary(&self) -> Result<(), String> {
        sys::default_signals(1..=64);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .map_err(|error| format!("reset the signal mask: {error}"))?;
        for limit in &self.rlimits {
            sys::setrlimit(rlimit::resource(limit.typ()), limit.soft(), limit.hard())
                .map_err(|error| format!("process.rlimits: set {}: {error}", limit.typ()))?;
        }
        match &self.filter {
            Some(filter) => {
                sys::load_seccomp(filter.flags, &filter.program).map_err(|error| format!("load the seccomp filter: {error}"))
            }
            None => Ok(()),
        }
    }
}

impl Executor for InitExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let tell = |text: &[u8]| {
            // Without a reader there is nobody to tell.
            if let Ok(fifo) = self.report.try_clone() {
                drop(File::from(fifo).write_all(text));
            }
        };
        tell(&[ABOUT_TO_EXECUTE]);
        let args = spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default();
        let Err(message) = self.execute(args);
        tell(message.as_bytes());
        Err(ExecutorError::Other(message))
    }

    /// A command that is not there is an error of `create`, as with runc: podman tells its user by that.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let args = spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default();
        let Some(command) = args.first() else { return Ok(()) };
        let path = self.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
        let found = look_up(command, path).map(drop);
        found
            .or_else(|reason| if self.late.may_hold(command, path) { Ok(()) } else { Err(reason) })
            .map_err(|reason| ExecutorValidationError::ArgValidationError(format!("unable to start container process: {reason}")))
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let has =
            |name: &str| self.env.iter().any(|variable| variable.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        let added = ["HOME", "LISTEN_FDS", "LISTEN_PID"].iter().filter(|name| !has(name));
        let added = added.filter_map(|name| envs.get(*name).map(|value| format!("{name}={value}"))).collect();
        self.added.replace(added);
        Ok(())
    }
}

/// Finds a command as execvp(3) does, with the texts that callers of runc look for.
fn look_up(command: &str, path: &str) -> Result<String, String> {
    if command.contains('/') {
        return match std::fs::metadata(command) {
            Ok(_exists) => Ok(command.to_owned()),
            Err(error) => Err(format!("exec: {command:?}: stat {command}: {}", io_reason(&error))),
        };
    }
    let mut forbidden = false;
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = format!("{dir}/{command}");
        let Ok(metadata) = std::fs::metadata(&candidate) else { continue };
        let may = metadata.is_file() && metadata.mode() & 0o111 != 0 && access(candidate.as_str(), AccessFlags::X_OK).is_ok();
        if may {
            return Ok(candidate);
        }
        forbidden = true;
    }
    Err(format!("exec: {command:?}: {}", if forbidden { "permission denied" } else { "executable file not found in $PATH" }))
}

/// Why a command was not executed, when all that is known is the error number.
pub(crate) fn not_executed(command: &str, error: nix::Error) -> String {
    let reason = reason(error);
    if error != nix::Error::ENOENT {
        return format!("exec: {command:?}: {reason}");
    }
    if command.contains('/') {
        return format!("exec: {command:?}: stat {command}: {reason}");
    }
    format!("exec: {command:?}: executable file not found in $PATH")
}

fn reason(error: nix::Error) -> String {
    io_reason(&std::io::Error::from(error))
}

/// The errno's text as Go spells it.
fn io_reason(error: &std::io::Error) -> String {
    match error.raw_os_error().map(nix::Error::from_raw) {
        Some(errno) => errno.desc().to_ascii_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_is_told_in_the_words_that_callers_look_for() {
        assert_eq!(
            look_up("no-such-command", "/bin").unwrap_err(),
            r#"exec: "no-such-command": executable file not found in $PATH"#
        );
        assert_eq!(look_up("/no/such", "/bin").unwrap_err(), r#"exec: "/no/such": stat /no/such: no such file or directory"#);
        assert_eq!(look_up("passwd", "/etc").unwrap_err(), r#"exec: "passwd": permission denied"#);
        assert_eq!(look_up("sh", "/nowhere::/bin").unwrap(), "/bin/sh");
    }
}
