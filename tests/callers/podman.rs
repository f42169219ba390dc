//! podman and conmon: `--runtime`, in directories of their own, without a network.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use hshim_tests::scratch::Scratch;
use hshim_tests::{programs, rootfs, skip, wait};

use super::runtimes;

const IMAGE: &str = "localhost/hshim-test:1";

/// A podman of one's own.
struct Podman {
    scratch: Scratch,
    runtime: PathBuf,
}

impl Podman {
    /// With the image of the tests.
    fn new(runtime: PathBuf) -> Self {
        let podman = Self { scratch: Scratch::new(), runtime };
        let config = "[containers]\nnetns = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(podman.scratch.join("containers.conf"), config).unwrap();
        fs::write(podman.scratch.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
        let root = podman.scratch.join("image");
        fs::create_dir(&root).unwrap();
        rootfs::make(&root);
        let archive = fs::File::create(podman.scratch.join("image.tar")).unwrap();
        let mut tar = tar::Builder::new(archive);
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &root).unwrap();
        tar.into_inner().unwrap();
        podman.ok(&["import", podman.scratch.join("image.tar").to_str().unwrap(), IMAGE]);
        podman
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.scratch.join("containers.conf"));
        for (flag, dir) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.scratch.join(dir));
        }
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime"]).arg(&self.runtime);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// With output in files: a container that runs on keeps none of ours open.
    fn run(&self, args: &[&str]) -> Output {
        let (out, err) = (self.scratch.join("stdout"), self.scratch.join("stderr"));
        let file = |path| fs::File::create(path).unwrap();
        let status = self.command(args).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        Output { status, stdout: fs::read(out).unwrap(), stderr: fs::read(err).unwrap() }
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: podman {args:?}: {}: {errors}", self.runtime.display(), output.status);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// `podman run`, with limits that a machine inside a machine may set.
    fn run_container(&self, options: &[&str], command: &[&str]) -> Output {
        let parent = format!("/hshim-tests-{}", self.scratch.name());
        let mut args =
            vec!["run", "--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000", "--cgroup-parent", &parent];
        args.extend(options);
        args.push(IMAGE);
        args.extend(command);
        self.run(&args)
    }

    /// `podman run -d --name NAME`.
    fn detach(&self, name: &str, command: &[&str]) {
        let output = self.run_container(&["-d", "--name", name], command);
        assert!(output.status.success(), "{}: {}", self.runtime.display(), String::from_utf8_lossy(&output.stderr));
    }

    fn status(&self, name: &str) -> String {
        self.ok(&["inspect", "--format", "{{.State.Status}}", name])
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.run(&["rm", "--all", "--force", "--time=0"]));
        let parent = format!("hshim-tests-{}", self.scratch.name());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // Not in every hierarchy.
            drop(fs::remove_dir(hierarchy.path().join(&parent)));
        }
    }
}

/// Why podman cannot be asked here, if so.
fn why_not() -> Option<&'static str> {
    skip::why_no_containers().or_else(|| programs::installed("podman").is_none().then_some("no podman"))
}

/// Runs a check for each runtime.
fn for_each_runtime(check: fn(&Podman)) {
    if let Some(why) = why_not() {
        hshim_tests::skip!("{why}");
    }
    for runtime in runtimes() {
        check(&Podman::new(runtime));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_hands_on_output_and_exit_code() {
    for_each_runtime(|podman| {
        let output = podman.run_container(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 42"]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(42), "out\n"), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("err\n"));
    });
}

#[test]
fn a_missing_command_is_127_and_one_that_may_not_run_126() {
    for_each_runtime(|podman| {
        for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
            let output = podman.run_container(&["--rm"], &[command]);
            assert_eq!(output.status.code(), Some(code), "{}: {command}: {}", podman.runtime.display(), text(&output.stderr));
        }
    });
}

#[test]
fn the_users_choices_reach_the_process() {
    for_each_runtime(|podman| {
        let options = [
            "--rm",
            "--user=1000:1001",
            "--workdir=/tmp",
            "--env=A=1",
            "--hostname=named",
            "--cap-drop=all",
            "--read-only",
            "--read-only-tmpfs=false",
        ];
        let script = "id -u; id -g; pwd; echo $A; hostname; grep CapEff /proc/self/status; touch /x 2>&1 | grep -c Read-only";
        let output = podman.run_container(&options, &["sh", "-c", script]);
        let expected = "1000\n1001\n/tmp\n1\nnamed\nCapEff:\t0000000000000000\n1\n";
        assert_eq!(text(&output.stdout), expected, "{}: {}", podman.runtime.display(), text(&output.stderr));
    });
}

#[test]
fn a_read_only_container_has_its_writable_directories() {
    for_each_runtime(|podman| {
        let script = "touch /x 2>&1 | grep -c Read-only; for d in /tmp /run /var/tmp /dev/shm; do touch $d/x || echo $d; done; \
                      grep -c ' /run tmpfs' /proc/mounts; ls /run; stat -c %a /tmp";
        let output = podman.run_container(&["--rm", "--read-only"], &["sh", "-c", script]);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{}: {}", podman.runtime.display(), text(&output.stderr));
        assert!(said.starts_with("1\n1\n") && said.ends_with("1777\n"), "{}: {said}", podman.runtime.display());
        let code = podman.run_container(&["--rm", "--read-only"], &["no-such-command"]).status.code();
        assert_eq!(code, Some(127), "{}", podman.runtime.display());
    });
}

#[test]
fn a_tmpfs_begins_with_what_the_image_has() {
    for_each_runtime(|podman| {
        let options = ["--rm", "--tmpfs=/etc", "--workdir=/etc"];
        let output =
            podman.run_container(&options, &["sh", "-c", "pwd; grep -c root passwd; grep -c ' /etc tmpfs' /proc/mounts"]);
        assert_eq!(text(&output.stdout), "/etc\n1\n1\n", "{}: {}", podman.runtime.display(), text(&output.stderr));
    });
}

#[test]
fn a_container_is_entered_logged_stopped_and_removed() {
    for_each_runtime(|podman| {
        podman.detach("c1", &["sh", "-c", "trap 'exit 9' TERM; echo hello; while :; do sleep 0.05; done"]);
        wait::until("it speaks", || podman.ok(&["logs", "c1"]) == "hello");
        assert_eq!(podman.status("c1"), "running");
        assert_eq!(podman.ok(&["exec", "--env", "B=2", "--user", "7", "c1", "sh", "-c", "id -u; echo $B"]), "7\n2");
        assert_eq!(podman.run(&["exec", "c1", "sh", "-c", "exit 5"]).status.code(), Some(5));
        assert_eq!(podman.run(&["exec", "c1", "no-such-command"]).status.code(), Some(127));
        assert!(podman.ok(&["top", "c1", "pid", "args"]).contains("hello"));
        podman.ok(&["stop", "--time=30", "c1"]);
        assert_eq!(podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "c1"]), "9");
        podman.ok(&["start", "c1"]);
        wait::until("it speaks again", || podman.ok(&["logs", "c1"]) == "hello\nhello");
        podman.ok(&["rm", "--force", "--time=0", "c1"]);
        assert_eq!(podman.ok(&["ps", "--all", "--quiet"]), "");
    });
}

#[test]
fn a_container_is_killed_paused_and_resumed() {
    for_each_runtime(|podman| {
        podman.detach("c1", &["sleep", "1000"]);
        podman.ok(&["pause", "c1"]);
        assert_eq!(podman.status("c1"), "paused");
        podman.ok(&["unpause", "c1"]);
        assert_eq!(podman.status("c1"), "running");
        podman.ok(&["kill", "--signal=KILL", "c1"]);
        assert_eq!(podman.ok(&["wait", "c1"]), "137");
    });
}

#[test]
fn a_terminal_is_a_terminal() {
    for_each_runtime(|podman| {
        let output = podman.run_container(&["--rm", "--tty"], &["sh", "-c", "tty; [ -t 1 ] && echo yes"]);
        assert!(text(&output.stdout).contains("/dev/pts/0\r\nyes"), "{}: {:?}", podman.runtime.display(), text(&output.stdout));
        podman.detach("c1", &["sleep", "1000"]);
        assert!(podman.ok(&["exec", "--tty", "c1", "tty"]).starts_with("/dev/pts/"));
    });
}

#[test]
fn limits_reach_the_kernel() {
    for_each_runtime(|podman| {
        if !std::path::Path::new("/sys/fs/cgroup/pids").exists() {
            hshim_tests::skip!("no pids controller of cgroup v1 here");
        }
        let output = podman.run_container(
            &["--rm", "--pids-limit=33", "--cgroupns=host", "--volume=/sys/fs/cgroup:/host:ro"],
            &["sh", "-c", "cat /host/pids$(grep ':pids:' /proc/self/cgroup | cut -d: -f3)/pids.max"],
        );
        assert_eq!(text(&output.stdout), "33\n", "{}: {}", podman.runtime.display(), text(&output.stderr));
    });
}

#[test]
fn init_exec_and_health_checks_of_podman_work() {
    for_each_runtime(|podman| {
        podman.run_container(
            &["-d", "--name=c1", "--health-cmd=test -e /tmp/well", "--health-interval=disable"],
            &["sleep", "1000"],
        );
        assert_ne!(podman.run(&["healthcheck", "run", "c1"]).status.code(), Some(0));
        podman.ok(&["exec", "c1", "touch", "/tmp/well"]);
        podman.ok(&["healthcheck", "run", "c1"]);
    });
}
