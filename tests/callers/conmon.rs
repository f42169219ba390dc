//! conmon alone, with the flags that podman and CRI-O give it: what it needs of a runtime, and what its own callers see of that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, skip, wait};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, recv, socket};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::fd::{AsRawFd, OwnedFd};

use super::runtimes;

/// First byte of a packet on the attach socket: which stream the rest is of.
const STDOUT: u8 = 2;

/// One container that conmon looks after.
struct Monitored {
    bundle: Bundle,
}

impl Monitored {
    /// A container that runs this script, of one of the runtimes; conmon is not started yet.
    fn new(runtime: &Path, script: &str) -> Self {
        let mut bundle = Bundle::new(script);
        runtime.clone_into(&mut bundle.program);
        for dir in ["exits", "persist", "sockets", "exec-exits"] {
            fs::create_dir(bundle.scratch.join(dir)).unwrap();
        }
        Self { bundle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bundle.scratch.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs conmon with these flags beside those of every use, until it has gone into the background. What it tells its caller goes to
    /// the file `sync`, as it would to podman's pipe.
    fn conmon(&self, uuid: &str, sync: &str, flags: &[&str]) {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec conmon "$@" 3>"$SYNC""#, "sh"]).env("SYNC", self.path(sync)).env("_OCI_SYNCPIPE", "3");
        command.args(["--api-version", "1", "--cid", self.bundle.id(), "--cuuid", uuid, "--runtime"]).arg(&self.bundle.program);
        command.arg("--bundle").arg(self.bundle.dir()).arg("--socket-dir-path").arg(self.path("sockets"));
        for argument in ["--root", &file("state"), "--log-format=json", "--log", &file("runtime.log")] {
            command.arg("--runtime-arg").arg(argument);
        }
        command.args(flags).current_dir(self.bundle.dir()).stdin(std::process::Stdio::null());
        let output = |name| fs::File::create(self.path(name)).unwrap();
        let status = command.stdout(output("conmon.out")).stderr(output("conmon.err")).status().unwrap();
        assert!(status.success(), "conmon: {status}: {}", self.read("conmon.err"));
    }

    /// Has conmon create the container, with what `create` of podman passes and these flags.
    fn create(&self, flags: &[&str]) {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let (pid, log, exits, persist) = (file("pid"), format!("k8s-file:{}", file("log")), file("exits"), file("persist"));
        let conmon = file("conmon.pid");
        let mut all = vec!["--container-pidfile", &pid, "--conmon-pidfile", &conmon, "--log-path", &log];
        all.extend(["--exit-dir", &exits, "--persist-dir", &persist]);
        all.extend(flags);
        self.conmon("u1", "sync", &all);
    }

    /// What conmon told its caller.
    fn told(&self, sync: &str) -> Value {
        wait::for_value("conmon tells its caller", || serde_json::from_str(self.read(sync).lines().next()?).ok())
    }

    /// Has conmon create the container, and starts that by the runtime.
    fn start(&self, flags: &[&str]) {
        self.create(flags);
        assert!(self.told("sync")["data"].as_i64().unwrap() > 0, "{}: {}", self.read("sync"), self.read("runtime.log"));
        self.bundle.ok(&["start", self.bundle.id()]);
    }

    /// What conmon wrote into a directory of exits; it goes when that is done.
    fn exit(&self, dir: &str) -> String {
        let file = self.path(dir).join(self.bundle.id());
        wait::for_value("conmon writes the exit file", || fs::read_to_string(&file).ok().filter(|code| !code.is_empty()))
    }

    /// The lines of the log without their times: `STREAM TAG TEXT`.
    fn lines(&self) -> Vec<String> {
        let log = self.read("log");
        log.lines().filter_map(|line| line.split_once(' ')).map(|(_time, rest)| rest.to_owned()).collect()
    }

    /// Connects to the container's attach socket.
    fn attach(&self) -> OwnedFd {
        let path = self.path("sockets").join("u1/attach");
        wait::until("conmon listens", || path.exists());
        let attached = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(attached.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        attached
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        drop(self.bundle.command(&["delete", "--force", self.bundle.id()]).status());
        // It ends with its container.
        let Ok(pid) = self.read("conmon.pid").trim().parse() else { return };
        let lives = || kill(Pid::from_raw(pid), None::<Signal>).is_ok();
        let end = std::time::Instant::now() + wait::PATIENCE;
        while lives() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        if lives() {
            println!("conmon {pid} outlives its container");
        }
    }
}

/// Runs a check for each runtime.
fn for_each_runtime(check: fn(&Path)) {
    if let Some(why) = skip::why_no_containers().or_else(|| programs::installed("conmon").is_none().then_some("no conmon")) {
        hshim_tests::skip!("{why}");
    }
    for runtime in runtimes() {
        println!("with {}", runtime.display());
        check(&runtime);
    }
}

#[test]
fn a_container_is_created_by_conmon_and_started_by_the_runtime() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "echo out; echo err >&2; printf partial; exit 7");
        container.create(&[]);
        let pid = container.told("sync")["data"].as_i64().unwrap();
        assert_eq!(container.read("pid").trim(), pid.to_string());
        assert_eq!((container.bundle.status().as_str(), container.bundle.pid().into()), ("created", pid));
        assert!(container.lines().is_empty());
        container.bundle.ok(&["start", container.bundle.id()]);
        assert_eq!(container.exit("exits"), "7");
        wait::until("the log is whole", || container.lines().len() >= 3);
        let mut lines = container.lines();
        // Two streams: only the order within one is known.
        lines.sort();
        assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P partial"]);
        wait::until("it is stopped", || container.bundle.status() == "stopped");
    });
}

#[test]
fn a_signal_of_the_runtime_is_an_exit_code_above_128() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "sleep 1000");
        container.start(&[]);
        container.bundle.ok(&["kill", container.bundle.id(), "KILL"]);
        assert_eq!(container.exit("exits"), "137");
        container.bundle.ok(&["delete", container.bundle.id()]);
        assert_eq!(container.bundle.status(), "absent");
    });
}

#[test]
fn the_exit_command_runs_when_the_container_has_ended() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "exit 3");
        let done = container.path("cleaned-up");
        // As podman's `container cleanup` does: the runtime deletes what has ended.
        let script = format!(
            "{} --root {} delete {} && echo done > {}",
            runtime.display(),
            container.bundle.root().display(),
            container.bundle.id(),
            done.display()
        );
        let flags = ["--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg", &script];
        container.start(&flags);
        wait::until("the exit command has run", || fs::read_to_string(&done).is_ok_and(|text| text == "done\n"));
        assert_eq!((container.exit("exits").as_str(), container.bundle.status().as_str()), ("3", "absent"));
    });
}

#[test]
fn an_error_of_the_runtime_reaches_the_caller_of_conmon() {
    for_each_runtime(|runtime| {
        let mut container = Monitored::new(runtime, "true");
        container.bundle.edit(|config| config["process"]["args"] = json!(["no-such-command"]));
        container.create_failing();
        let told = container.told("sync");
        assert!(told["data"].as_i64().unwrap() < 0, "{told}");
        // podman reads the last error of the log, in logrus' shape.
        let log = container.read("runtime.log");
        let mut errors = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = errors.rfind(|line| line["level"] == "error").unwrap();
        let message = last["msg"].as_str().unwrap();
        assert!(message.contains(r#"exec: "no-such-command": executable file not found in $PATH"#), "{message}");
        assert_eq!(container.bundle.status(), "absent");
    });
}

impl Monitored {
    /// conmon itself succeeds in telling that its runtime failed; its own exit code is of no matter.
    fn create_failing(&self) {
        let log = format!("k8s-file:{}", self.path("log").display());
        self.conmon("u1", "sync", &["--log-path", &log]);
    }
}

#[test]
fn a_terminal_goes_through_conmon_and_can_be_resized() {
    for_each_runtime(|runtime| {
        let script = "trap 'stty size' WINCH; tty; stty size; while :; do sleep 0.05; done";
        let mut container = Monitored::new(runtime, script);
        container.bundle.edit(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({"height": 24, "width": 80});
        });
        container.start(&["--terminal"]);
        wait::until("it tells its terminal", || container.lines().len() >= 2);
        assert_eq!(container.lines()[..2], ["stdout F /dev/pts/0", "stdout F 24 80"]);
        // Kind of message, height, width: podman resizes by this.
        fs::write(container.bundle.dir().join("ctl"), "1 40 120\n").unwrap();
        wait::until("it has the new size", || container.lines().iter().any(|line| line == "stdout F 40 120"));
    });
}

#[test]
fn what_is_attached_reads_the_output_and_writes_the_input() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "read line; echo \"got $line\"; read line");
        container.create(&["--stdin", "--leave-stdin-open"]);
        container.told("sync");
        let attached = container.attach();
        container.bundle.ok(&["start", container.bundle.id()]);
        nix::unistd::write(&attached, b"hello\n").unwrap();
        let mut packet = [0; 8192];
        let length = recv(attached.as_raw_fd(), &mut packet, nix::sys::socket::MsgFlags::empty()).unwrap();
        assert_eq!(packet[..length], [&[STDOUT], &b"got hello\n"[..]].concat());
    });
}

#[test]
fn a_command_is_executed_in_the_container_by_a_conmon_of_its_own() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "sleep 1000");
        container.start(&[]);
        let process = json!({"user": {"uid": 7, "gid": 8}, "args": ["sh", "-c", "echo $A $(id -u); exit 5"], "cwd": "/tmp",
            "env": ["PATH=/bin", "A=1"]});
        let (file, log) = (container.path("process.json"), container.path("exec.log"));
        fs::write(&file, process.to_string()).unwrap();
        let (pid, exits) = (container.path("exec.pid"), container.path("exec-exits"));
        let log_flag = format!("k8s-file:{}", log.display());
        let flags = ["--exec", "--exec-process-spec", file.to_str().unwrap(), "--container-pidfile", pid.to_str().unwrap()];
        let flags = [&flags[..], &["--log-path", &log_flag, "--exit-dir", exits.to_str().unwrap()]].concat();
        container.conmon("u2", "exec-sync", &flags);
        assert_eq!(container.exit("exec-exits"), "5");
        assert!(fs::read_to_string(pid).unwrap().trim().parse::<i32>().unwrap() > 0);
        wait::until("the log is whole", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with("stdout F 1 7\n")));
        assert_eq!(container.bundle.status(), "running");
    });
}

#[test]
fn a_command_that_is_not_there_is_an_error_of_the_exec() {
    for_each_runtime(|runtime| {
        let container = Monitored::new(runtime, "sleep 1000");
        container.start(&[]);
        let file = container.path("process.json");
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["no-such-command"], "cwd": "/", "env": ["PATH=/bin"]});
        fs::write(&file, process.to_string()).unwrap();
        let log = format!("k8s-file:{}", container.path("exec.log").display());
        container.conmon("u2", "exec-sync", &["--exec", "--exec-process-spec", file.to_str().unwrap(), "--log-path", &log]);
        let told = container.told("exec-sync");
        assert!(told["data"].as_i64().unwrap() < 0, "{told}");
        assert!(container.read("runtime.log").contains("executable file not found in $PATH"));
    });
}

#[test]
fn a_container_that_takes_too_much_memory_leaves_the_oom_file() {
    if !Path::new("/sys/fs/cgroup/memory").exists() {
        hshim_tests::skip!("no memory controller of cgroup v1 here");
    }
    for_each_runtime(|runtime| {
        let mut container = Monitored::new(runtime, "x=x; while :; do x=$x$x; done");
        container.bundle.edit(|config| config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20}));
        container.start(&[]);
        assert_eq!(container.exit("exits"), "137");
        assert!(container.path("persist/oom").exists());
    });
}
