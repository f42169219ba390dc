//! Nothing leaks: after many lives of containers this machine has the same processes, mounts, cgroups, descriptors and files as before.
//!
//! `HSHIM_SOAK=1000` asks for that many lives one after the other; otherwise there are few.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, skip, wait};

/// How many lives one after the other, and how many at once.
const FEW: usize = 40;
const AT_ONCE: usize = 50;

fn lives() -> usize {
    std::env::var("HSHIM_SOAK").ok().and_then(|count| count.parse().ok()).unwrap_or(FEW)
}

/// What a bundle's containers could leave behind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leftovers {
    processes: BTreeSet<i32>,
    mounts: Vec<PathBuf>,
    cgroups: Vec<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Leftovers {
    fn of(bundle: &Bundle) -> Self {
        Self {
            processes: processes_of(bundle),
            mounts: bundle.scratch.mounts(),
            cgroups: bundle.cgroups(),
            files: files_below(&bundle.root().join("containers")),
        }
    }
}

/// Processes that run from the bundle's root file system, work for its state directory, or are named after it.
fn processes_of(bundle: &Bundle) -> BTreeSet<i32> {
    let (root, name) = (bundle.scratch.path(), bundle.id());
    let is_theirs = |dir: &Path| {
        let leads_there = |link: &str| fs::read_link(dir.join(link)).is_ok_and(|target| target.starts_with(root));
        let named = fs::read(dir.join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&named).split('\0').any(|word| word == name);
        let in_cgroup = fs::read_to_string(dir.join("cgroup")).unwrap_or_default().contains(&format!("/{name}"));
        leads_there("root") || leads_there("cwd") || named || in_cgroup
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbered = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    numbered.filter(|(_pid, dir)| is_theirs(dir)).map(|(pid, _dir)| pid).collect()
}

fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.flat_map(|entry| files_below(&entry.path()).into_iter().chain([entry.path()])).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The test is nobody's parent but its own programs'; what is left is seen after a moment at most.
fn assert_nothing_is_left(bundle: &Bundle) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while Leftovers::of(bundle) != Leftovers::default() && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(Leftovers::of(bundle), Leftovers::default());
}

/// One life: create, start, exec, kill, delete.
fn live(bundle: &Bundle) {
    bundle.create();
    bundle.ok(&["start", bundle.id()]);
    bundle.ok(&["exec", bundle.id(), "true"]);
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it stops", || bundle.status() == "stopped");
    bundle.ok(&["delete", bundle.id()]);
}

#[test]
fn many_lives_leave_nothing() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let bundle = Bundle::new("sleep 1000");
    live(&bundle);
    let before = descriptors();
    for _life in 0..lives() {
        live(&bundle);
    }
    assert_nothing_is_left(&bundle);
    assert_eq!(descriptors(), before);
}

#[test]
fn many_containers_at_once_leave_nothing() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let bundles: Vec<Bundle> = (0..AT_ONCE).map(|_| Bundle::new("sleep 1000")).collect();
    let all = |args: fn(&Bundle) -> Vec<String>| {
        let start = |bundle: &Bundle| {
            let args = args(bundle);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            bundle.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let running: Vec<Child> = bundles.iter().map(start).collect();
        let failed = running.into_iter().filter_map(|mut child| (!child.wait().unwrap().success()).then_some(())).count();
        assert_eq!(failed, 0, "of {:?}", args(&bundles[0]));
    };
    all(|bundle| vec!["create".into(), bundle.id().into()]);
    all(|bundle| vec!["start".into(), bundle.id().into()]);
    all(|bundle| vec!["exec".into(), bundle.id().into(), "true".into()]);
    all(|bundle| vec!["delete".into(), "--force".into(), bundle.id().into()]);
    for bundle in &bundles {
        assert_nothing_is_left(bundle);
    }
}

#[test]
fn failures_leave_nothing() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let mut bundle = Bundle::new("true");
    for change in [
        |config: &mut serde_json::Value| config["process"]["args"] = serde_json::json!(["/no/such"]),
        |config: &mut serde_json::Value| {
            config["mounts"] = serde_json::json!([{"destination": "/x", "type": "nosuchfs", "source": "x"}])
        },
        |config: &mut serde_json::Value| config["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/false"}]}),
        |config: &mut serde_json::Value| config["hooks"] = serde_json::json!({"startContainer": [{"path": "/bin/false"}]}),
    ] {
        let whole = bundle.config.clone();
        bundle.edit(change);
        bundle.refused(&["run", bundle.id()]);
        assert_nothing_is_left(&bundle);
        bundle.edit(|config| *config = whole);
    }
}

#[test]
fn a_create_that_is_killed_at_any_point_leaves_what_delete_clears() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc 1.1 leaves processes and cgroups behind");
    }
    let bundle = Bundle::new("sleep 1000");
    for point in 0..lives() as u64 {
        let mut create = bundle.command(&["create", bundle.id()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A point in time is what is wanted here, not a condition: 0 to 100 ms in uneven steps.
        std::thread::sleep(Duration::from_micros(point * 7919 % 100_000));
        create.kill().unwrap();
        create.wait().unwrap();
        bundle.ok(&["delete", "--force", bundle.id()]);
        assert_nothing_is_left(&bundle);
    }
}
