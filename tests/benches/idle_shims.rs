//! Bench `shim per pod, idle` of docs/limits.md: memory, threads and wake-ups of shims that have nothing to do.
//!
//! `just bench idle_shims`. One pod alone, then ten: RSS and PSS (proc_pid_smaps_rollup, kB), threads, and voluntary context switches
//! over a minute. The pods have a liveness probe that is due once an hour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hshim_tests::image::Image;
use hshim_tests::programs;
use hshim_tests::scratch::Scratch;
use serde_json::Value;

struct Node {
    scratch: Scratch,
}

impl Node {
    fn hshim(&self, args: &[&str]) {
        let output = Command::new(programs::hshim())
            .args(["--root", self.path("run"), "--data", self.path("data")])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("run hshim");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> &'static str {
        Box::leak(self.scratch.join(name).display().to_string().into_boxed_str())
    }

    fn apply(&self, number: usize) {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: idle-{number}\nspec:\n  containers:\n  - name: idle\n    image: busybox\n    \
             args: [sleep, \"100000\"]\n    livenessProbe:\n      exec:\n        command: [\"true\"]\n      initialDelaySeconds: 3600\n      \
             periodSeconds: 3600\n"
        );
        let file = self.scratch.join("pod.yaml");
        fs::write(&file, manifest).unwrap();
        self.hshim(&["apply", "-f", file.to_str().unwrap()]);
    }

    fn delete(&self, number: usize) {
        self.hshim(&["delete", &format!("pod/idle-{number}"), "--grace-period", "0"]);
    }

    fn shim(&self, number: usize) -> u32 {
        let file = self.scratch.join(format!("run/pods/default_idle-{number}/shim.json"));
        let shim: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        u32::try_from(shim["process"]["pid"].as_u64().unwrap()).unwrap()
    }
}

/// The number that follows a key in a file of `Key: number unit` lines.
fn number(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{}: no {key}", file.display()));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Figures {
    rss: u64,
    pss: u64,
    threads: u64,
    wakeups: u64,
}

fn figures(shims: &[u32], time: Duration) -> Vec<Figures> {
    let status = |pid: &u32, key| number(Path::new(&format!("/proc/{pid}/status")), key);
    let switches: Vec<u64> = shims.iter().map(|pid| status(pid, "voluntary_ctxt_switches:")).collect();
    std::thread::sleep(time);
    let figure = |(pid, before): (&u32, u64)| {
        let rollup = format!("/proc/{pid}/smaps_rollup");
        Figures {
            rss: number(Path::new(&rollup), "Rss:"),
            pss: number(Path::new(&rollup), "Pss:"),
            threads: status(pid, "Threads:"),
            wakeups: status(pid, "voluntary_ctxt_switches:") - before,
        }
    };
    shims.iter().zip(switches).map(figure).collect()
}

fn main() {
    if let Some(why) = hshim_tests::skip::why_no_containers() {
        println!("SKIPPED: {why}");
        return;
    }
    let node = Node { scratch: Scratch::new() };
    let image = node.scratch.join("busybox.tar");
    Image::busybox("busybox").write_docker_archive(&image);
    node.hshim(&["image", "load", "-i", image.to_str().unwrap()]);
    node.apply(0);
    // What starting leaves to do is done soon.
    std::thread::sleep(Duration::from_secs(3));
    let alone = figures(&[node.shim(0)], Duration::from_secs(5));
    println!("one shim: RSS {} kB, PSS {} kB, {} thread", alone[0].rss, alone[0].pss, alone[0].threads);
    (1..10).for_each(|number| node.apply(number));
    std::thread::sleep(Duration::from_secs(3));
    let shims: Vec<u32> = (0..10).map(|number| node.shim(number)).collect();
    let ten = figures(&shims, Duration::from_secs(60));
    let worst = |of: fn(&Figures) -> u64| ten.iter().map(of).max().unwrap_or(0);
    println!(
        "ten shims, the largest of each: RSS {} kB, PSS {} kB, {} thread; {} wake-ups a minute of all together",
        worst(|it| it.rss),
        worst(|it| it.pss),
        worst(|it| it.threads),
        ten.iter().map(|it| it.wakeups).sum::<u64>()
    );
    (0..10).for_each(|number| node.delete(number));
}
