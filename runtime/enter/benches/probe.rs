//! Bench `exec probe` of docs/limits.md: one command in a running container, by every way there is, in one run.
//!
//! `cargo bench -p hshim-enter --bench probe`. Interleaved rounds, back to back and one per 300 ms; wall time and the CPU time of
//! everything a way causes (getrusage(2), RUSAGE_CHILDREN), medians, ratios to spawning the same static program on the host.
//! crun joins where it can run: under `tests/on-v2.sh` on a machine whose cgroups are hybrid.
#![allow(unsafe_code, reason = "getrusage")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_arguments,
    clippy::wildcard_enum_match_arm,
    reason = "a bench fails by panicking, and shares the tests' container"
)]

#[path = "../tests/enter/container.rs"]
mod container;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use container::{Container, exited, identity, skipped};
use hshim_enter::Identity;

/// One way to run `true`.
struct Way<'a> {
    name: &'static str,
    run: Box<dyn Fn() + 'a>,
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, run: impl Fn() + 'a) -> Self {
        Self { name, run: Box::new(run), wall: Vec::new(), cpu: Vec::new() }
    }

    fn measure(&mut self) {
        let (cpu, wall) = (children_cpu(), Instant::now());
        (self.run)();
        self.wall.push(wall.elapsed().as_secs_f64() * 1e3);
        self.cpu.push(children_cpu() - cpu);
    }
}

/// Milliseconds of CPU of all children that have been waited for.
fn children_cpu() -> f64 {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: usage is ours and large enough.
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(done, 0);
    let milliseconds = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn quiet(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("run it");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn rounds(title: &str, ways: &mut [Way<'_>], count: usize, pause: Duration) {
    for way in &mut *ways {
        way.measure();
        way.wall.clear();
        way.cpu.clear();
    }
    for _ in 0..count {
        for way in &mut *ways {
            std::thread::sleep(pause);
            way.measure();
        }
    }
    println!("{title}: {count} rounds, medians");
    println!("  {:<22} {:>9} {:>7} {:>9} {:>7}", "", "wall ms", "ratio", "CPU ms", "ratio");
    let base = (median(&mut ways[0].wall), median(&mut ways[0].cpu));
    for way in ways {
        let (wall, cpu) = (median(&mut way.wall), median(&mut way.cpu));
        println!("  {:<22} {wall:>9.2} {:>7.2} {cpu:>9.2} {:>7.2}", way.name, wall / base.0, cpu / base.1);
    }
}

fn main() {
    if skipped() {
        return;
    }
    let count = std::env::var("HSHIM_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let container = Container::start(|_| {});
    let crun = crun_runs().then(|| Container::start_by("crun", without_rules));
    let limited = Identity { seccomp: Some(container::allow_everything()), no_new_privs: true, ..identity() };
    let mut ways = vec![
        Way::new("host spawn", || quiet(Command::new("/bin/busybox").arg("true"))),
        Way::new("hshim probe", || assert_eq!(container.probe_for(&limited, &["true"], 10.0).0, exited(0))),
        Way::new("hshim exec (enter)", || assert_eq!(container.exec(&limited, &["true"]).1, Some(0))),
        Way::new("runc exec", || quiet(container.command("exec").args([&container.id, "true"]))),
    ];
    if let Some(crun) = &crun {
        ways.push(Way::new("crun exec", || quiet(crun.command("exec").args([&crun.id, "true"]))));
    } else {
        println!("crun cannot run here: see tests/on-v2.sh");
    }
    rounds("back to back", &mut ways, count, Duration::ZERO);
    for way in &mut ways {
        way.wall.clear();
        way.cpu.clear();
    }
    rounds("one per 300 ms", &mut ways, count / 2, Duration::from_millis(300));
}

/// crun needs CAP_SYS_RESOURCE for a device program, and these containers have no need of one.
fn without_rules(spec: &mut serde_json::Value) {
    spec["linux"]["resources"] = serde_json::json!({});
}

fn crun_runs() -> bool {
    let features = Command::new("crun").args(["--root", "/tmp/hshim-bench-crun", "list"]).output();
    features.is_ok_and(|output| output.status.success()) && std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
