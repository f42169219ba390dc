//! A running container for the tests and the bench, made by a runtime that is not ours, and one command in it.
#![allow(dead_code, reason = "the tests and the bench use different parts")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hshim_enter::{
    Capabilities, CgroupEntry, ContainerCgroup, EnterProgram, Entered, Entry, Identity, Leaf, Report, Seccomp, Shape, Target,
};
use serde_json::{Value, json};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A running container, removed when dropped.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) directory: PathBuf,
    pub(crate) target: Target,
    pub(crate) cgroup: ContainerCgroup,
    tasks: Vec<OwnedFd>,
    program: EnterProgram,
    runtime: &'static str,
}

/// Standard streams of a command.
#[derive(Clone, Copy)]
pub(crate) struct Streams<'a> {
    pub(crate) input: BorrowedFd<'a>,
    pub(crate) output: BorrowedFd<'a>,
    pub(crate) terminal: bool,
}

/// All of the container's file system but busybox and its names.
const APPLETS: [&str; 14] =
    ["sh", "cat", "sleep", "true", "false", "id", "kill", "setsid", "grep", "ls", "readlink", "touch", "ps", "tty"];

pub(crate) fn skipped() -> bool {
    let missing = ["/usr/sbin/runc", "/bin/busybox"].into_iter().find(|path| !Path::new(path).exists());
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if let Some(path) = missing {
        eprintln!("skipped: {path} is not installed");
    } else if !root {
        eprintln!("skipped: not root");
    }
    missing.is_some() || !root
}

impl Container {
    /// A container of runc's whose pid 1 sleeps, and never reaps.
    pub(crate) fn start(change: impl FnOnce(&mut Value)) -> Self {
        Self::start_by("runc", change)
    }

    /// The same of another runtime's.
    pub(crate) fn start_by(runtime: &'static str, change: impl FnOnce(&mut Value)) -> Self {
        let id = format!("enter-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&id);
        fs::create_dir_all(directory.join("rootfs/bin")).unwrap();
        fs::create_dir_all(directory.join("rootfs/tmp")).unwrap();
        fs::copy("/bin/busybox", directory.join("rootfs/bin/busybox")).unwrap();
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", directory.join("rootfs/bin").join(applet)).unwrap();
        }
        fs::write(directory.join("rootfs/bin/data"), "not a program").unwrap();
        run(Command::new("runc").arg("spec").current_dir(&directory));
        let mut spec: Value = serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap();
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["root"]["readonly"] = json!(false);
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        change(&mut spec);
        fs::write(directory.join("config.json"), spec.to_string()).unwrap();
        let mut create = Command::new(runtime);
        create.args(["--root", directory.join("state").to_str().unwrap(), "run", "-d", "--pid-file"]);
        run(create.arg(directory.join("pid")).arg(&id).current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()));
        let pid = fs::read_to_string(directory.join("pid")).unwrap().parse().unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_hshim-enter"));
        let cgroup = ContainerCgroup::of_pid(pid).unwrap();
        Self {
            target: Target::open(pid).unwrap(),
            tasks: cgroup.open_v1_tasks().unwrap(),
            cgroup,
            program: EnterProgram::load_from(built).unwrap(),
            runtime,
            id,
            directory,
        }
    }

    /// The runtime's own command line for this container.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(self.directory.join("state")).arg(verb);
        command
    }

    pub(crate) fn spawn(
        &self,
        shape: Shape,
        identity: &Identity,
        argv: &[&str],
        leaf: Option<&Leaf>,
        seconds: f64,
    ) -> (Entered, OwnedFd) {
        let null = File::open("/dev/null").unwrap();
        let (read, write) = pipe();
        let streams = Streams { input: null.as_fd(), output: write.as_fd(), terminal: false };
        (self.spawn_on(shape, identity, argv, leaf, seconds, streams), read)
    }

    pub(crate) fn spawn_on(
        &self,
        shape: Shape,
        identity: &Identity,
        argv: &[&str],
        leaf: Option<&Leaf>,
        seconds: f64,
        streams: Streams<'_>,
    ) -> Entered {
        let argv: Vec<CString> = argv.iter().map(|argument| CString::new(*argument).unwrap()).collect();
        let tasks: Vec<BorrowedFd<'_>> = self.tasks.iter().map(AsFd::as_fd).collect();
        let entry = Entry {
            shape,
            identity,
            argv: &argv,
            target: &self.target,
            cgroup: CgroupEntry { leaf: leaf.map(Leaf::directory), kill: leaf.and_then(Leaf::kill_file), v1_tasks: &tasks },
            stdin: streams.input,
            stdout: streams.output,
            stderr: streams.output,
            timeout: (shape == Shape::Probe).then(|| Duration::from_secs_f64(seconds)),
            terminal: streams.terminal,
            preserve_fds: 0,
        };
        self.program.spawn(&entry).unwrap()
    }

    pub(crate) fn leaf(&self) -> Leaf {
        Leaf::create(&self.cgroup, NEXT.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    pub(crate) fn probe_for(&self, identity: &Identity, argv: &[&str], seconds: f64) -> (Report, String) {
        let leaf = self.leaf();
        let (entered, output) = self.spawn(Shape::Probe, identity, argv, Some(&leaf), seconds);
        let report = Report::read(&entered.report).unwrap();
        reap(entered.pid);
        let text = drain(&output);
        leaf.remove().expect("the leaf is empty once the report is there");
        (report, text)
    }

    pub(crate) fn probe(&self, argv: &[&str]) -> (Report, String) {
        self.probe_for(&identity(), argv, 10.0)
    }

    /// The exit code of an exec and its output.
    pub(crate) fn exec(&self, identity: &Identity, argv: &[&str]) -> (Report, Option<i32>, String) {
        let (entered, output) = self.spawn(Shape::Exec, identity, argv, None, 0.0);
        let report = Report::read(&entered.report).unwrap();
        reap(entered.pid);
        let code = match report {
            Report::Running { pid } | Report::CouldNotExec { pid, .. } | Report::CouldNotEnter { pid, .. } if pid != 0 => {
                Some(reap(pid))
            }
            _ => None,
        };
        (report, code, drain(&output))
    }

    /// Zombies whose parent is the container's pid 1.
    pub(crate) fn zombies(&self) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.target.pid());
        fs::read_to_string(children).unwrap().split_whitespace().count()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Without a pid namespace runc gives up when init is not dead at once.
        let mut delete = self.command("delete");
        delete.args(["-f", &self.id]).stderr(Stdio::null());
        (0..20).any(|_| delete.status().unwrap().success());
        if let Some(parent) = self.cgroup.leaf_parent() {
            fs::remove_dir(parent).ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

pub(crate) fn identity() -> Identity {
    Identity {
        capabilities: Capabilities { bounding: 0x20, effective: 0x20, inheritable: 0, permitted: 0x20, ambient: 0 },
        no_new_privs: true,
        cwd: c"/".to_owned(),
        env: vec![c"PATH=/nowhere:/bin".to_owned(), c"A=1".to_owned()],
        ..Identity::default()
    }
}

pub(crate) fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), write.into())
}

pub(crate) fn reap(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` has room for the answer.
    assert!(unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) } > 0, "{pid} is our child");
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// What is in the pipe now; somebody may still hold it open.
pub(crate) fn drain(from: &OwnedFd) -> String {
    // SAFETY: takes integers only.
    unsafe { libc::fcntl(from.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let mut bytes = Vec::new();
    let mut file = File::from(from.try_clone().unwrap());
    match file.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
    }
    String::from_utf8(bytes).unwrap()
}

/// A filter that allows everything: what counts is that it is in force.
pub(crate) fn allow_everything() -> Seccomp {
    Seccomp { flags: 0, program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f] }
}

pub(crate) fn exited(code: i32) -> Report {
    Report::Exited { code, leftovers: false }
}

/// `struct sock_filter`: code, jump if true, jump if false, operand.
pub(crate) fn instruction((code, yes, no, operand): (u16, u8, u8, u32)) -> Vec<u8> {
    [&code.to_ne_bytes()[..], &[yes, no], &operand.to_ne_bytes()].concat()
}
