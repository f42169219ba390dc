//! A container inherits nothing of whoever calls the runtime (L10, L13).

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;

use crate::stage::{needs_containers, only_for_hshim, run, status_field};

/// `run` by way of a shell that has done something to itself.
fn run_after(bundle: &Bundle, preparation: &str) -> String {
    let command = format!(
        "{preparation}; exec {} --root {} run --bundle . {}",
        bundle.program.display(),
        bundle.root().display(),
        bundle.id()
    );
    let output = Command::new("/bin/bash").args(["-c", &command]).current_dir(bundle.dir()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn signals_that_the_caller_ignores_are_not_ignored() {
    needs_containers!();
    // runc hands on what the caller's C library keeps to itself.
    only_for_hshim!();
    // Not by a shell, which has signals of its own that it ignores.
    let mut bundle = Bundle::new("");
    bundle.edit(|config| config["process"]["args"] = serde_json::json!(["/bin/cat", "/proc/self/status"]));
    let seen = run_after(&bundle, "trap '' PIPE USR1 TERM CHLD");
    assert_eq!(status_field(&seen, "SigIgn"), "0000000000000000");
}

#[test]
fn signals_that_the_caller_blocks_are_not_blocked() {
    needs_containers!();
    // runc hands them on.
    only_for_hshim!();
    let bundle = Bundle::new("cat /proc/self/status");
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(nix::sys::signal::Signal::SIGUSR2);
    blocked.add(nix::sys::signal::Signal::SIGTERM);
    // A test runs in a thread of its own; children have the mask of the thread that makes them.
    blocked.thread_block().unwrap();
    let seen = run(&bundle);
    blocked.thread_unblock().unwrap();
    assert_eq!(status_field(&seen, "SigBlk"), "0000000000000000");
}

#[test]
fn groups_of_the_caller_are_dropped() {
    needs_containers!();
    let bundle = Bundle::new("cat /proc/self/status");
    let mut command = bundle.command(&["run", "--bundle", ".", bundle.id()]);
    command.uid(0);
    let groups = "import os,sys; os.setgroups([4242,4243]); os.execv(sys.argv[1], sys.argv[1:])";
    let Some(python) = programs::installed("python3") else { hshim_tests::skip!("no python3 to set groups with") };
    let output = Command::new(python)
        .args(["-c", groups])
        .arg(&bundle.program)
        .arg("--root")
        .arg(bundle.root())
        .args(["run", "--bundle", ".", bundle.id()])
        .current_dir(bundle.dir())
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status_field(&seen, "Groups"), "");
}

#[test]
fn the_file_mode_mask_is_the_usual_one_whatever_the_callers_is() {
    needs_containers!();
    assert_eq!(run_after(&Bundle::new("umask"), "umask 000"), "0022\n");
}

#[test]
fn the_session_keyring_is_a_new_one() {
    needs_containers!();
    let bundle = Bundle::new("cat /proc/keys");
    let mut bundle = bundle;
    bundle.edit(|config| config["linux"]["maskedPaths"] = serde_json::json!([]));
    let seen = run(&bundle);
    if seen.is_empty() {
        hshim_tests::skip!("/proc/keys shows nothing here");
    }
    assert!(seen.contains(&format!("_ses.{}", bundle.id())), "{seen}");
}

#[test]
fn no_new_keyring_keeps_the_callers() {
    needs_containers!();
    let mut bundle = Bundle::new("cat /proc/keys");
    bundle.edit(|config| config["linux"]["maskedPaths"] = serde_json::json!([]));
    let seen = bundle.ok(&["run", "--no-new-keyring", bundle.id()]);
    assert!(!seen.contains(&format!("_ses.{}", bundle.id())), "{seen}");
}

#[test]
fn the_callers_descriptors_are_closed() {
    needs_containers!();
    let file = std::fs::File::open("/etc/hostname").unwrap();
    // Without close-on-exec, as a careless caller has it.
    let open = nix::unistd::dup(&file).unwrap();
    nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    assert!(open.as_raw_fd() > 2);
    let seen = run(&Bundle::new("ls /proc/self/fd"));
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "the last is the listing's own");
}

#[test]
fn the_callers_own_oom_score_stays_what_it_is() {
    needs_containers!();
    let mut bundle = Bundle::new("cat /proc/self/oom_score_adj");
    bundle.edit(|config| config["process"]["oomScoreAdj"] = serde_json::json!(500));
    let before = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(run(&bundle), "500\n");
    assert_eq!(std::fs::read_to_string("/proc/self/oom_score_adj").unwrap(), before);
}
