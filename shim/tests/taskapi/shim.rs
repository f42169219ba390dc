//! A shim with a bundle, its client, and a containerd that only receives events.

use std::collections::HashMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ttrpc::asynchronous::{Client, MethodHandler, Server, Service, TtrpcContext};
use ttrpc::proto::{Code, Response};

use crate::messages::*;
use crate::wire::{Message, messages};

static NEXT: AtomicU32 = AtomicU32::new(0);

messages! {
    Forward { 1 envelope: Option<Envelope> }
    Envelope { 3 topic: String, 4 event: Option<Any> }
    /// Field 1 of every event is the container, 2 of exits the process.
    Exit { 1 container: String, 2 id: String, 3 pid: u32, 4 status: u32 }
}

/// The built program, or that of another place (`HSHIM_BIN`): a guest has none of cargo's directories.
pub fn shim_path() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-hshim-v2"));
    std::env::var_os("HSHIM_BIN").map_or(built, |place| Path::new(&place).join("containerd-shim-hshim-v2"))
}

/// runc, and hshim where it has been built beside the shim; with hshim-enter only, for execs and probes.
pub fn runtimes() -> Vec<String> {
    let runc = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"].map(PathBuf::from);
    let hshim = shim_path().with_file_name("hshim");
    let complete = shim_path().with_file_name("hshim-enter").exists();
    let all = runc.into_iter().find(|path| path.exists()).into_iter().chain(Some(hshim).filter(|path| complete && path.exists()));
    all.map(|path| path.display().to_string()).collect()
}

/// Says in one line why a test cannot run here.
pub fn cannot_run() -> bool {
    let root = (!nix::unistd::geteuid().is_root()).then_some("not root");
    let busybox = busybox().is_none().then_some("no static busybox");
    let why = root.or(busybox).or(runtimes().is_empty().then_some("neither runc nor hshim"));
    if let Some(why) = why {
        println!("SKIPPED: {why}");
    }
    why.is_some()
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One scratch directory with everything of one shim.
pub struct Shim {
    pub base: PathBuf,
    pub id: String,
    pub address: String,
    pub runtime: String,
    client: Option<Client>,
    pub events: Arc<Mutex<Vec<(String, Exit)>>>,
    receiver: Server,
}

/// What the container is.
#[derive(Default)]
pub struct Scene<'a> {
    pub script: &'a str,
    pub annotations: &'a [(&'a str, &'a str)],
    pub memory: Option<u64>,
    pub terminal: bool,
    /// In the machine's own pid namespace.
    pub host_pid: bool,
}

impl Shim {
    /// Starts a shim for a bundle with this scene, and connects to it.
    pub async fn start(runtime: &str, scene: &Scene<'_>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("taskapi-{}-{number}", std::process::id());
        let base = std::env::temp_dir().join(&id);
        fs::create_dir_all(&base).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let receiver = receive(&base.join("events"), Arc::clone(&events)).await;
        write_bundle(&base, &id, scene);
        let address = launch(&base, &id, true);
        let client = Client::connect(&address).await.unwrap();
        Self { base, id, address, runtime: runtime.to_owned(), client: Some(client), events, receiver }
    }

    pub fn bundle(&self) -> PathBuf {
        self.base.join(&self.id)
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        self.base.join(format!("{}-{name}", self.id))
    }

    pub async fn call<R: Message>(&self, method: &str, request: &impl Message) -> Result<R, (Code, String)> {
        call(self.client.as_ref().expect("a connection"), "containerd.task.v2.Task", method, request).await
    }

    /// As a containerd that dies: no connection, nobody who takes events.
    pub async fn lose_containerd(&mut self) {
        self.client = None;
        self.receiver.shutdown().await.unwrap();
        fs::remove_file(self.base.join("events")).ok();
    }

    /// It is back.
    pub async fn find_containerd(&mut self) {
        self.receiver = receive(&self.base.join("events"), Arc::clone(&self.events)).await;
        self.connect().await;
    }

    /// It has connected again, but does not take events yet.
    pub async fn connect(&mut self) {
        self.client = Some(Client::connect(&self.address).await.unwrap());
    }

    /// Nobody is connected.
    pub fn hang_up(&mut self) {
        self.client = None;
    }

    pub fn options(&self) -> Any {
        let root = self.base.join("run").display().to_string();
        let options = RuncOptions { binary_name: self.runtime.clone(), root, ..RuncOptions::default() };
        Any { type_url: "containerd.runc.v1.Options".to_owned(), value: options.to_bytes() }
    }

    pub fn create_request(&self) -> CreateTaskRequest {
        for name in ["stdin", "stdout", "stderr"] {
            make_fifo(&self.fifo(name));
        }
        let path = |name| self.fifo(name).display().to_string();
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle().display().to_string(),
            stdin: path("stdin"),
            stdout: path("stdout"),
            stderr: path("stderr"),
            options: Some(self.options()),
            ..CreateTaskRequest::default()
        }
    }

    pub async fn create(&self) -> u32 {
        self.call::<CreateTaskResponse>("Create", &self.create_request()).await.unwrap().pid
    }

    pub fn process(&self, exec_id: &str) -> ProcessRequest {
        ProcessRequest { id: self.id.clone(), exec_id: exec_id.to_owned() }
    }

    pub async fn run(&self) -> u32 {
        self.create().await;
        self.call::<StartResponse>("Start", &self.process("")).await.unwrap().pid
    }

    pub async fn state(&self, exec_id: &str) -> StateResponse {
        self.call("State", &self.process(exec_id)).await.unwrap()
    }

    pub async fn wait(&self, exec_id: &str) -> u32 {
        self.call::<WaitResponse>("Wait", &self.process(exec_id)).await.unwrap().exit_status
    }

    pub async fn kill(&self, signal: i32) -> Result<Done, (Code, String)> {
        let request = KillRequest { id: self.id.clone(), signal: signal.unsigned_abs(), ..KillRequest::default() };
        self.call("Kill", &request).await
    }

    pub async fn exec(&self, exec_id: &str, script: &str, terminal: bool) -> Result<Done, (Code, String)> {
        let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        for name in ["in", "out"] {
            make_fifo(&self.fifo(&format!("{exec_id}-{name}")));
        }
        let path = |name: &str| self.fifo(&format!("{exec_id}-{name}")).display().to_string();
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_string().into_bytes(),
        };
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            terminal,
            stdin: path("in"),
            stdout: path("out"),
            stderr: String::new(),
            spec: Some(spec),
        };
        self.call("Exec", &request).await
    }

    /// Puts a program of the same name between the shim and its runtime. It waits before a `create` as long as the file `hold-create` is
    /// there, and so after a `start`; `held` is there meanwhile.
    pub fn hold_runtime(&mut self) {
        let place = self.base.join("between");
        fs::create_dir_all(&place).unwrap();
        let program = place.join(Path::new(&self.runtime).file_name().unwrap());
        let (base, real) = (self.base.display(), &self.runtime);
        let script = format!(
            "#!/bin/sh\nverb=\nfor word; do case $word in create|start) verb=$word; break;; esac; done\n\
             hold() {{ [ ! -e {base}/hold-$verb ] || touch {base}/held; while [ -e {base}/hold-$verb ]; do sleep 0.02; done; }}\n\
             [ \"$verb\" != create ] || hold\n\
             [ \"$verb\" = start ] || exec {real} \"$@\"\n{real} \"$@\"; status=$?; hold; exit $status\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self.runtime = program.display().to_string();
    }

    pub fn hold(&self, verb: &str) {
        drop(fs::remove_file(self.base.join("held")));
        fs::write(self.base.join(format!("hold-{verb}")), "").unwrap();
    }

    pub async fn until_held(&self) {
        until("the runtime is held", || self.base.join("held").exists()).await;
    }

    pub fn release(&self, verb: &str) {
        fs::remove_file(self.base.join(format!("hold-{verb}"))).unwrap();
    }

    /// Topics of this container's events so far.
    pub fn topics(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect()
    }

    /// How many descriptors the shim has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.shim_pid().unwrap())).unwrap().count()
    }

    pub fn shim_pid(&self) -> Option<u32> {
        let wanted = format!("-id\0{}\0", self.id);
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(&wanted) && line.contains("-namespace"))
        })
    }

    /// Every cgroup of the container, by its place and identity.
    pub fn cgroups(&self) -> Vec<(PathBuf, u64)> {
        let mut all: Vec<(PathBuf, u64)> = cgroups(Path::new("/sys/fs/cgroup"), &self.id, 3)
            .into_iter()
            .map(|path| {
                let inode = fs::metadata(&path).unwrap().ino();
                (path, inode)
            })
            .collect();
        all.sort();
        all
    }

    /// What the container has used, in the unit of its cgroups.
    pub fn processor_time(&self) -> u64 {
        let read = |(path, _): (PathBuf, u64)| {
            let usage = fs::read_to_string(path.join("cpuacct.usage")).ok();
            let stat = fs::read_to_string(path.join("cpu.stat")).ok();
            let stat = stat.and_then(|text| text.lines().find_map(|line| line.strip_prefix("usage_usec ").map(str::to_owned)));
            usage.or(stat)?.trim().parse().ok()
        };
        self.cgroups().into_iter().find_map(read).unwrap_or(0)
    }

    /// `delete` as containerd runs it.
    pub fn delete_binary(&self) -> DeleteResponse {
        let output = self.binary(&["delete"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        DeleteResponse::from_bytes(&output.stdout).unwrap()
    }

    fn binary(&self, action: &[&str]) -> std::process::Output {
        let bundle = self.bundle();
        let flags = ["-namespace", "taskapi", "-address", "/none", "-id", &self.id, "-bundle", bundle.to_str().unwrap()];
        Command::new(shim_path()).args(flags).args(action).current_dir(&bundle).stdin(Stdio::null()).output().unwrap()
    }

    /// Ends as containerd does, and finds nothing of it left.
    pub async fn ends_without_trace(self) {
        if self.call::<StateResponse>("State", &self.process("")).await.is_ok_and(|state| state.status != 3) {
            drop(self.kill(libc::SIGKILL).await);
            self.wait("").await;
        }
        drop(self.call::<DeleteResponse>("Delete", &self.process("")).await);
        drop(self.call::<Done>("Shutdown", &self.process("")).await);
        until("the shim has ended", || self.shim_pid().is_none()).await;
        assert!(!Path::new(self.address.trim_start_matches("unix://")).exists(), "its socket is gone");
        assert_eq!(self.delete_binary().exit_status, 137, "the clean-up finds nothing and says nothing");
        self.nothing_is_left();
        fs::remove_dir_all(&self.base).unwrap();
    }

    pub fn nothing_is_left(&self) {
        for directory in ["run/taskapi/bundles", "run/taskapi/containers"] {
            let left = fs::read_dir(self.base.join(directory)).into_iter().flatten().count();
            assert_eq!(left, 0, "{directory} of {}", self.runtime);
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.id), "a mount is left");
        assert_eq!(cgroups(Path::new("/sys/fs/cgroup"), &self.id, 3), Vec::<PathBuf>::new());
    }
}

messages! {
    Done {}
}

pub async fn call<R: Message>(client: &Client, service: &str, method: &str, request: &impl Message) -> Result<R, (Code, String)> {
    let mut call = ttrpc::Request::new();
    call.service = service.to_owned();
    call.method = method.to_owned();
    call.payload = request.to_bytes();
    match client.request(call).await {
        Ok(response) => Ok(R::from_bytes(&response.payload).unwrap()),
        Err(ttrpc::Error::RpcStatus(status)) => Err((status.code(), status.message().to_owned())),
        Err(other) => panic!("{method}: {other}"),
    }
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn make_fifo(path: &Path) {
    match nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(errno) => panic!("{}: {errno}", path.display()),
    }
}

/// Reads what is in a FIFO until the text is there.
pub async fn reads(reader: &File, text: &str) {
    let mut seen = String::new();
    until(&format!("{text:?} is read"), || {
        let mut buffer = [0_u8; 4096];
        if let Ok(read) = (&*reader).read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        seen.contains(text)
    })
    .await;
}

/// The end of a client that reads, or writes, without waiting.
pub fn client_end(path: &Path, write: bool) -> File {
    File::options().read(!write).write(write).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

pub fn write(path: &Path, text: &str) {
    client_end(path, true).write_all(text.as_bytes()).unwrap();
}

fn cgroups(directory: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path());
        } else if depth > 0 {
            found.extend(cgroups(&entry.path(), name, depth - 1));
        }
    }
    found
}

pub fn write_bundle(base: &Path, id: &str, scene: &Scene<'_>) {
    let bundle = base.join(id);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    for directory in ["proc", "tmp", "dev", "sys"] {
        fs::create_dir_all(bundle.join("rootfs").join(directory)).unwrap();
    }
    fs::copy(busybox().unwrap(), bin.join("busybox")).unwrap();
    for applet in ["sh", "cat", "sleep", "echo", "true", "rm", "touch", "stty", "tail", "head", "test"] {
        drop(std::os::unix::fs::symlink("busybox", bin.join(applet)));
    }
    fs::write(bundle.join("config.json"), spec(id, scene).to_string()).unwrap();
}

fn spec(id: &str, scene: &Scene<'_>) -> Value {
    let capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"];
    let kinds = ["pid", "mount", "ipc", "uts", "network"].into_iter().filter(|kind| *kind != "pid" || !scene.host_pid);
    let namespaces: Vec<Value> = kinds.map(|kind| json!({"type": kind})).collect();
    let annotations: serde_json::Map<String, Value> =
        scene.annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": scene.terminal,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", scene.script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "annotations": annotations,
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": {"memory": scene.memory.map(|limit| json!({"limit": limit})).unwrap_or(json!({}))},
            "namespaces": namespaces,
        },
    })
}

/// `start` with the parameters of containerd 2.3, or as before; the answer is the address.
pub fn launch(base: &Path, id: &str, with_parameters: bool) -> String {
    let text = |name: &str| base.join(name).display().to_string();
    let params = BootstrapParams {
        instance_id: id.to_owned(),
        namespace: "taskapi".to_owned(),
        ttrpc_address: text("events"),
        socket_dir: text("s"),
        ..BootstrapParams::default()
    };
    let mut child = Command::new(shim_path())
        .args(["-namespace", "taskapi", "-address", &text("containerd.sock"), "-id", id, "start"])
        .current_dir(base.join(id))
        .env("TTRPC_ADDRESS", text("events"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if with_parameters {
        child.stdin.take().unwrap().write_all(&params.to_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing but the reply");
    assert!(output.status.success());
    if with_parameters {
        let result = BootstrapResult::from_bytes(&output.stdout).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (2, "ttrpc"));
        result.address
    } else {
        String::from_utf8(output.stdout).unwrap()
    }
}

struct Receiver(Arc<Mutex<Vec<(String, Exit)>>>);

impl MethodHandler for Receiver {
    fn handler<'a, 'b>(
        &'a self,
        _context: TtrpcContext,
        request: ttrpc::Request,
    ) -> Pin<Box<dyn Future<Output = ttrpc::Result<Response>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let envelope = Forward::from_bytes(&request.payload).unwrap().envelope.unwrap();
        let event = envelope.event.expect("an event without a body crashes containerd 1.6");
        let fields = if envelope.topic == "/tasks/exit" { Exit::from_bytes(&event.value).unwrap() } else { Exit::default() };
        self.0.lock().unwrap().push((envelope.topic, fields));
        Box::pin(async {
            let mut response = Response::new();
            response.set_status(ttrpc::get_status(Code::OK, ""));
            Ok(response)
        })
    }
}

async fn receive(socket: &Path, events: Arc<Mutex<Vec<(String, Exit)>>>) -> Server {
    let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(Receiver(events));
    let service = Service { methods: HashMap::from([("Forward".to_owned(), handler)]), streams: HashMap::new() };
    let services = HashMap::from([("containerd.services.events.ttrpc.v1.Events".to_owned(), service)]);
    let mut server = Server::new().bind(&format!("unix://{}", socket.display())).unwrap().register_service(services);
    server.start().await.unwrap();
    server
}
