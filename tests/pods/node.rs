//! A node: hshim with directories of its own, and a look at everything that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hshim_tests::image::Image;
use hshim_tests::scratch::Scratch;
use hshim_tests::{programs, skip, wait};
use serde_json::Value;

/// A root and a data directory that no other test has.
pub(crate) struct Node {
    pub(crate) scratch: Scratch,
}

/// What an `hshim` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Node {
    /// An empty one; none, with a word why, when containers cannot run here.
    pub(crate) fn new() -> Option<Self> {
        if let Some(why) = skip::why_no_containers() {
            skip::note(why);
            return None;
        }
        Some(Self { scratch: Scratch::new() })
    }

    /// One that has busybox as `busybox`.
    pub(crate) fn with_busybox() -> Option<Self> {
        let node = Self::new()?;
        node.load(&Image::busybox("busybox:latest"));
        Some(node)
    }

    pub(crate) fn load(&self, image: &Image) {
        let archive = self.scratch.join("image.tar");
        image.write_docker_archive(&archive);
        self.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
        fs::remove_file(archive).unwrap();
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.join("run")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs::hshim());
        command.arg("--root").arg(self.root()).arg("--data").arg(self.data()).args(args);
        command.current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Standard output of what must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        said.out
    }

    /// Standard error of what must fail with 1.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 1, "{args:?}: {} {}", said.out, said.err);
        said.err
    }

    /// Writes a manifest.
    pub(crate) fn manifest(&self, content: &str) -> String {
        let path = self.scratch.join("pod.yaml");
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Applies a manifest that must be good.
    pub(crate) fn apply(&self, content: &str) -> String {
        let path = self.manifest(content);
        self.ok(&["apply", "-f", &path])
    }

    /// A pod's directory.
    pub(crate) fn dir(&self, pod: &str) -> PathBuf {
        self.root().join("pods").join(format!("default_{pod}"))
    }

    fn json(&self, pod: &str, file: &str) -> Option<Value> {
        let text = fs::read(self.dir(pod).join(file)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub(crate) fn uid(&self, pod: &str) -> String {
        self.json(pod, "supervision.json").unwrap()["plan"]["uid"].as_str().unwrap().to_owned()
    }

    /// One container's status, as the shim writes it.
    pub(crate) fn container(&self, pod: &str, name: &str) -> Option<Value> {
        let status = self.json(pod, "status.json")?;
        let containers = status["status"]["containers"].as_array().unwrap();
        containers.iter().find(|container| container["name"] == name).cloned()
    }

    pub(crate) fn phase(&self, pod: &str) -> String {
        let status = self.json(pod, "status.json").unwrap_or_default();
        status["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn restarts(&self, pod: &str, name: &str) -> u64 {
        self.container(pod, name).and_then(|container| container["restartCount"].as_u64()).unwrap_or_default()
    }

    /// Process id of a container that runs.
    pub(crate) fn pid(&self, pod: &str, name: &str) -> Option<i32> {
        let pid = self.container(pod, name)?["state"]["running"]["pid"].as_i64()?;
        i32::try_from(pid).ok()
    }

    pub(crate) fn wait_running(&self, pod: &str, name: &str) -> i32 {
        wait::for_value(&format!("{pod}/{name} runs"), || self.pid(pod, name))
    }

    /// Process id of a pod's shim.
    pub(crate) fn shim(&self, pod: &str) -> Option<i32> {
        let shim = self.json(pod, "shim.json")?;
        i32::try_from(shim["process"]["pid"].as_i64().unwrap()).ok()
    }

    /// The texts that a life of a container wrote.
    pub(crate) fn log(&self, pod: &str, name: &str, run: u32) -> Vec<String> {
        let path = self.data().join(format!("logs/default_{pod}_{}/{name}/{run}.log", self.uid(pod)));
        let text = fs::read_to_string(path).unwrap_or_default();
        // Time, stream, and whether the line is whole stand before it.
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()).collect()
    }

    /// All of the first life's output, once its last line is this.
    pub(crate) fn log_until(&self, pod: &str, name: &str, last: &str) -> Vec<String> {
        wait::for_value(&format!("{pod}/{name} writes {last}"), || {
            let log = self.log(pod, name, 0);
            log.iter().any(|line| line == last).then_some(log)
        })
    }

    /// `Reason: message` of each event, repeated ones once.
    pub(crate) fn events(&self, pod: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir(pod).join("events.jsonl")).unwrap_or_default();
        let mut events: Vec<String> = Vec::new();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let event = format!("{}: {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap());
            if !events.contains(&event) {
                events.push(event);
            }
        }
        events
    }

    pub(crate) fn delete(&self, pod: &str) {
        let said = self.ok(&["delete", &format!("pod/{pod}"), "--grace-period", "0"]);
        assert_eq!(said, format!("pod \"{pod}\" deleted\n"));
    }

    /// What there is on this machine because of this node, but for loaded images: processes, mounts, cgroups, files.
    pub(crate) fn traces(&self, uids: &[String]) -> Vec<String> {
        let mut traces: Vec<String> = self.scratch.mounts().iter().map(|mount| format!("mount {}", mount.display())).collect();
        for dir in ["run/pods", "run/containers", "run/runtimes/runc", "data/pods", "data/logs", "data/images/staging"] {
            traces.extend(entries(&self.scratch.join(dir)).iter().map(|path| format!("file {}", path.display())));
        }
        for uid in uids {
            traces.extend(cgroups(&format!("hshim/pod{uid}")).iter().map(|path| format!("cgroup {}", path.display())));
        }
        traces.extend(processes_of(self.scratch.path()).iter().map(|pid| format!("process {pid}")));
        traces
    }

    /// The pod goes, and its cgroup and directories with it; others stay.
    pub(crate) fn delete_without_trace_of_one(&self, pod: &str) {
        let uid = self.uid(pod);
        self.delete(pod);
        let left: Vec<String> =
            self.traces(std::slice::from_ref(&uid)).into_iter().filter(|trace| trace.contains(&uid)).collect();
        assert_eq!((left, self.dir(pod).exists()), (Vec::new(), false));
    }

    /// The pod goes, and nothing of it stays.
    pub(crate) fn delete_without_trace(&self, pod: &str) {
        let uid = self.uid(pod);
        self.delete(pod);
        assert_eq!(self.traces(&[uid]), [""; 0]);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for dir in entries(&self.root().join("pods")) {
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            if let Some((namespace, pod)) = name.split_once('_') {
                let said = self.run(&["delete", &format!("pod/{pod}"), "--namespace", namespace, "--force"]);
                if said.code != 0 {
                    println!("delete {pod}: {}", said.err);
                }
            }
        }
    }
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The directories of a cgroup, in every hierarchy that has it.
pub(crate) fn cgroups(path: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let roots = entries(root).into_iter().chain([root.to_owned()]);
    roots.map(|root| root.join(path)).filter(|dir| dir.is_dir()).collect()
}

/// Processes that name a directory in their command line, or run below it.
fn processes_of(dir: &Path) -> Vec<String> {
    let name = dir.to_string_lossy();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let pid = entry.file_name().unwrap().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(entry.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let mounts = fs::read_to_string(entry.join("mountinfo")).unwrap_or_default();
        // Its root is an overlay of ours.
        let is_inside = mounts.lines().any(|line| line.contains(" / / ") && line.contains(&*name));
        if command.contains(&*name) || is_inside {
            found.push(format!("{pid} {command}"));
        }
    }
    found
}
