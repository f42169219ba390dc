//! OCI bundles of busybox, and the runtime's command line over them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::programs;
use crate::rootfs;
use crate::scratch::Scratch;

/// A bundle with a root file system of its own, and a runtime with a state directory of its own.
#[derive(Debug)]
pub struct Bundle {
    /// Everything is below it.
    pub scratch: Scratch,
    /// The program that [`Bundle::runtime`] runs.
    pub program: PathBuf,
    /// What is written to config.json; edit it and [`Bundle::write`] it.
    pub config: Value,
}

impl Bundle {
    /// A bundle that runs a shell script, for the runtime under test.
    ///
    /// # Panics
    /// Something cannot be written.
    #[must_use]
    pub fn new(script: &str) -> Self {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("bundle")).expect("make the bundle");
        rootfs::make(&scratch.join("bundle/rootfs"));
        let config = config(&["/bin/sh", "-c", script], &format!("/hshim-tests/{}", scratch.name()));
        let bundle = Self { scratch, program: programs::runtime_under_test(), config };
        bundle.write();
        bundle
    }

    /// Writes config.json.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self) {
        fs::write(self.dir().join("config.json"), self.config.to_string()).expect("write config.json");
    }

    /// Changes config.json and writes it.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        self.write();
    }

    /// The bundle's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.scratch.join("bundle")
    }

    /// Its root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.dir().join("rootfs")
    }

    /// The container's name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.scratch.name()
    }

    /// The runtime's state directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// `RUNTIME --root … ARGS`, in the bundle's directory, without input.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.root()).args(args).current_dir(self.dir()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end, with captured output. Not for what leaves a container behind that keeps the output open.
    ///
    /// # Panics
    /// The program cannot be run.
    #[must_use]
    pub fn runtime(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("run {}: {error}", self.program.display()))
    }

    /// Runs it and expects success; its standard output.
    ///
    /// # Panics
    /// It fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.runtime(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}: {errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it and expects a refusal; its standard error.
    ///
    /// # Panics
    /// It succeeds.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.runtime(args);
        assert!(!output.status.success(), "{args:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `create`, with the container's output in files `out` and `err` of the scratch directory.
    ///
    /// # Panics
    /// It fails.
    pub fn create(&self) {
        let status = self.detached(&["create", "--bundle", ".", self.id()]);
        assert!(status.success(), "create: {status}: {}", self.stderr());
    }

    /// `run -d`, with the container's output in files `out` and `err` of the scratch directory.
    ///
    /// # Panics
    /// It fails.
    pub fn run_detached(&self) {
        let status = self.detached(&["run", "-d", "--bundle", ".", self.id()]);
        assert!(status.success(), "run -d: {status}: {}", self.stderr());
    }

    /// A command whose standard output and error are kept open by the container.
    ///
    /// # Panics
    /// The program cannot be run.
    pub fn detached(&self, args: &[&str]) -> std::process::ExitStatus {
        let file = |name| fs::File::create(self.scratch.join(name)).expect("create an output file");
        self.command(args).stdout(file("out")).stderr(file("err")).status().expect("run the runtime")
    }

    /// What the container wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.scratch.join("out")).unwrap_or_default()
    }

    /// What the runtime and the container wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.scratch.join("err")).unwrap_or_default()
    }

    /// The document that `state` prints; nothing if there is no such container.
    #[must_use]
    pub fn state(&self) -> Option<Value> {
        let output = self.runtime(&["state", self.id()]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("state prints JSON"))
    }

    /// `created`, `running`, `paused`, `stopped`, or `absent`.
    #[must_use]
    pub fn status(&self) -> String {
        self.state().and_then(|state| Some(state.get("status")?.as_str()?.to_owned())).unwrap_or_else(|| "absent".to_owned())
    }

    /// Process id of init in the host's numbers.
    ///
    /// # Panics
    /// There is no such container.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let state = self.state().expect("the container is there");
        i32::try_from(state["pid"].as_i64().expect("state has a pid")).expect("a pid is small")
    }

    /// The directories of its cgroup, in every hierarchy that has one.
    #[must_use]
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let path = Path::new("hshim-tests").join(self.id());
        let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
        let roots = hierarchies.filter_map(Result::ok).map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        roots.map(|root| root.join(&path)).filter(|dir| dir.is_dir()).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Not there any more is the usual case.
        drop(self.command(&["delete", "--force", self.id()]).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// A usual configuration: private namespaces, /proc, /dev, /sys, no limits, no terminal, the capabilities of Docker.
#[must_use]
pub fn config(args: &[&str], cgroup: &str) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "busybox",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
                "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
