//! podman of a user without privileges: it enters a user namespace of its own, and runs the runtime as root of that.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use hshim_tests::scratch::Scratch;
use hshim_tests::{programs, rootfs, skip, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::runtimes;

const USER: &str = "games";
const IMAGE: &str = "localhost/hshim-test:1";

/// A podman of the user's own.
struct Podman {
    scratch: Scratch,
    runtime: PathBuf,
}

impl Podman {
    fn new(runtime: &std::path::Path) -> Self {
        let scratch = Scratch::new();
        let path = |name: &str| scratch.join(name);
        for dir in ["home/.config/containers", "xdg", "image", "programs"] {
            fs::create_dir_all(path(dir)).unwrap();
        }
        rootfs::make(&path("image"));
        let config = "[containers]\nnetns = \"none\"\n[engine]\nevents_logger = \"file\"\n";
        fs::write(path("containers.conf"), config).unwrap();
        fs::write(path("home/.config/containers/policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
        // Where the user can reach it.
        let runtime = if runtime == programs::hshim() {
            for name in ["hshim", "hshim-enter"] {
                fs::copy(programs::built(name), path("programs").join(name)).unwrap();
            }
            path("programs/hshim")
        } else {
            runtime.to_owned()
        };
        let mut tar = tar::Builder::new(fs::File::create(path("image.tar")).unwrap());
        tar.follow_symlinks(false);
        tar.append_dir_all(".", path("image")).unwrap();
        tar.into_inner().unwrap();
        assert!(Command::new("chown").args(["-hR", USER]).arg(scratch.path()).status().unwrap().success());
        let podman = Self { scratch, runtime };
        podman.ok(&["import", podman.scratch.join("image.tar").to_str().unwrap(), IMAGE]);
        podman
    }

    /// With output in files: a container that runs on keeps none of ours open.
    fn run(&self, args: &[&str]) -> Output {
        let path = |name: &str| self.scratch.join(name);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "podman"]);
        for (flag, dir) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(path(dir));
        }
        // Only one id is mapped, and the image has files of more.
        command.args([
            "--storage-driver=vfs",
            "--storage-opt=vfs.ignore_chown_errors=true",
            "--cgroup-manager=cgroupfs",
            "--runtime",
        ]);
        command.arg(&self.runtime).args(args).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.env("HOME", path("home")).env("XDG_RUNTIME_DIR", path("xdg")).env("CONTAINERS_CONF", path("containers.conf"));
        command.env_remove("USER").env_remove("LOGNAME").env_remove("HSHIM_ROOT");
        let file = |name: &str| fs::File::create(path(name)).unwrap();
        let status = command.stdout(file("stdout")).stderr(file("stderr")).status().unwrap();
        Output { status, stdout: fs::read(path("stdout")).unwrap(), stderr: fs::read(path("stderr")).unwrap() }
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: podman {args:?}: {}: {errors}", self.runtime.display(), output.status);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// `podman run`, with limits that a machine inside a machine may set.
    fn run_container(&self, options: &[&str], command: &[&str]) -> Output {
        let first = ["run", "--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000"];
        self.run(&[&first, options, &[IMAGE], command].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.run(&["rm", "--all", "--force", "--time=0"]));
        // Holds podman's namespaces, and would for ever.
        let pause = fs::read_to_string(self.scratch.join("tmp/pause.pid")).ok();
        let pause = pause.or_else(|| fs::read_to_string(self.scratch.join("xdg/libpod/tmp/pause.pid")).ok());
        if let Some(pid) = pause.and_then(|pid| pid.trim().parse().ok())
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
        {
            println!("end podman's pause process {pid}: {error}");
        }
    }
}

/// Runs a check for each runtime.
fn for_each_runtime(check: fn(&Podman)) {
    let why_not =
        skip::why_no_containers().or_else(|| programs::installed("podman").is_none().then_some("no podman")).or_else(|| {
            fs::read_to_string("/proc/sys/user/max_user_namespaces")
                .is_ok_and(|max| max.trim() == "0")
                .then_some("no user namespaces")
        });
    if let Some(why) = why_not {
        hshim_tests::skip!("{why}");
    }
    for runtime in runtimes() {
        println!("with {}", runtime.display());
        check(&Podman::new(&runtime));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_hands_on_output_and_exit_code_as_root_of_the_users_namespace() {
    for_each_runtime(|podman| {
        let output = podman.run_container(&["--rm"], &["sh", "-c", "id -u; cat /proc/self/uid_map; exit 42"]);
        let out = text(&output.stdout);
        let words: Vec<&str> = out.split_whitespace().collect();
        assert_eq!((words, output.status.code()), (vec!["0", "0", "5", "1"], Some(42)), "{}", text(&output.stderr));
        let missing = podman.run_container(&["--rm"], &["no-such-command"]);
        assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    });
}

#[test]
fn a_users_container_is_entered_logged_stopped_and_removed() {
    for_each_runtime(|podman| {
        let script = "trap 'exit 9' TERM; echo hello; while :; do sleep 0.05; done";
        let started = podman.run_container(&["-d", "--name=c1"], &["sh", "-c", script]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        wait::until("it speaks", || podman.ok(&["logs", "c1"]) == "hello");
        assert_eq!(podman.ok(&["exec", "c1", "id", "-u"]), "0");
        assert_eq!(podman.run(&["exec", "c1", "sh", "-c", "exit 5"]).status.code(), Some(5));
        assert!(podman.ok(&["exec", "--tty", "c1", "tty"]).starts_with("/dev/pts/"));
        podman.ok(&["stop", "--time=30", "c1"]);
        assert_eq!(podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "c1"]), "9");
        podman.ok(&["rm", "c1"]);
        assert_eq!(podman.ok(&["ps", "--all", "--quiet"]), "");
    });
}
