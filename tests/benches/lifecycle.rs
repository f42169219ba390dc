//! Bench `create + start + exit + delete` of docs/limits.md: the life of a container under each runtime, in one run.
//!
//! `just bench lifecycle`; on the private v2 mount (`tests/on-v2.sh`) crun can take part. Interleaved rounds, hot and one per
//! 300 ms, without and with the usual seccomp profile; medians, ratios to the first runtime that is not hshim. Wall time, and the CPU time
//! of everything a verb causes (getrusage(2), RUSAGE_CHILDREN). Also exec, state, and kill + delete of a running container.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The profile that podman's package brings, in its own format.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// Samples of one phase under one runtime: wall and CPU milliseconds.
type Samples = BTreeMap<&'static str, Vec<(f64, f64)>>;

struct Runner {
    name: String,
    bundle: Bundle,
    sleeper: Bundle,
    samples: Samples,
}

impl Runner {
    fn new(program: &Path, seccomp: Option<&Value>) -> Self {
        let bundle = |script: &str| {
            let mut bundle = Bundle::new(script);
            bundle.program = program.to_owned();
            bundle.edit(|config| {
                config["process"]["args"] = json!(script.split(' ').collect::<Vec<_>>());
                // crun needs CAP_SYS_RESOURCE for a device program; a bench of lives is not about devices.
                config["linux"]["resources"] = json!({});
                if let Some(seccomp) = seccomp {
                    config["linux"]["seccomp"] = seccomp.clone();
                }
            });
            bundle
        };
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, bundle: bundle("/bin/true"), sleeper: bundle("/bin/sleep 1000"), samples: Samples::new() }
    }

    fn timed(&mut self, phase: &'static str, run: impl FnOnce(&Self)) -> (f64, f64) {
        let (cpu, wall) = (children_cpu(), Instant::now());
        run(self);
        let sample = (wall.elapsed().as_secs_f64() * 1e3, children_cpu() - cpu);
        self.samples.entry(phase).or_default().push(sample);
        sample
    }

    fn life(&mut self) {
        self.timed("whole life", |runner| {
            let bundle = &runner.bundle;
            let pid_file = bundle.scratch.join("pid");
            quiet(bundle, &["create", "--pid-file", path(&pid_file), bundle.id()]);
            let pid = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
            quiet(bundle, &["start", bundle.id()]);
            waitpid(Pid::from_raw(pid), None).unwrap();
            quiet(bundle, &["delete", bundle.id()]);
        });
    }

    fn begin_sleeper(&self) {
        quiet(&self.sleeper, &["run", "-d", self.sleeper.id()]);
    }

    fn others(&mut self) {
        self.begin_sleeper();
        let pid = self.sleeper.pid();
        self.timed("exec", |runner| quiet(&runner.sleeper, &["exec", runner.sleeper.id(), "/bin/true"]));
        self.timed("state", |runner| quiet(&runner.sleeper, &["state", runner.sleeper.id()]));
        self.timed("kill + delete", |runner| {
            quiet(&runner.sleeper, &["kill", runner.sleeper.id(), "KILL"]);
            waitpid(Pid::from_raw(pid), None).unwrap();
            quiet(&runner.sleeper, &["delete", runner.sleeper.id()]);
        });
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn quiet(bundle: &Bundle, args: &[&str]) {
    let errors = bundle.scratch.join("errors");
    let file = std::fs::File::create(&errors).unwrap();
    let status = bundle.command(args).stdout(Stdio::null()).stderr(file).status().expect("run it");
    assert!(status.success(), "{} {args:?}: {status}: {}", bundle.program.display(), std::fs::read_to_string(errors).unwrap());
}

/// Milliseconds of CPU of all children that have been waited for.
fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e3
}

/// The profile as a runtime's caller hands it over: what depends on capabilities that the container lacks is left out.
fn usual_profile() -> Option<Value> {
    let text = std::fs::read(PROFILE).ok()?;
    let profile: Value = serde_json::from_slice(&text).ok()?;
    let plain = |rule: &&Value| {
        let needed = |key: &str| rule.pointer(key).and_then(Value::as_array).filter(|list| !list.is_empty());
        let is_ours = needed("/includes/arches").is_none_or(|list| list.iter().any(|name| name == "amd64"));
        is_ours && needed("/includes/caps").is_none() && rule["action"] == "SCMP_ACT_ALLOW"
    };
    let rules: Vec<Value> = profile["syscalls"].as_array()?.iter().filter(plain).map(rule).collect();
    let architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    Some(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": rules}))
}

fn rule(rule: &Value) -> Value {
    let mut plain = json!({"names": rule["names"], "action": rule["action"]});
    if let Some(args) = rule["args"].as_array().filter(|args| !args.is_empty()) {
        plain["args"] = json!(args);
    }
    plain
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(title: &str, runners: &[Runner]) {
    println!("{title}: medians, ms wall / ms CPU (ratio of hshim to each)");
    for phase in ["whole life", "exec", "state", "kill + delete"] {
        let of = |runner: &Runner| {
            let samples = runner.samples.get(phase)?;
            Some((median(samples.iter().map(|it| it.0)), median(samples.iter().map(|it| it.1))))
        };
        let Some(ours) = of(&runners[0]) else { continue };
        print!("  {phase:<14}");
        for runner in runners {
            let (wall, cpu) = of(runner).unwrap();
            print!("  {} {wall:.1} / {cpu:.1} ({:.2} / {:.2})", runner.name, ours.0 / wall, ours.1 / cpu);
        }
        println!();
    }
}

fn rounds(title: &str, programs: &[PathBuf], seccomp: Option<&Value>, count: usize, pause: Duration) {
    let mut runners: Vec<Runner> = programs.iter().map(|program| Runner::new(program, seccomp)).collect();
    for runner in &mut runners {
        runner.life();
        runner.samples.clear();
    }
    for _ in 0..count {
        for runner in &mut runners {
            std::thread::sleep(pause);
            runner.life();
        }
    }
    if pause.is_zero() {
        for _ in 0..count / 4 {
            runners.iter_mut().for_each(Runner::others);
        }
    }
    print(title, &runners);
}

fn main() {
    if let Some(why) = hshim_tests::skip::why_no_containers() {
        println!("SKIPPED: {why}");
        return;
    }
    prctl::set_child_subreaper(true).unwrap();
    let count = std::env::var("HSHIM_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let pure_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let crun = programs::installed("crun").filter(|_| pure_v2);
    let references = crun.into_iter().chain(programs::installed("runc"));
    let programs: Vec<PathBuf> = [programs::hshim()].into_iter().chain(references).collect();
    println!("cgroups: {}", if pure_v2 { "v2" } else { "v1 or hybrid: crun cannot run here" });
    rounds("hot, no profile", &programs, None, count, Duration::ZERO);
    rounds("one per 300 ms, no profile", &programs, None, count / 3, Duration::from_millis(300));
    match usual_profile() {
        Some(profile) => {
            rounds("hot, the usual seccomp profile", &programs, Some(&profile), count, Duration::ZERO);
            rounds("one per 300 ms, the usual seccomp profile", &programs, Some(&profile), count / 3, Duration::from_millis(300));
        }
        None => println!("no {PROFILE}: not measured with a profile"),
    }
}
