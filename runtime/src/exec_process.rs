//! The process that `exec` asks for: the container's own identity with what the flags or a process file change.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use hshim_enter::Identity;
use hshim_health::layout;
use libcontainer::oci_spec::runtime::Process;

use crate::bundle;
use crate::cli::ExecArgs;
use crate::container::Container;
use crate::identity;
use crate::scheduling;

/// What to execute, and as whom.
#[derive(Debug)]
pub(crate) struct ExecProcess {
    /// As whom.
    pub(crate) identity: Identity,
    /// What.
    pub(crate) argv: Vec<CString>,
    /// On a terminal.
    pub(crate) terminal: bool,
}

impl ExecProcess {
    /// As the flags say. `root` is the root directory of the container.
    pub(crate) fn new(args: &ExecArgs, container: &Container, root: &File, enter_bin: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(args.process_label.as_deref().is_none_or(str::is_empty), "--process-label: SELinux is not supported");
        let own = identity::load(enter_bin)?;
        let mut process = match &args.process {
            Some(file) => Self::from_file(file, own, root)?,
            None => Self { identity: own, argv: argv(&args.command)?, terminal: false },
        };
        process.terminal |= args.tty;
        process.change(args, container, root)?;
        anyhow::ensure!(!process.argv.is_empty(), "process args cannot be empty: name the command to execute");
        Ok(process)
    }

    /// `--process`: the file says everything but the filter, which is the container's.
    fn from_file(file: &Path, own: Identity, root: &File) -> anyhow::Result<Self> {
        let text = fs::read(file).with_context(|| format!("--process: read {}", file.display()))?;
        let (process, unknown): (Process, _) =
            bundle::tolerant(&text).with_context(|| format!("--process: understand {}", file.display()))?;
        if !unknown.is_empty() {
            log::warn!("{}: ignoring unknown or unavailable capabilities: {}", file.display(), unknown.join(" "));
        }
        let mut identity = identity::of(&process, root)?;
        if process.capabilities().is_none() {
            identity.capabilities = own.capabilities;
        }
        identity.seccomp = own.seccomp;
        identity.personality = own.personality;
        identity.scheduling = scheduling::or_of_container(identity.scheduling, &process, own.scheduling);
        identity.apparmor = identity.apparmor.or(own.apparmor);
        let terminal = process.terminal().unwrap_or(false);
        Ok(Self { identity, argv: argv(process.args().as_deref().unwrap_or_default())?, terminal })
    }

    fn change(&mut self, args: &ExecArgs, container: &Container, root: &File) -> anyhow::Result<()> {
        let identity = &mut self.identity;
        if let Some(cwd) = &args.cwd {
            anyhow::ensure!(cwd.is_absolute(), "--cwd: {} is not an absolute path", cwd.display());
            identity.cwd = identity::text("--cwd", cwd.to_string_lossy().into_owned())?;
        }
        if let Some(profile) = &args.apparmor {
            identity.apparmor = Some(profile.clone());
        }
        identity.no_new_privs |= args.no_new_privs;
        identity.groups.extend(&args.additional_gids);
        for name in &args.cap {
            let bit = identity::capability(name).context("--cap")?;
            identity.capabilities.bounding |= bit;
            identity.capabilities.permitted |= bit;
            identity.capabilities.effective |= bit;
        }
        let user = args.user.as_deref().map(user).transpose()?;
        if let Some((uid, gid)) = user {
            identity.gid = gid.unwrap_or(identity.gid);
            if uid != identity.uid {
                identity.uid = uid;
                forget_home(identity, container)?;
            }
        }
        if user.is_some() || !args.env.is_empty() {
            let own = identity.env.iter().map(|variable| variable.to_string_lossy().into_owned());
            identity.env = identity::environment(own.chain(args.env.iter().cloned()).collect(), identity.uid, root)?;
        }
        Ok(())
    }
}

/// HOME of another user is his own, unless the specification sets it for all.
fn forget_home(identity: &mut Identity, container: &Container) -> anyhow::Result<()> {
    let spec = container.spec()?;
    let written = spec.process().as_ref().and_then(|process| process.env().as_ref());
    if !written.is_some_and(|env| env.iter().any(|variable| variable.starts_with("HOME="))) {
        identity.env.retain(|variable| !variable.to_bytes().starts_with(b"HOME="));
    }
    Ok(())
}

/// Where `create` put the identity of a container.
pub(crate) fn enter_bin(root: &Path, id: &str) -> std::path::PathBuf {
    layout::enter_identity(root, id)
}

/// `UID[:GID]`, in numbers as runc takes them.
fn user(written: &str) -> anyhow::Result<(u32, Option<u32>)> {
    let number = |part: &str| part.parse::<u32>().with_context(|| format!("--user: {written:?} is not UID[:GID] in numbers"));
    match written.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(written)?, None)),
    }
}

fn argv(command: &[String]) -> anyhow::Result<Vec<CString>> {
    command.iter().map(|argument| identity::text("the command", argument.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_or_two_numbers() {
        assert_eq!(user("1000").unwrap(), (1000, None));
        assert_eq!(user("1000:7").unwrap(), (1000, Some(7)));
        for wrong in ["root", "1:", ":1", "1:2:3", "-1"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }
}
