//! A supervision directory with one busybox container, a shim over it, and ways to look at both.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hshim_health::control::{METHOD, Ready, Reply, Request, SERVICE};
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::record::{EventLine, StatusFile, TakeOver};
use hshim_health::status::{ContainerState, ContainerStatus, PodStatus};
use jiff::Timestamp;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the container is.
pub struct Scene {
    /// `manifest` or `bundle`.
    pub origin: &'static str,
    /// Shell script of the container.
    pub script: &'static str,
    /// `RestartPolicy`.
    pub policy: &'static str,
    /// Liveness probe: command, every 300 ms, timeout 1 s, three failures.
    pub liveness: &'static [&'static str],
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Seconds of the first back-off.
    pub backoff: u64,
    /// It shares the host's process ids.
    pub host_pids: bool,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            origin: "manifest",
            script: "sleep 1000",
            policy: "Always",
            liveness: &[],
            memory: None,
            backoff: 1,
            host_pids: false,
        }
    }
}

/// A running shim with its container.
pub struct Stage {
    base: PathBuf,
    pub dir: SupervisionDir,
    pub id: String,
    uid: String,
    shim: Option<Pid>,
    pub ready: Ready,
    /// The other ends of a bundle's output.
    output: BufReader<File>,
}

pub fn shim_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-hshim-v2"))
}

/// The OCI runtimes to test with: runc, and hshim if it has been built beside the shim.
pub fn runtimes() -> Vec<PathBuf> {
    let hshim = shim_path().with_file_name("hshim");
    let runc = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"].map(PathBuf::from);
    runc.into_iter().filter(|path| path.exists()).take(1).chain([hshim].into_iter().filter(|path| path.exists())).collect()
}

/// Says in one line why a test cannot run here.
pub fn cannot_run(needs_probes: bool) -> bool {
    let busybox = busybox().is_none().then_some("no static busybox");
    let root = (!nix::unistd::geteuid().is_root()).then_some("not root");
    let runtime = runtimes().is_empty().then_some("neither runc nor hshim");
    let enter = (needs_probes && !shim_path().with_file_name("hshim-enter").exists()).then_some("hshim-enter is not built");
    let why = busybox.or(root).or(runtime).or(enter);
    if let Some(why) = why {
        println!("SKIPPED: {why}");
    }
    why.is_some()
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

impl Stage {
    pub fn set(runtime: &Path, scene: &Scene) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shim-it-{}-{number}", std::process::id());
        let base = std::env::temp_dir().join(&name);
        let dir = if scene.origin == "bundle" { format!("bundles/{name}") } else { format!("pods/default_{name}") };
        let dir = SupervisionDir(base.join("run").join(dir));
        let uid = format!("{name}-uid");
        prepare(&base, &dir, &Names { name: &name, uid: &uid }, runtime, scene);
        let (shim, ready, output) = launch(&dir);
        Self { base, dir, id: name, uid, shim: Some(shim), ready, output }
    }

    pub async fn ask(&self, request: &Request) -> Reply {
        let client = ttrpc::asynchronous::Client::connect(&format!("unix://{}", self.dir.socket().display())).await.unwrap();
        let mut call = ttrpc::Request::new();
        call.service = SERVICE.to_owned();
        call.method = METHOD.to_owned();
        call.payload = serde_json::to_vec(request).unwrap();
        serde_json::from_slice(&client.request(call).await.unwrap().payload).unwrap()
    }

    pub fn status(&self) -> Option<PodStatus<Timestamp>> {
        let text = fs::read(self.dir.status()).ok()?;
        Some(serde_json::from_slice::<StatusFile>(&text).unwrap().status)
    }

    pub fn container(&self) -> Option<ContainerStatus<Timestamp>> {
        self.status()?.containers.into_iter().next()
    }

    pub fn is_running_again(&self, restarts: u32) -> bool {
        self.container().is_some_and(|it| it.restart_count >= restarts && matches!(it.state, ContainerState::Running { .. }))
    }

    pub fn pid(&self) -> Option<u32> {
        match self.container()?.state {
            ContainerState::Running { pid, .. } => Some(pid),
            ContainerState::Waiting { .. } | ContainerState::Terminated(_) => None,
        }
    }

    /// `reason: message ×count` of each series, in the order of their first line.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.events()).unwrap_or_default();
        let mut events: Vec<EventLine> = Vec::new();
        for event in text.lines().map(|line| serde_json::from_str::<EventLine>(line).unwrap()) {
            match events.iter_mut().find(|known| known.id == event.id) {
                Some(known) => *known = event,
                None => events.push(event),
            }
        }
        events.iter().map(|it| format!("{:?}: {} ×{}", it.reason, it.message, it.count)).collect()
    }

    /// The texts of a life's log.
    pub fn log(&self, run: u32) -> Vec<String> {
        let path = self.base.join("data/logs").join(&self.uid).join(format!("{run}.log"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').map_or("", |(_, text)| text).to_owned()).collect()
    }

    pub fn shim_log(&self) -> String {
        fs::read_to_string(self.dir.log()).unwrap_or_default()
    }

    /// What of the pod is left anywhere.
    pub fn traces(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut traces: Vec<String> = mounts.lines().filter(|line| line.contains(&self.id)).map(str::to_owned).collect();
        let places = [
            self.dir.0.clone(),
            layout::pod_data_dir(&self.base.join("data"), &self.uid),
            self.base.join("data/logs").join(&self.uid),
        ];
        let states = [layout::container_dir(&self.base.join("run"), &self.id), self.base.join("run/runc").join(&self.id)];
        let left = places.iter().chain(&states).filter(|path| path.exists()).map(|path| path.display().to_string());
        traces.extend(left);
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let roots: Vec<PathBuf> = hierarchies.chain(["/sys/fs/cgroup".into()]).collect();
        let names = [format!("hshim/pod{}", self.uid), self.id.clone()];
        let cgroups = roots.iter().flat_map(|root| names.iter().map(move |name| root.join(name)));
        traces.extend(cgroups.filter(|path| path.exists()).map(|path| path.display().to_string()));
        traces
    }

    /// The pod is deleted, and nothing of it is left.
    pub async fn ends_without_trace(&mut self) {
        assert_eq!(self.ask(&Request::Delete { grace: Some(Duration::ZERO) }).await, Reply::Done);
        self.is_gone();
    }

    pub fn is_gone(&mut self) {
        until("the shim ends", || self.shim_has_ended());
        assert_eq!(self.traces(), [""; 0]);
    }

    pub fn shim_has_ended(&mut self) -> bool {
        let flag = Some(WaitPidFlag::WNOHANG);
        if self.shim.is_some_and(|shim| waitpid(shim, flag).unwrap() != WaitStatus::StillAlive) {
            self.shim = None;
        }
        self.shim.is_none()
    }

    /// state.json names a process that is not this one.
    pub fn has_another_process(&self, than: u32) -> bool {
        let text = fs::read(self.dir.state()).unwrap_or_default();
        let state: Option<TakeOver> = serde_json::from_slice(&text).ok();
        state.is_some_and(|state| state.processes.iter().flatten().any(|process| process.pid != than))
    }

    /// What `hshim delete` does when the shim is dead.
    pub fn clear_by_hand(&self, init: u32) {
        kill(Pid::from_raw(init.cast_signed()), Signal::SIGKILL).unwrap();
        until("the container is gone", || !Path::new(&format!("/proc/{init}/root")).exists());
        let mut runc = std::process::Command::new(&runtimes()[0]);
        let root = self.base.join("run/runc");
        assert!(runc.arg("--root").arg(root).args(["delete", "--force", &self.id]).status().unwrap().success());
        nix::mount::umount(&self.dir.container("main").join("bundle/rootfs")).unwrap();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            fs::remove_dir(hierarchy.path().join("hshim").join(format!("pod{}", self.uid))).ok();
        }
    }

    /// Freezes or thaws the container, as `pause` and `resume` do.
    pub fn freeze(&self, state: &str) {
        let v1 = Path::new("/sys/fs/cgroup/freezer/hshim").join(format!("pod{}/main", self.uid));
        let v2 = Path::new("/sys/fs/cgroup/hshim").join(format!("pod{}/main", self.uid));
        if v1.exists() {
            fs::write(v1.join("freezer.state"), state).unwrap();
            until("it is so", || fs::read_to_string(v1.join("freezer.state")).unwrap().trim() == state);
        } else {
            fs::write(v2.join("cgroup.freeze"), if state == "FROZEN" { "1" } else { "0" }).unwrap();
        }
    }

    pub fn shim_pid(&self) -> Pid {
        self.shim.unwrap()
    }

    pub fn signal_shim(&self, signal: Signal) {
        kill(self.shim_pid(), signal).unwrap();
    }

    /// A line of a bundle's output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(shim) = self.shim {
            // Its init first: it is nobody's to clear away once the shim is gone.
            if let Some(pid) = self.pid() {
                kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).ok();
            }
            kill(shim, Signal::SIGKILL).ok();
            waitpid(shim, None).ok();
        }
        drop(fs::remove_dir_all(&self.base));
    }
}

/// Waits for a condition, ten seconds at the longest.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Names<'a> {
    name: &'a str,
    uid: &'a str,
}

fn prepare(base: &Path, dir: &SupervisionDir, names: &Names<'_>, runtime: &Path, scene: &Scene) {
    let (image, bundle) = (base.join("image"), dir.container("main").join("bundle"));
    let is_bundle = scene.origin == "bundle";
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs).unwrap();
    make_image(if is_bundle { &rootfs } else { &image });
    let cgroup = if is_bundle { format!("/{}", names.name) } else { format!("/hshim/pod{}/main", names.uid) };
    write_json(&bundle.join("config.json"), &spec(scene, &cgroup));
    let data = base.join("data");
    let pod = layout::pod_data_dir(&data, names.uid).join("containers/main");
    let overlay = json!({"lower": [image], "upper": pod.join("upper"), "work": pod.join("work"), "target": rootfs});
    let log = json!({"criLog": {"directory": data.join("logs").join(names.uid)}});
    let is_hshim = runtime.ends_with("hshim");
    let root = if is_hshim { base.join("run") } else { base.join("run/runc") };
    write_json(
        &dir.supervision(),
        &json!({
            "version": 1,
            "plan": plan(scene, names),
            "runtime": {"path": runtime, "isHshim": is_hshim, "systemdCgroup": false, "root": root, "createFlags": []},
            "root": base.join("run"),
            "data": data,
            "launches": [{
                "id": names.name,
                "bundle": bundle,
                "rootfs": if is_bundle { Value::Null } else { overlay },
                "stdio": if is_bundle { json!("inherited") } else { log },
            }],
        }),
    );
}

fn plan(scene: &Scene, names: &Names<'_>) -> Value {
    let span = |millis: u64| json!({"secs": millis / 1000, "nanos": millis % 1000 * 1_000_000});
    let liveness = json!({
        "handler": {"exec": {"command": scene.liveness}}, "initialDelay": span(0), "period": span(300), "timeout": span(1000),
        "successThreshold": 1, "failureThreshold": 3, "terminationGrace": null,
    });
    json!({
        "name": names.name, "namespace": "default", "uid": names.uid, "origin": scene.origin, "terminationGrace": span(2000),
        "containers": [{
            "name": "main", "image": "busybox", "restartPolicy": scene.policy, "startup": null, "readiness": null,
            "liveness": if scene.liveness.is_empty() { Value::Null } else { liveness },
            "backoff": {"initial": span(scene.backoff * 1000), "cap": span(300_000), "resetAfter": span(600_000)},
            "stopSignal": 15,
        }],
    })
}

fn spec(scene: &Scene, cgroup: &str) -> Value {
    let sets = ["CAP_KILL", "CAP_CHOWN"];
    let kinds = ["pid", "network", "ipc", "uts", "mount"].into_iter().skip(usize::from(scene.host_pids));
    let namespaces: Vec<Value> = kinds.map(|kind| json!({"type": kind})).collect();
    let memory = scene.memory.map_or(json!({}), |limit| json!({"memory": {"limit": limit, "swap": limit}}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", scene.script], "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {"bounding": sets, "effective": sets, "permitted": sets}, "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ],
        "linux": {
            "cgroupsPath": cgroup, "resources": memory,
            "namespaces": namespaces,
        },
    })
}

fn make_image(root: &Path) {
    for directory in ["bin", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy(busybox().unwrap(), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "cat", "touch", "rm", "test", "true", "tail", "head", "kill", "seq"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

/// As hshim starts it: the ready line on 3, a bundle's stdio on 4, 5 and 6.
fn launch(dir: &SupervisionDir) -> (Pid, Ready, BufReader<File>) {
    let (ready, ready_end) = pipe();
    let (output, output_end) = pipe();
    let null = high(File::options().read(true).write(true).open("/dev/null").unwrap());
    let log = high(File::options().append(true).create(true).open(dir.log()).unwrap());
    let mut actions = PosixSpawnFileActions::init().unwrap();
    let places = [(&null, 0), (&null, 1), (&log, 2), (&ready_end, 3), (&null, 4), (&output_end, 5), (&output_end, 6)];
    for (fd, place) in places {
        actions.add_dup2(fd.as_raw_fd(), place).unwrap();
    }
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let argv = [text(&shim_path()), c"supervise".into(), c"--dir".into(), text(&dir.0), c"--ready-fd".into(), c"3".into()];
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    let shim = posix_spawn(&shim_path(), &actions, &PosixSpawnAttr::init().unwrap(), &argv, &environment).unwrap();
    drop((ready_end, output_end));
    let mut line = String::new();
    File::from(ready).read_to_string(&mut line).unwrap();
    let told = serde_json::from_str(&line);
    let told = told.unwrap_or_else(|error| panic!("{line:?}: {error}; {:?}", fs::read_to_string(dir.log())));
    (shim, told, BufReader::new(File::from(output)))
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    (high(reader), high(writer))
}

/// Out of the way of the numbers that the shim is given: clones until one is.
fn high(fd: impl Into<OwnedFd>) -> OwnedFd {
    let mut tries = vec![fd.into()];
    while tries.last().is_some_and(|fd| fd.as_raw_fd() < 10) {
        let next = tries.last().unwrap().try_clone().unwrap();
        tries.push(next);
    }
    tries.pop().unwrap()
}
