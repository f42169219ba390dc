//! A node of its own for each test: state, images, and pods of busybox.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use hshim_tests::image::Image;
use hshim_tests::scratch::Scratch;
use hshim_tests::{programs, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Skips a test that needs containers where there can be none.
#[macro_export]
macro_rules! needs_containers {
    () => {
        if let Some(why) = hshim_tests::skip::why_no_containers() {
            hshim_tests::skip!("{why}");
        }
    };
}

pub struct Node {
    pub scratch: Scratch,
    made: Vec<(String, String)>,
}

impl Node {
    /// With the image `busybox`.
    pub fn new() -> Self {
        let node = Self { scratch: Scratch::new(), made: Vec::new() };
        let archive = node.scratch.join("busybox.tar");
        Image::busybox("busybox:latest").write_docker_archive(&archive);
        node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
        node
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs::hshim());
        command.arg("--root").arg(self.scratch.join("run")).arg("--data").arg(self.scratch.join("data"));
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}: {}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a command that fails with this code.
    pub fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Makes a pod; it is deleted with the node. What is not written gets Kubernetes' defaults.
    pub fn apply(&mut self, namespace: &str, name: &str, spec: Value) {
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}}, "spec": spec});
        let file = self.scratch.join(format!("{namespace}-{name}.json"));
        fs::write(&file, manifest.to_string()).unwrap();
        self.made.push((namespace.to_owned(), name.to_owned()));
        self.ok(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// A pod `web` with one container `main` that runs a script.
    pub fn apply_web(&mut self, script: &str) {
        self.apply("default", "web", spec(&[("main", script)]));
    }

    pub fn delete(&self, namespace: &str, name: &str) {
        self.ok(&["delete", "--namespace", namespace, &format!("pod/{name}"), "--grace-period", "0"]);
    }

    /// Status of a container as `get -o json` tells it.
    pub fn container(&self, pod: &str, container: usize) -> Value {
        let pod = self.json(&["get", &format!("pod/{pod}"), "-o", "json"]);
        // Nothing before the shim has looked for the first time.
        pod.pointer(&format!("/status/containerStatuses/{container}")).cloned().unwrap_or_default()
    }

    pub fn restarts(&self, pod: &str) -> u64 {
        self.container(pod, 0)["restartCount"].as_u64().unwrap_or_default()
    }

    pub fn is_running(&self, pod: &str) -> bool {
        self.container(pod, 0)["state"].get("running").is_some()
    }

    pub fn until_running(&self, pod: &str) {
        wait::until("it runs", || self.is_running(pod));
    }

    /// The STATUS column.
    pub fn status(&self, pod: &str) -> String {
        let row = self.ok(&["get", "pod", pod, "--no-headers"]);
        row.split_whitespace().nth(2).unwrap().to_owned()
    }

    pub fn supervision_dir(&self, namespace: &str, pod: &str) -> PathBuf {
        self.scratch.join("run/pods").join(format!("{namespace}_{pod}"))
    }

    pub fn kill_shim(&self, pod: &str) {
        let text = fs::read(self.supervision_dir("default", pod).join("shim.json")).unwrap();
        let identity: Value = serde_json::from_slice(&text).unwrap();
        let shim = Pid::from_raw(i32::try_from(identity["process"]["pid"].as_i64().unwrap()).unwrap());
        kill(shim, Signal::SIGKILL).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{shim}/stat")).unwrap_or_default();
        wait::until("the shim is gone", || stat().is_empty() || stat().contains(") Z "));
    }

    /// A command that goes on, and its lines as they come.
    pub fn stream(&self, args: &[&str]) -> Stream {
        let errors = File::create(self.scratch.join("stream-errors")).unwrap();
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                // Nobody reads any more: the pipe is closed with this thread.
                if line.is_err() || send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Stream { child, lines }
    }

    pub fn stream_errors(&self) -> String {
        fs::read_to_string(self.scratch.join("stream-errors")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for (namespace, name) in &self.made {
            let pod = format!("pod/{name}");
            drop(self.run(&["delete", "--namespace", namespace, &pod, "--force", "--ignore-not-found"]));
        }
    }
}

pub struct Stream {
    child: Child,
    lines: Receiver<String>,
}

impl Stream {
    /// The next line; none when the command has closed its output.
    pub fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(wait::PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for a line"),
        }
    }

    /// Reads on until a line holds.
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        while let Some(line) = self.next() {
            if holds(&line) {
                return line;
            }
            seen.push(line);
        }
        panic!("{what}: did not come: {seen:#?}")
    }

    /// The exit code after its end.
    pub fn code(&mut self) -> Option<i32> {
        wait::for_value("the command ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A pod of these containers, each running a script, with a short grace.
pub fn spec(containers: &[(&str, &str)]) -> Value {
    let container = |(name, script): &(&str, &str)| json!({"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]});
    let containers: Vec<Value> = containers.iter().map(container).collect();
    json!({"terminationGracePeriodSeconds": 1, "containers": containers})
}

/// A container that is healthy until /tmp/healthy is removed; looked for every second, twice.
pub fn probed(script: &str) -> Value {
    let mut spec = spec(&[("main", script)]);
    spec["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["cat", "/tmp/healthy"]}, "periodSeconds": 1, "failureThreshold": 2});
    spec
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
