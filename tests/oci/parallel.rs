//! Many at once, and a create that is killed at any point.

use std::process::{Child, Stdio};
use std::time::Duration;

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;

use crate::support::*;

#[test]
fn containers_run_at_once() {
    needs_containers!();
    let bundles: Vec<Bundle> = (0..12).map(|number| Bundle::new(&format!("echo {number}"))).collect();
    let runs: Vec<Child> =
        bundles.iter().map(|bundle| bundle.command(&["run", bundle.id()]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for (number, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        assert_eq!(stdout(&output), format!("{number}\n"), "{}", stderr(&output));
    }
}

#[test]
fn of_creates_with_one_id_exactly_one_wins() {
    let bundle = bundle!("sleep 1000");
    let creates: Vec<Child> = (0..8)
        .map(|_| bundle.command(&["create", bundle.id()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let won = creates.into_iter().filter_map(|mut create| create.wait().unwrap().success().then_some(())).count();
    assert_eq!(won, 1);
    assert_eq!(bundle.status(), "created");
}

#[test]
fn execs_run_at_once() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let execs: Vec<(usize, Child)> = (0..12)
        .map(|n| (n, bundle.command(&["exec", bundle.id(), "echo", &n.to_string()]).stdout(Stdio::piped()).spawn().unwrap()))
        .collect();
    for (number, exec) in execs {
        assert_eq!(stdout(&exec.wait_with_output().unwrap()), format!("{number}\n"));
    }
}

#[test]
fn of_starts_exactly_one_wins() {
    only_hshim!("runc 1.1 has no lock, and a start that comes too late may wait for ever");
    let bundle = bundle!("sleep 1000");
    bundle.create();
    let starts: Vec<Child> =
        (0..6).map(|_| bundle.command(&["start", bundle.id()]).stderr(Stdio::null()).spawn().unwrap()).collect();
    let won = starts.into_iter().filter_map(|mut start| start.wait().unwrap().success().then_some(())).count();
    assert_eq!(won, 1);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn deletes_at_once_leave_nothing() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let deletes: Vec<Child> =
        (0..6).map(|_| bundle.command(&["delete", "-f", bundle.id()]).stderr(Stdio::null()).spawn().unwrap()).collect();
    for mut delete in deletes {
        delete.wait().unwrap();
    }
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn states_are_read_while_the_container_changes() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    let start = bundle.command(&["start", bundle.id()]).spawn().unwrap();
    for _look in 0..10 {
        assert!(["created", "running"].contains(&bundle.status().as_str()));
    }
    assert!(start.wait_with_output().unwrap().status.success());
}

#[test]
fn a_create_that_is_killed_leaves_what_delete_with_force_clears() {
    let bundle = bundle!("sleep 1000");
    only_hshim!("runc 1.1 leaves processes and cgroups behind");
    for round in 0..12_u64 {
        let mut create = bundle.command(&["create", bundle.id()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A point in time is what is wanted here, not a condition.
        std::thread::sleep(Duration::from_millis(round * 7));
        create.kill().unwrap();
        create.wait().unwrap();
        bundle.ok(&["delete", "--force", bundle.id()]);
        assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0), "round {round}");
        wait::until("no process is left", || processes_of(&bundle) == 0);
    }
}

/// Processes that name the container on their command line.
fn processes_of(bundle: &Bundle) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let cmdlines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    cmdlines.filter(|cmdline| cmdline.split('\0').any(|word| word == bundle.id())).count()
}
