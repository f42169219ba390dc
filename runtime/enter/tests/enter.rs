//! The program against real containers, made by Debian's runc from its static busybox.
//!
//! Needs root, runc and busybox-static; without them each test says so and passes as skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_arguments,
    reason = "a test fails by panicking"
)]
#![allow(unsafe_code, reason = "waitid and kill of our own children")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hshim_enter::{
    Capabilities, CgroupEntry, ContainerCgroup, EnterProgram, Entered, Entry, Identity, Leaf, Report, Rlimit, Seccomp, Shape,
    Target,
};
use serde_json::{Value, json};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A running container of runc's, removed when dropped.
struct Container {
    id: String,
    directory: PathBuf,
    target: Target,
    cgroup: ContainerCgroup,
    program: EnterProgram,
}

fn skipped() -> bool {
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
    /// A container whose pid 1 sleeps, and never reaps.
    fn start(change: impl FnOnce(&mut Value)) -> Self {
        let id = format!("enter-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&id);
        fs::create_dir_all(directory.join("rootfs/bin")).unwrap();
        fs::create_dir_all(directory.join("rootfs/tmp")).unwrap();
        fs::copy("/bin/busybox", directory.join("rootfs/bin/busybox")).unwrap();
        for applet in
            ["sh", "cat", "sleep", "true", "false", "id", "kill", "setsid", "grep", "ls", "readlink", "touch", "ps", "tty"]
        {
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
        let mut runc = Command::new("runc");
        runc.args(["--root", directory.join("state").to_str().unwrap(), "run", "-d", "--pid-file"]);
        run(runc.arg(directory.join("pid")).arg(&id).current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()));
        let pid = fs::read_to_string(directory.join("pid")).unwrap().parse().unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_hshim-enter"));
        Self {
            target: Target::open(pid).unwrap(),
            cgroup: ContainerCgroup::of_pid(pid).unwrap(),
            program: EnterProgram::load_from(built).unwrap(),
            id,
            directory,
        }
    }

    fn spawn(&self, shape: Shape, identity: &Identity, argv: &[&str], leaf: Option<&Leaf>, seconds: f64) -> (Entered, OwnedFd) {
        let argv: Vec<CString> = argv.iter().map(|argument| CString::new(*argument).unwrap()).collect();
        let tasks = self.cgroup.open_v1_tasks().unwrap();
        let tasks: Vec<BorrowedFd<'_>> = tasks.iter().map(AsFd::as_fd).collect();
        let null = File::open("/dev/null").unwrap();
        let (read, write) = pipe();
        let entry = Entry {
            shape,
            identity,
            argv: &argv,
            target: &self.target,
            cgroup: CgroupEntry { leaf: leaf.map(Leaf::directory), kill: leaf.and_then(Leaf::kill_file), v1_tasks: &tasks },
            stdin: null.as_fd(),
            stdout: write.as_fd(),
            stderr: write.as_fd(),
            timeout: (shape == Shape::Probe).then(|| Duration::from_secs_f64(seconds)),
            terminal: false,
            preserve_fds: 0,
        };
        (self.program.spawn(&entry).unwrap(), read)
    }

    fn leaf(&self) -> Leaf {
        Leaf::create(&self.cgroup, NEXT.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    fn probe_for(&self, identity: &Identity, argv: &[&str], seconds: f64) -> (Report, String) {
        let leaf = self.leaf();
        let (entered, output) = self.spawn(Shape::Probe, identity, argv, Some(&leaf), seconds);
        let report = Report::read(&entered.report).unwrap();
        reap(entered.pid);
        let text = drain(&output);
        leaf.remove().expect("the leaf is empty once the report is there");
        (report, text)
    }

    fn probe(&self, argv: &[&str]) -> (Report, String) {
        self.probe_for(&identity(), argv, 10.0)
    }

    /// The exit code of an exec and its output.
    fn exec(&self, identity: &Identity, argv: &[&str]) -> (Report, Option<i32>, String) {
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
    fn zombies(&self) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.target.pid());
        fs::read_to_string(children).unwrap().split_whitespace().count()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let state = self.directory.join("state");
        Command::new("runc").args(["--root", state.to_str().unwrap(), "delete", "-f", &self.id]).status().unwrap();
        if let Some(parent) = self.cgroup.leaf_parent() {
            fs::remove_dir(parent).ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

fn identity() -> Identity {
    Identity {
        capabilities: Capabilities { bounding: 0x20, effective: 0x20, inheritable: 0, permitted: 0x20, ambient: 0 },
        no_new_privs: true,
        cwd: c"/".to_owned(),
        env: vec![c"PATH=/nowhere:/bin".to_owned(), c"A=1".to_owned()],
        ..Identity::default()
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), write.into())
}

fn reap(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` has room for the answer.
    assert!(unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) } > 0, "{pid} is our child");
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// What is in the pipe now; somebody may still hold it open.
fn drain(from: &OwnedFd) -> String {
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

fn exited(code: i32) -> Report {
    Report::Exited { code, leftovers: false }
}

#[test]
fn a_probe_tells_exit_codes_signals_missing_and_unexecutable_commands_apart() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    assert_eq!(container.probe(&["true"]).0, exited(0));
    assert_eq!(container.probe(&["sh", "-c", "exit 7"]).0, exited(7));
    assert_eq!(container.probe(&["sh", "-c", "echo out; echo err >&2; exit 1"]), (exited(1), "out\nerr\n".to_owned()));
    assert_eq!(container.probe(&["sh", "-c", "kill -9 $$"]).0, Report::Signaled { signal: 9, leftovers: false });
    assert_eq!(container.probe(&["missing"]).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
    assert_eq!(container.probe(&["/bin/missing"]).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
    assert_eq!(container.probe(&["data"]).0, Report::CouldNotExec { errno: libc::EACCES, pid: 0 });
    let outside = Identity { cwd: c"/nowhere".to_owned(), ..identity() };
    let report = container.probe_for(&outside, &["true"], 1.0).0;
    assert!(matches!(report, Report::CouldNotEnter { errno: libc::ENOENT, .. }), "{report:?}");
}

#[test]
fn a_command_has_the_containers_namespaces_cgroups_and_exactly_its_identity() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    // Allow everything: what counts is that it is in force.
    let filter = Seccomp { flags: 0, program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f] };
    let identity = Identity {
        uid: 1000,
        gid: 2000,
        groups: vec![3000, 3001],
        capabilities: Capabilities { bounding: 0x400, ..Capabilities::default() },
        seccomp: Some(filter),
        rlimits: vec![Rlimit { resource: libc::RLIMIT_NOFILE.cast_unsigned(), reserved: 0, soft: 100, hard: 200 }],
        umask: Some(0o27),
        cwd: c"/tmp".to_owned(),
        oom_score_adj: Some(600),
        ..identity()
    };
    let script = "grep -E '^(Uid|Gid|Groups|CapBnd|CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp|SigIgn|SigBlk|Umask):' /proc/self/status; \
        cat /proc/self/oom_score_adj; ls /proc/self/fd; pwd; echo $A; ulimit -n; cat /proc/self/cgroup; readlink /proc/self/ns/pid; cat /proc/1/comm";
    let (report, code, text) = container.exec(&identity, &["sh", "-c", script]);
    assert!(matches!(report, Report::Running { .. }), "{report:?}");
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| assert!(lines.iter().any(|other| other == line), "{line} is not in:\n{text}");
    for line in ["Uid: 1000 1000 1000 1000", "Gid: 2000 2000 2000 2000", "Groups: 3000 3001", "CapBnd: 0000000000000400"] {
        has(line);
    }
    for line in
        ["CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2", "SigBlk: 0000000000000000", "SigIgn: 0000000000000000"]
    {
        has(line);
    }
    for line in ["Umask: 0027", "600", "/tmp", "1", "100", "sleep"] {
        has(line);
    }
    assert!(text.contains(&format!("memory:/{}", container.id)) || text.contains(&format!("0::/{}", container.id)), "{text}");
    let theirs = fs::read_link(format!("/proc/{}/ns/pid", container.target.pid())).unwrap();
    has(theirs.to_str().unwrap());
    // 0, 1, 2, and the one that ls reads the directory with.
    assert!(text.contains("\n0\n1\n2\n3\n/tmp"), "descriptors leak: {text}");
}

#[test]
fn a_filter_without_no_new_privs_is_loaded_before_the_privileges_go() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let filter = Seccomp { flags: 0, program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f] };
    let identity = Identity { uid: 7, no_new_privs: false, seccomp: Some(filter), ..identity() };
    let (report, text) =
        container.probe_for(&identity, &["grep", "-E", "^(Seccomp|NoNewPrivs|CapEff):", "/proc/self/status"], 5.0);
    assert_eq!(report, exited(0));
    assert_eq!(text, "CapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
}

#[test]
fn a_probe_that_times_out_leaves_no_process_no_zombie_and_no_cgroup() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let before = container.zombies();
    let bomb = "for i in 1 2 3 4 5 6 7 8; do setsid sh -c 'sleep 1000 & sleep 1000 & wait' & done; sleep 1000";
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(container.probe_for(&identity(), &["sh", "-c", bomb], 0.3).0, Report::TimedOut);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
    assert_eq!(container.zombies(), before, "nothing was left to a pid 1 that never reaps");
    assert_eq!(container.probe(&["true"]).0, exited(0), "a probe after kills");
    assert_eq!(container.exec(&identity(), &["true"]).1, Some(0), "an exec after kills");
}

#[test]
fn what_a_command_leaves_behind_is_killed_and_does_not_delay_the_report() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let before = container.zombies();
    let begin = Instant::now();
    let (report, text) = container.probe(&["sh", "-c", "echo hi; setsid sleep 1000 & exit 3"]);
    assert_eq!(report, Report::Exited { code: 3, leftovers: true });
    assert_eq!(text, "hi\n");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(container.zombies(), before);
}

#[test]
fn a_probe_that_kills_its_reaper_is_reported_and_leaves_nothing_alive() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let (report, _) = container.probe(&["sh", "-c", "kill -9 $PPID; sleep 1000"]);
    assert_eq!(report, Report::ReaperKilled);
    assert_eq!(container.probe(&["true"]).0, exited(0));
}

#[test]
fn a_user_namespace_is_entered_too() {
    if skipped() {
        return;
    }
    let container = Container::start(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let rootfs = std::env::temp_dir().join(spec["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'));
        run(Command::new("chown").args(["-R", "100000:100000"]).arg(rootfs.join("rootfs")));
    });
    assert!(container.target.has_own_users());
    let (report, text) = container.probe(&["sh", "-c", "cat /proc/self/uid_map; id -u"]);
    assert_eq!(report, exited(0), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0"]);
    assert_eq!(container.exec(&identity(), &["id", "-u"]).2, "0\n");
    assert_eq!(container.probe_for(&identity(), &["sleep", "1000"], 0.2).0, Report::TimedOut);
}

#[test]
fn the_program_that_runs_inside_is_a_sealed_copy() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    // The link is read while the reaper waits: it is still the program itself.
    let (report, text) = container.probe(&["sh", "-c", "readlink /proc/$PPID/exe; echo x > /proc/$PPID/exe; echo $?"]);
    assert_eq!(report, exited(0));
    assert!(!text.contains("/target/") && text.ends_with("1\n"), "{text}");
}

#[test]
fn a_frozen_container_is_seen_as_such() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let state = container.directory.join("state");
    let runc = |verb| run(Command::new("runc").args(["--root", state.to_str().unwrap(), verb, &container.id]));
    assert!(!container.cgroup.is_frozen().unwrap());
    runc("pause");
    assert!(container.cgroup.is_frozen().unwrap());
    runc("resume");
    assert!(!container.cgroup.is_frozen().unwrap());
}

#[test]
fn a_privileged_container_gets_a_reaper_with_memory_of_its_own() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let everything = Capabilities { bounding: u64::MAX, effective: 0, inheritable: 0, permitted: 0, ambient: 0 };
    let privileged = Identity { capabilities: everything, ..identity() };
    assert_eq!(container.probe_for(&privileged, &["sh", "-c", "exit 5"], 5.0).0, exited(5));
    assert_eq!(container.probe_for(&privileged, &["sleep", "100"], 0.2).0, Report::TimedOut);
    assert_eq!(container.probe_for(&privileged, &["missing"], 5.0).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
}

#[test]
fn probes_of_one_container_run_beside_each_other() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    std::thread::scope(|scope| {
        for n in 0..8 {
            let container = &container;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(container.probe(&["sh", "-c", &format!("exit {n}")]).0, exited(n));
                }
            });
        }
    });
}
