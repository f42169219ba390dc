//! The OCI runtime, driven by its command line: hshim, runc or crun.
//!
//! `--root R --log F --log-format json [--systemd-cgroup] VERB …`. What went wrong is read from the last error line of the log
//! file (logrus' shape, which all three write). Every command has a deadline: a runtime that was killed half way leaves
//! children that wait for it for ever (reference: libcontainer, measured), so the shim kills and sweeps.

mod error;
mod order;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hshim_health::record::{Launch, RuntimeCommand};
use tokio::sync::watch;

pub(crate) use error::RuntimeError;
use order::Order;

use crate::bundle_spec::BundleSpec;
use crate::cgroup_mounts;
use crate::children::{Child, Children};
use crate::spawn::{self, StdioFds};

/// How long one command may take (`CLOCK_MONOTONIC`: while the machine is suspended the command rests too).
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The runtime of this pod.
#[derive(Debug)]
pub(crate) struct Runtime {
    command: RuntimeCommand,
    children: Arc<Children>,
    deadline: Duration,
    /// Nobody wants what is being made any more.
    hurried: watch::Sender<bool>,
}

/// What becomes of the cgroup when a container is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// The next life goes on in it.
    Keep,
    /// It goes too.
    Remove,
}

/// A further process of a running container.
pub(crate) struct Exec<'a> {
    /// File with the OCI process object.
    pub(crate) process: &'a Path,
    /// Where its terminal is sent to, if it has one.
    pub(crate) console_socket: Option<&'a Path>,
    /// Its standard streams otherwise.
    pub(crate) stdio: StdioFds<'a>,
    /// Directory for the pid file and the log.
    pub(crate) files: &'a Path,
    /// Their name in it, without extension.
    pub(crate) stem: &'a str,
}

impl Runtime {
    /// A runtime whose children are known to `children`.
    pub(crate) fn new(command: RuntimeCommand, children: Arc<Children>) -> Self {
        Self { command, children, deadline: DEADLINE, hurried: watch::Sender::new(false) }
    }

    /// The same with another deadline.
    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How it is called.
    pub(crate) fn command(&self) -> &RuntimeCommand {
        &self.command
    }

    /// `create`: the answer is the init process, which is now our child. `files` is a directory for the pid file and the log.
    pub(crate) async fn create(&self, launch: &Launch, files: &Path, stdio: StdioFds<'_>) -> Result<Child, RuntimeError> {
        let pid_file = files.join("init.pid");
        let mut args: Vec<OsString> = Vec::new();
        if self.command.is_hshim {
            args.extend(["--supervise".into(), "never".into()]);
        }
        args.extend(self.command.create_flags.iter().map(OsString::from));
        args.extend(["--bundle".into(), launch.bundle.clone().into(), "--pid-file".into(), pid_file.clone().into()]);
        args.push(launch.id.clone().into());
        let log = files.join("runtime.log");
        self.adopt(&self.command.path, Order { verb: "create", args, log: &log, stdio }, pid_file).await
    }

    /// `exec --detach` of the OCI process object in a file: the answer is the process, which is now our child. `stem` names the
    /// files about it in `files`.
    pub(crate) async fn exec(&self, id: &str, exec: &Exec<'_>) -> Result<Child, RuntimeError> {
        let file = |extension: &str| exec.files.join(format!("{}.{extension}", exec.stem));
        let pid_file = file("pid");
        let mut args: Vec<OsString> = vec!["--detach".into(), "--process".into(), exec.process.into()];
        args.extend(["--pid-file".into(), pid_file.clone().into()]);
        if let Some(socket) = exec.console_socket {
            args.extend(["--console-socket".into(), socket.into()]);
        }
        args.push(id.into());
        let log = file("log");
        let child =
            self.adopt(&self.command.path, Order { verb: "exec", args, log: &log, stdio: exec.stdio }, pid_file.clone()).await;
        for path in [pid_file, log] {
            drop(fs::remove_file(path));
        }
        child
    }

    /// `start`.
    pub(crate) async fn start(&self, id: &str, files: &Path) -> Result<(), RuntimeError> {
        self.silently("start", vec![id.into()], files).await
    }

    /// `delete --force`: a container that is already gone is no error.
    pub(crate) async fn delete(&self, id: &str, cgroup: Cgroup, files: &Path) -> Result<(), RuntimeError> {
        let mut args: Vec<OsString> = vec!["--force".into()];
        if self.command.is_hshim && cgroup == Cgroup::Keep {
            args.push("--keep-cgroup".into());
        }
        args.push(id.into());
        self.silently("delete", args, files).await
    }

    /// What the runtime keeps of a life that has ended goes, and the cgroup stays for the next one. runc and crun cannot be told so: their
    /// `delete` takes the cgroup and its counters along. Besides that it only removes a state directory, which is done here, for hshim
    /// too: it spares a restart a command. Where `delete` would do more, it is asked; with runc and crun the next life then begins with a new cgroup.
    pub(crate) async fn forget_life(&self, launch: &Launch, files: &Path) -> Result<(), RuntimeError> {
        let is_plain = BundleSpec::load(&launch.bundle).is_ok_and(|spec| !spec.needs_delete() && has_plain_cgroup(&spec));
        if self.command.systemd_cgroup || !is_plain || !self.keeps_only_a_directory() {
            return self.delete(&launch.id, Cgroup::Keep, files).await;
        }
        let path = self.state_dir(&launch.id);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::State { path, source }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn keeps_only_a_directory(&self) -> bool {
        self.command.is_hshim || self.command.path.file_name().is_some_and(|name| name == "runc" || name == "crun")
    }

    /// `kill --all`: a signal to every process of the container, also when its init has ended.
    pub(crate) async fn kill_all(&self, id: &str, signal: i32, files: &Path) -> Result<(), RuntimeError> {
        self.silently("kill", vec!["--all".into(), id.into(), signal.to_string().into()], files).await
    }

    /// `pause`.
    pub(crate) async fn pause(&self, id: &str, files: &Path) -> Result<(), RuntimeError> {
        self.silently("pause", vec![id.into()], files).await
    }

    /// `resume`.
    pub(crate) async fn resume(&self, id: &str, files: &Path) -> Result<(), RuntimeError> {
        self.silently("resume", vec![id.into()], files).await
    }

    /// `update` to the OCI resources object in a file.
    pub(crate) async fn update(&self, id: &str, resources: &Path, files: &Path) -> Result<(), RuntimeError> {
        self.silently("update", vec!["--resources".into(), resources.into(), id.into()], files).await
    }

    /// hshim's `enter-identity`: what its own `create` prepares, for a container of another runtime.
    pub(crate) async fn prepare_identity(&self, bundle: &Path, output: &Path, files: &Path) -> Result<(), RuntimeError> {
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("hshim")));
        let path = beside.filter(|path| path.is_file()).unwrap_or_else(|| "/usr/bin/hshim".into());
        let null = spawn::null().map_err(|source| self.not_spawned("enter-identity", source))?;
        let log = files.join("identity.log");
        let args = vec!["--bundle".into(), bundle.into(), "--output".into(), output.into()];
        self.run(&path, Order { verb: "enter-identity", args, log: &log, stdio: StdioFds::all(&null) }).await
    }

    /// hshim's `preset merge --write`: the bundle has afterwards what the node's presets add to it.
    pub(crate) async fn merge_presets(&self, bundle: &Path, id: &str, files: &Path) -> Result<(), RuntimeError> {
        let args = ["merge", "--write", "--bundle"].into_iter().map(OsString::from);
        self.silently("preset", args.chain([bundle.into(), "--id".into(), id.into()]).collect(), files).await
    }

    /// Where the runtime keeps its own state of a container.
    pub(crate) fn state_dir(&self, id: &str) -> PathBuf {
        if self.command.is_hshim {
            hshim_health::layout::container_dir(&self.command.root, id)
        } else {
            self.command.root.join(id)
        }
    }

    /// Whoever makes or starts a container is given up soon: the container is to end.
    pub(crate) fn hurry(&self) {
        self.hurried.send_replace(true);
    }
}

/// Nothing was made below it, and no controller was handed on to there: the next life can be put into it as it is.
fn has_plain_cgroup(spec: &BundleSpec) -> bool {
    let Some(path) = spec.cgroup() else { return false };
    cgroup_mounts::hierarchies()
        .iter()
        .all(|hierarchy| cgroup_mounts::is_plain(&hierarchy.mount.join(path.trim_start_matches('/'))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::test_support::{PROGRAMS, Scratch, eventually};

    /// A runtime that is a shell script: `$verb` is what it is asked to do, `$pid_file` where `create` says who init is.
    fn scripted(scratch: &Scratch, script: &str) -> Runtime {
        let path = scratch.path().join("runtime");
        let head = "#!/bin/sh\nlog=$4\nshift 6\nverb=$1\npid_file=$5\n";
        fs::write(&path, format!("{head}{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let command = RuntimeCommand {
            path,
            is_hshim: false,
            systemd_cgroup: false,
            root: scratch.path().into(),
            create_flags: Vec::new(),
        };
        Runtime::new(command, Arc::default())
    }

    fn launch() -> Launch {
        Launch { id: "c".into(), bundle: "/b".into(), rootfs: None, stdio: hshim_health::record::Stdio::Inherited }
    }

    async fn create(runtime: &Runtime, scratch: &Scratch) -> Result<Child, RuntimeError> {
        let null = spawn::null().unwrap();
        runtime.create(&launch(), scratch.path(), StdioFds::all(&null)).await
    }

    #[tokio::test]
    async fn the_init_that_a_create_leaves_behind_is_our_child_and_its_end_is_seen() {
        let _alone = PROGRAMS.lock().await;
        let scratch = Scratch::new();
        let runtime = scripted(&scratch, "sh -c 'exec sleep 1000' & echo $! > $pid_file");
        let init = create(&runtime, &scratch).await.unwrap();
        init.signal(libc::SIGKILL).unwrap();
        let ended = init.ended().await.unwrap();
        assert_eq!((ended.how, ended.status, ended.pid), (libc::CLD_KILLED, libc::SIGKILL, init.pid()));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_runtimes_own_words() {
        let _alone = PROGRAMS.lock().await;
        let scratch = Scratch::new();
        let runtime = scripted(&scratch, r#"echo '{"level":"error","msg":"no such thing"}' > "$log"; exit 1"#);
        let error = create(&runtime, &scratch).await.unwrap_err();
        assert_eq!(error.to_string(), "no such thing");
        let error = runtime.start("c", scratch.path()).await.unwrap_err();
        assert_eq!(error.to_string(), "no such thing");
    }

    #[tokio::test]
    async fn a_runtime_that_dies_without_a_word_is_named() {
        let _alone = PROGRAMS.lock().await;
        let scratch = Scratch::new();
        let error = create(&scripted(&scratch, "kill -9 $$"), &scratch).await.unwrap_err().to_string();
        assert!(error.ends_with("runtime create died of signal 9, and left no message in its log"), "{error}");
        let error = create(&scripted(&scratch, "exit 0"), &scratch).await.unwrap_err().to_string();
        assert!(error.starts_with("read the pid file "), "{error}");
        let gone = scripted(&scratch, "");
        fs::remove_file(&gone.command.path).unwrap();
        let error = create(&gone, &scratch).await.unwrap_err().to_string();
        assert!(error.starts_with("run ") && error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_runtime_that_hangs_is_killed_with_what_it_left_behind() {
        let _alone = PROGRAMS.lock().await;
        let scratch = Scratch::new();
        let script = "setsid sleep 1000 & echo $! > $(dirname $log)/stray; exec sleep 1000";
        let runtime = scripted(&scratch, script).with_deadline(Duration::from_millis(300));
        let error = create(&runtime, &scratch).await.unwrap_err().to_string();
        assert!(error.ends_with("create did not answer within 0.3 s and was killed"), "{error}");
        let stray = fs::read_to_string(scratch.path().join("stray")).unwrap().trim().to_owned();
        let status = || fs::read_to_string(format!("/proc/{stray}/stat")).unwrap_or_default();
        eventually("the stray is dead", || status().is_empty() || status().contains(") Z ")).await;
    }
}
