//! A node: hshim with directories of its own, presets among them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hshim_tests::programs;
use hshim_tests::scratch::Scratch;
use serde_json::Value;

use crate::written;

/// A pod that has never heard of hshim.
pub const WEBSITE: &str = "apiVersion: v1
kind: Pod
metadata:
  name: website
  labels:
    role: frontend
spec:
  containers:
  - name: website
    image: busybox
    command: [sh, -c, \"touch /tmp/ok; while :; do sleep 0.05; done\"]
";

pub struct Node {
    pub scratch: Scratch,
}

impl Node {
    pub fn new() -> Self {
        Self { scratch: Scratch::new() }
    }

    pub fn presets(&self) -> PathBuf {
        self.scratch.join("presets.d")
    }

    /// Writes a preset of the node.
    pub fn preset(&self, name: &str, text: &str) -> String {
        written::write(&self.presets(), name, text)
    }

    /// Writes any file.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.scratch.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs::hshim());
        command.arg("--root").arg(self.scratch.join("run")).arg("--data").arg(self.scratch.join("data"));
        command.arg("--presets-dir").arg(self.presets()).args(args).current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    /// Standard output of what must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of what must fail with 1, with the scratch directory's path left out.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap().replace(&format!("{}/", self.scratch.path().display()), "")
    }

    /// A file in the directory of a pod.
    pub fn record(&self, pod: &str, file: &str) -> Option<Value> {
        let text = fs::read(self.scratch.join("run/pods").join(format!("default_{pod}")).join(file)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.record("website", "supervision.json").is_some() {
            let deleted = self.command(&["delete", "pod/website", "--force"]).output().unwrap();
            println!("{}", String::from_utf8_lossy(&deleted.stderr));
        }
    }
}
