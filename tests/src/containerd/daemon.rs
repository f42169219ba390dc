//! One containerd of a test's own: its directory, configuration and process, from start to the proof that nothing is left of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::Running;
use super::grpc::Grpc;
use super::leftovers::{Leftovers, comes_true};
use super::protobuf::Message;
use crate::image::Image;
use crate::programs::{self, busybox};
use crate::wait::until;

/// The image's name.
pub const IMAGE: &str = "docker.io/library/hshim-test:1";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The shim under test: `SHIM_RUNTIME`, hshim's unless it says otherwise. The suite is validated on `io.containerd.runc.v2`.
#[must_use]
pub fn runtime() -> String {
    std::env::var("SHIM_RUNTIME").unwrap_or_else(|_| "io.containerd.hshim.v2".to_owned())
}

/// Whether the shim under test supervises containers; the reference does not.
#[must_use]
pub fn supervises() -> bool {
    !runtime().starts_with("io.containerd.runc")
}

/// What a containerd is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `ctr` alone.
    Tasks,
    /// CRI too, with a bridge network.
    Cri,
}

/// A running containerd with everything it owns in one directory.
#[derive(Debug)]
pub struct Daemon {
    home: PathBuf,
    name: String,
    runtime: String,
    setting: Setting,
    process: Option<Child>,
    ids: Mutex<BTreeSet<String>>,
    commands: AtomicU32,
}

impl Daemon {
    /// A containerd with the image of the tests; none, and the reason printed and counted, where it cannot run.
    #[must_use]
    pub fn start(setting: Setting) -> Option<Self> {
        Self::start_for(setting, &runtime())
    }

    /// As [`Self::start`], with further tables of configuration.
    #[must_use]
    pub fn start_with(setting: Setting, tables: &str) -> Option<Self> {
        Self::launch(setting, &runtime(), tables)
    }

    /// As [`Self::start`], for the shim of `runtime`.
    #[must_use]
    pub fn start_for(setting: Setting, runtime: &str) -> Option<Self> {
        Self::launch(setting, runtime, "")
    }

    fn launch(setting: Setting, runtime: &str, tables: &str) -> Option<Self> {
        if let Some(reason) = cannot_run(setting, runtime) {
            crate::skip::note(&reason);
            return None;
        }
        let name = format!("ht{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let home = base.join(format!("hshim-{name}"));
        fs::create_dir_all(home.join("commands")).unwrap();
        let ids = Mutex::new(BTreeSet::new());
        let commands = AtomicU32::new(0);
        let mut daemon = Self { home, name, runtime: runtime.to_owned(), setting, process: None, ids, commands };
        fs::write(daemon.home.join("config.toml"), daemon.configuration() + tables).unwrap();
        daemon.serve();
        daemon.import_image();
        Some(daemon)
    }

    /// The directory of everything.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// containerd's gRPC socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("c.sock")
    }

    /// The directory of presets of its shims; nobody has made it.
    #[must_use]
    pub fn presets(&self) -> PathBuf {
        self.home.join("presets.d")
    }

    /// Its shim's runtime type.
    #[must_use]
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// A name that no other test has; the parent of all its cgroups.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of its containers.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.setting {
            Setting::Tasks => &self.name,
            Setting::Cri => "k8s.io",
        }
    }

    /// Where the shim is told of task `id`.
    #[must_use]
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.home.join("state/io.containerd.runtime.v2.task").join(self.namespace()).join(id)
    }

    /// containerd's own API.
    #[must_use]
    pub fn grpc(&self) -> Grpc {
        Grpc { socket: self.socket(), namespace: self.namespace().to_owned() }
    }

    /// containerd's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.as_ref().unwrap().id().cast_signed())
    }

    /// What it has logged, and its shims through it; the list of its plugins is left out.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.home.join("containerd.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| !line.contains("loading plugin")).flat_map(|line| [line, "\n"]).collect()
    }

    /// The socket that a shim of task or pod `id` listens on: containerd's scheme.
    #[must_use]
    pub fn shim_socket(&self, id: &str) -> PathBuf {
        use sha2::{Digest, Sha256};
        let name = self.socket().join(self.namespace()).join(id);
        Path::new("/run/containerd/s")
            .join(Sha256::digest(name.to_str().unwrap()).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// A path for one command's output.
    pub(super) fn command_base(&self) -> String {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        self.home.join("commands").join(number.to_string()).to_str().unwrap().to_owned()
    }

    /// Start any program, its output caught.
    pub fn start_program(&self, command: Command) -> Running {
        Running::start(command, &self.command_base())
    }

    /// Remember a task whose leftovers will be looked for.
    pub fn remember(&self, id: &str) {
        self.ids.lock().unwrap().insert(id.to_owned());
    }

    /// SIGKILL it, as a crash would. Its shims live on.
    pub fn crash(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Start it once more in the same directories.
    pub fn serve(&mut self) {
        let log = File::options().create(true).append(true).open(self.home.join("containerd.log")).unwrap();
        let path = format!("{}:{}", programs::bin_dir().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("containerd");
        command.arg("--config").arg(self.home.join("config.toml")).env("PATH", path);
        // Shims have its environment; what this machine's own presets say is no part of a test.
        command.env("HSHIM_PRESETS_DIR", self.presets());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let grpc = self.grpc();
        until("containerd answers", || grpc.call("/containerd.services.version.v1.Version/Version", &Message::new()).is_ok());
        if self.setting == Setting::Cri {
            until("CRI answers", || grpc.call("/runtime.v1.RuntimeService/Version", &Message::new()).is_ok());
        }
    }

    /// The end of a test: nothing may be left but containerd itself, and then that ends too.
    pub fn finish(mut self) {
        let mut left = Vec::new();
        let settled = comes_true(|| {
            left = self.leftovers().find();
            left.is_empty()
        });
        assert!(settled, "left behind:\n  {}\ncontainerd's log:\n{}", left.join("\n  "), self.log());
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
            until("containerd ends", || process.try_wait().unwrap().is_some());
        }
    }

    fn leftovers(&self) -> Leftovers<'_> {
        let ids = self.ids.lock().unwrap().iter().cloned().collect();
        Leftovers { daemon: self, ids, containerd: self.process.as_ref().map(Child::id) }
    }

    fn import_image(&self) {
        let archive = self.home.join("image.tar");
        let config = serde_json::json!({"Cmd": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]});
        Image { reference: IMAGE.to_owned(), config }.write_docker_archive(&archive);
        self.ctr(&["image", "import", archive.to_str().unwrap()]).ok();
        fs::remove_file(archive).unwrap();
    }

    fn configuration(&self) -> String {
        let home = self.home.display();
        let unused = [
            "snapshotter.v1.aufs",
            "snapshotter.v1.btrfs",
            "snapshotter.v1.devmapper",
            "snapshotter.v1.zfs",
            "internal.v1.tracing",
        ];
        let mut disabled: Vec<String> = unused.iter().map(|name| format!("\"io.containerd.{name}\"")).collect();
        if self.setting == Setting::Tasks {
            disabled.push("\"io.containerd.grpc.v1.cri\"".to_owned());
        }
        let disabled = disabled.join(", ");
        let common = format!(
            "version = 2\nroot = \"{home}/root\"\nstate = \"{home}/state\"\ndisabled_plugins = [{disabled}]\n\
             [grpc]\n  address = \"{home}/c.sock\"\n[ttrpc]\n  address = \"{home}/c.sock.ttrpc\"\n"
        );
        match self.setting {
            Setting::Tasks => common,
            Setting::Cri => common + &self.cri_configuration(),
        }
    }

    fn cri_configuration(&self) -> String {
        let home = self.home.display();
        self.write_network();
        format!(
            r#"[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  stats_collect_period = 1
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{home}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "judged"
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.judged]
      runtime_type = "{runtime}"
      pod_annotations = ["hshim.dev/*", "*.hshim.dev/*"]
      container_annotations = ["hshim.dev/*", "*.hshim.dev/*"]
"#,
            image = IMAGE,
            plugins = network_plugins().unwrap().display(),
            snapshotter = snapshotter(),
            runtime = self.runtime,
        )
    }

    /// A bridge with addresses of its own; the plugins keep their notes in the test's directory.
    fn write_network(&self) {
        let (high, low) = (std::process::id() / 250 % 128 + 64, std::process::id() % 250);
        let configuration = serde_json::json!({
            "cniVersion": "0.4.0",
            "name": self.name,
            "plugins": [
                {
                    "type": "bridge", "bridge": self.bridge(), "isGateway": true, "ipMasq": false,
                    "ipam": {
                        "type": "host-local", "dataDir": self.home.join("ipam"),
                        "ranges": [[{ "subnet": format!("10.{high}.{low}.0/24") }]],
                    },
                },
                { "type": "loopback" },
            ],
        });
        fs::create_dir_all(self.home.join("net.d")).unwrap();
        fs::write(self.home.join("net.d/10-test.conflist"), configuration.to_string()).unwrap();
    }

    fn bridge(&self) -> String {
        format!("b{}", self.name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.leftovers().destroy();
        if let Some(mut process) = self.process.take()
            && process.kill().is_ok()
        {
            drop(process.wait());
        }
        self.leftovers().destroy();
        if self.setting == Setting::Cri {
            drop(Command::new("ip").args(["link", "del", &self.bridge()]).stderr(Stdio::null()).status());
        }
        if std::thread::panicking() {
            eprintln!("containerd's log:\n{}", self.log());
        }
        drop(fs::remove_dir_all(&self.home));
    }
}

pub(super) fn snapshotter() -> &'static str {
    let overlay = fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.lines().any(|line| line.ends_with("\toverlay")));
    if overlay { "overlayfs" } else { "native" }
}

fn network_plugins() -> Option<PathBuf> {
    ["/usr/lib/cni", "/opt/cni/bin"].map(PathBuf::from).into_iter().find(|directory| directory.join("bridge").exists())
}

fn cannot_run(setting: Setting, runtime: &str) -> Option<String> {
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain([programs::bin_dir()]).any(|directory| directory.join(name).exists())
    };
    let parts: Vec<&str> = runtime.rsplit('.').take(2).collect();
    let shim = format!("containerd-shim-{}-{}", parts[1], parts[0]);
    let missing = ["containerd", "ctr", shim.as_str()].into_iter().find(|name| !on_path(name)).map(|name| format!("no {name}"));
    let root = (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned());
    let busybox = busybox().is_none().then(|| "no static busybox".to_owned());
    let network = (setting == Setting::Cri && network_plugins().is_none()).then(|| "no CNI plugins".to_owned());
    root.or(missing).or(busybox).or(network)
}
