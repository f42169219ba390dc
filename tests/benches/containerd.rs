//! What hshim's shim costs under containerd, beside the distribution's own shim, in one run on one machine. Printed as ratios.
//!
//! `cargo bench --bench containerd`, or with the programs of another build: `HSHIM_BIN=DIRECTORY`. `HSHIM_BENCH_RESTARTS=1` measures
//! restarts alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench: what fails ends it"
)]
#![allow(unused_crate_dependencies, reason = "the package's other programs use them")]

use std::fmt::Write;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hshim_tests::containerd::{Daemon, Meter, Running, Setting, shims_below};
use hshim_tests::programs;
use hshim_tests::wait::until;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

const REFERENCE: &str = "io.containerd.runc.v2";
const JUDGED: &str = "io.containerd.hshim.v2";
const RUNS: usize = 15;
const EXECS: usize = 30;
const CROWD: usize = 20;
const WATCH: Duration = Duration::from_secs(10);
const LIVES: usize = 21;
/// So that both ways pay what idleness costs.
const PAUSE: Duration = Duration::from_millis(300);
const PROBE: &str = r#"hshim.dev/livenessProbe={"exec":{"command":["true"]},"periodSeconds":1}"#;

/// One line of the table: what, unit, and a figure for each shim.
type Figures = Vec<(&'static str, &'static str, f64)>;

fn main() {
    let Some(reference) = measure(REFERENCE) else { return };
    let Some(judged) = measure(JUDGED) else { return };
    let mut table = format!("{:44} {:>8} {:>12} {:>12} {:>8}\n", "", "", "runc's shim", "hshim's", "ratio");
    for ((what, unit, peer), (_, _, own)) in reference.into_iter().zip(judged) {
        let ratio = if peer > 0.0 { own / peer } else { f64::NAN };
        writeln!(table, "{what:44} {unit:>8} {peer:12.2} {own:12.2} {ratio:8.3}").unwrap();
    }
    print!("{table}");
}

fn measure(runtime: &str) -> Option<Figures> {
    let daemon = Daemon::start_for(Setting::Tasks, runtime)?;
    let Some(meter) = Meter::open(&daemon) else {
        println!("SKIPPED: this machine keeps no account of processor time in cgroups");
        return None;
    };
    if std::env::var_os("HSHIM_BENCH_RESTARTS").is_some() {
        return Some(again(&daemon));
    }
    let mut figures = lives(&daemon, &meter);
    figures.extend(commands(&daemon, &meter));
    figures.extend(idle(&daemon));
    figures.extend(probes(&daemon, &meter));
    figures.extend(again(&daemon));
    Some(figures)
}

/// `ctr run` from start to exit.
fn lives(daemon: &Daemon, meter: &Meter) -> Figures {
    let (mut times, before) = (Vec::new(), meter.time());
    for _ in 0..RUNS {
        let start = Instant::now();
        daemon.run("life", &["--rm"], &["true"]).ok();
        times.push(start.elapsed());
    }
    let each = (meter.time() - before) / u32::try_from(RUNS).unwrap();
    vec![("ctr run to exit, p50", "ms", median(times)), ("ctr run to exit, CPU of everything", "ms", milliseconds(each))]
}

/// `ctr task exec` of a command that does nothing.
fn commands(daemon: &Daemon, meter: &Meter) -> Figures {
    daemon.detach("c", &[], &["sleep", "1000"]);
    daemon.exec("c", &["true"]).ok();
    let (mut times, before) = (Vec::new(), meter.time());
    for _ in 0..EXECS {
        let start = Instant::now();
        daemon.exec("c", &["true"]).ok();
        times.push(start.elapsed());
    }
    let each = (meter.time() - before) / u32::try_from(EXECS).unwrap();
    daemon.remove("c");
    vec![("ctr task exec true, p50", "ms", median(times)), ("ctr task exec true, CPU of everything", "ms", milliseconds(each))]
}

/// A shim alone, ten of them, and what wakes one that has nothing to do.
fn idle(daemon: &Daemon) -> Figures {
    let ids: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    daemon.detach(&ids[0], &[], &["sleep", "1000"]);
    let alone = shims_below(daemon.home()).remove(0);
    let before = alone.wake_ups();
    std::thread::sleep(WATCH);
    let wake_ups = figure(alone.wake_ups() - before) * 60.0 / WATCH.as_secs_f64();
    let mut figures: Figures = vec![
        ("one shim, RSS", "kB", figure(alone.memory("Rss"))),
        ("one shim, PSS", "kB", figure(alone.memory("Pss"))),
        ("one shim, threads", "", figure(alone.threads())),
        ("one shim, wake-ups a minute", "", wake_ups),
    ];
    for id in &ids[1..] {
        daemon.detach(id, &[], &["sleep", "1000"]);
    }
    let ten = shims_below(daemon.home());
    let all: u64 = ten.iter().map(|shim| shim.memory("Pss")).sum();
    figures.push(("each of ten shims, PSS", "kB", figure(all) / 10.0));
    for id in &ids {
        daemon.remove(id);
    }
    figures
}

/// Twenty containers, a command a second in each: by the shim itself, or by `ctr` where the shim has no probes.
fn probes(daemon: &Daemon, meter: &Meter) -> Figures {
    let own = daemon.runtime() == JUDGED;
    let ids: Vec<String> = (0..CROWD).map(|number| format!("c{number}")).collect();
    let options: &[&str] = if own { &["--annotation", PROBE] } else { &[] };
    for id in &ids {
        daemon.detach(id, options, &["sleep", "1000"]);
    }
    let (before, start) = (meter.time(), Instant::now());
    if own {
        std::thread::sleep(WATCH);
    } else {
        drive(daemon, &ids, start);
    }
    let share = (meter.time() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    for id in &ids {
        daemon.remove(id);
    }
    vec![("20 containers, an exec probe a second each", "% of CPU", share)]
}

fn drive(daemon: &Daemon, ids: &[String], start: Instant) {
    let gap = Duration::from_secs(1) / u32::try_from(CROWD).unwrap();
    let mut running: Vec<Running> = Vec::new();
    for (turn, id) in (1..).zip(ids.iter().cycle()) {
        if start.elapsed() >= WATCH {
            break;
        }
        running.push(daemon.start_exec(id, &[], &["true"]));
        running.retain_mut(Running::is_running);
        std::thread::sleep((start + gap * turn).saturating_duration_since(Instant::now()));
    }
    for exec in running {
        exec.finish().ok();
    }
}

/// From the death of init to the first word of its successor: in place, or by what a client has to do otherwise. Between them the same
/// bundle is created and started by hand, each time under a new id.
fn again(daemon: &Daemon) -> Figures {
    let own = daemon.runtime() == JUDGED;
    let policy = [
        "--annotation",
        "hshim.dev/restartPolicy=Always",
        "--annotation",
        r#"hshim.dev/backoff={"initialMilliseconds":1,"capMilliseconds":1}"#,
        "--annotation",
        r#"hshim.dev/supervision={"restartBudget":{"restarts":1000,"withinMilliseconds":1000}}"#,
    ];
    daemon.detach("again", if own { &policy } else { &[] }, &["sh", "-c", "echo alive; exec sleep 1000"]);
    let hand = Hand::new(daemon, "again");
    let (mut times, mut by_hand) = (Vec::new(), Vec::new());
    for life in 1..=LIVES {
        let words = || daemon.output("again").lines().count();
        until("it lives", || words() == life && daemon.task("again").is_some_and(|task| task.runs()));
        let init = daemon.task("again").unwrap().init();
        std::thread::sleep(PAUSE);
        times.push(timed(|| {
            kill(init, Signal::SIGKILL).unwrap();
            if !own {
                start_again(daemon);
            }
            spin(|| words() > life);
        }));
        std::thread::sleep(PAUSE);
        by_hand.push(hand.creates_and_starts(life));
    }
    daemon.remove("again");
    let (restart, created) = (median(times), median(by_hand));
    vec![
        ("exit -> running again, p50", "ms", restart),
        ("create + start of that bundle by hand, p50", "ms", created),
        ("exit -> running again / create + start", "x", restart / created),
    ]
}

/// A task's bundle outside containerd: its own cgroup and output, the same root file system.
struct Hand {
    program: PathBuf,
    home: PathBuf,
}

impl Hand {
    fn new(daemon: &Daemon, id: &str) -> Self {
        let home = daemon.home().join("hand");
        std::fs::create_dir_all(&home).unwrap();
        let bundle = daemon.bundle(id);
        let mut config: Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap();
        config["root"]["path"] = bundle.join("rootfs").to_str().unwrap().into();
        config["linux"]["cgroupsPath"] = format!("/{}/hand", daemon.name()).into();
        config["annotations"] = serde_json::json!({});
        std::fs::write(home.join("config.json"), config.to_string()).unwrap();
        let program = if daemon.runtime() == JUDGED { programs::hshim() } else { programs::installed("runc").unwrap() };
        Self { program, home }
    }

    /// From the call of `create` to the first word of the process.
    fn creates_and_starts(&self, life: usize) -> Duration {
        let (id, output) = (format!("hand-{life}"), self.home.join("output"));
        let log = File::create(&output).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&self.program);
            command.arg("--root").arg(self.home.join("state")).args(arguments).stdin(Stdio::null());
            assert!(command.stdout(log.try_clone().unwrap()).status().unwrap().success(), "{arguments:?}");
        };
        let time = timed(|| {
            run(&["create", "--bundle", self.home.to_str().unwrap(), &id]);
            run(&["start", &id]);
            spin(|| std::fs::metadata(&output).unwrap().len() > 0);
        });
        run(&["delete", "--force", &id]);
        time
    }
}

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn spin(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not live again");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn start_again(daemon: &Daemon) {
    daemon.wait_stopped("again");
    daemon.ctr(&["task", "rm", "again"]);
    let log = format!("file://{}", daemon.home().join("again.log").display());
    daemon.ctr(&["task", "start", "--detach", "--log-uri", &log, "again"]).ok();
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    milliseconds(times[times.len() / 2])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn figure(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
