//! Units of systemd: a scope in the right slice, with the limits as properties, gone with the container.

use std::process::Command;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};
use serde_json::{Value, json};

use crate::containers_or_skip;
use crate::kernel;

fn has_systemd() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Skips where systemd is not process 1.
macro_rules! systemd_or_skip {
    () => {
        containers_or_skip!();
        if !has_systemd() {
            hshim_tests::skip!("systemd is not process 1 here");
        }
    };
}

/// Skips what crun 1.8 is known to do otherwise.
macro_rules! not_of_crun {
    ($what:literal) => {
        if programs::runtime_under_test().ends_with("crun") {
            hshim_tests::skip!($what);
        }
    };
}

/// A bundle whose scope is `hshim-tests-ID.scope` in a slice of its own.
fn bundle(script: &str, resources: Value) -> Bundle {
    let mut bundle = Bundle::new(script);
    let path = format!("hshim-tests.slice:hshim-tests:{}", bundle.id());
    bundle.edit(|config| {
        config["linux"]["cgroupsPath"] = path.into();
        config["linux"]["resources"] = resources;
    });
    bundle
}

fn unit(bundle: &Bundle) -> String {
    format!("hshim-tests-{}.scope", bundle.id())
}

fn property(bundle: &Bundle, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", name, &unit(bundle)]).output().expect("run systemctl");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn run(bundle: &Bundle) {
    let status = bundle.detached(&["--systemd-cgroup", "run", "-d", "--bundle", ".", bundle.id()]);
    assert!(status.success(), "run -d: {status}: {}", bundle.stderr());
}

fn ok(bundle: &Bundle, args: &[&str]) -> String {
    bundle.ok(&[&["--systemd-cgroup"], args].concat())
}

#[test]
fn without_systemd_the_flag_is_refused() {
    containers_or_skip!();
    if has_systemd() {
        hshim_tests::skip!("systemd is process 1 here");
    }
    let bundle = bundle("true", json!({}));
    let refusal = bundle.refused(&["--systemd-cgroup", "create", bundle.id()]);
    assert!(refusal.contains("systemd") || refusal.contains("sd-bus"), "{refusal}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_container_is_a_scope_in_its_slice_and_goes_with_it() {
    systemd_or_skip!();
    not_of_crun!("crun 1.8 puts its processes into a cgroup of its own below the scope");
    let bundle = bundle("sleep 1000", json!({}));
    run(&bundle);
    assert_eq!((property(&bundle, "ActiveState"), property(&bundle, "Slice")), ("active".into(), "hshim-tests.slice".into()));
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    let path = format!("/hshim.slice/hshim-tests.slice/{}", unit(&bundle));
    assert!(cgroup.lines().all(|line| line.ends_with(&path)), "{cgroup}");
    let members = std::fs::read_to_string(kernel::dir_of(bundle.pid(), "memory").join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), bundle.pid().to_string(), "nobody else is there");
    ok(&bundle, &["kill", bundle.id(), "KILL"]);
    wait::until("it ends", || bundle.status() == "stopped");
    ok(&bundle, &["delete", bundle.id()]);
    assert_eq!(property(&bundle, "LoadState"), "not-found");
}

#[test]
fn limits_are_properties_and_stand_in_the_files() {
    systemd_or_skip!();
    not_of_crun!("crun 1.8 writes limits into files only, systemd does not know of them");
    let limits =
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"shares": 512, "quota": 20_000, "period": 50_000}});
    let bundle = bundle("sleep 1000", limits);
    run(&bundle);
    assert_eq!(property(&bundle, "MemoryMax"), (64 << 20).to_string());
    assert_eq!(property(&bundle, "TasksMax"), "9");
    assert_eq!(property(&bundle, "CPUWeight"), "20");
    assert_eq!(property(&bundle, "CPUQuotaPerSecUSec"), "400ms");
    assert_eq!(kernel::read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(kernel::read(&bundle, "pids", "pids.max", "pids.max"), "9");
    assert_eq!(kernel::read(&bundle, "cpu", "cpu.cfs_quota_us", "cpu.max"), "20000 50000");
    ok(&bundle, &["update", "--memory", "33554432", "--pids-limit", "12", bundle.id()]);
    assert_eq!((property(&bundle, "MemoryMax"), property(&bundle, "TasksMax")), ((32 << 20).to_string(), "12".into()));
    // systemd puts its own view into the files when it reads its configuration again.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!(kernel::read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    assert_eq!(kernel::read(&bundle, "pids", "pids.max", "pids.max"), "12");
}

#[test]
fn device_rules_outlive_a_reload_of_systemd() {
    systemd_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("with runc 1.1 systemd forgets a rule about a device that has no node of its own");
    }
    let script =
        "mknod /tmp/no c 1 12; mknod /tmp/yes c 1 13; while :; do head -c 1 </tmp/no; head -c 1 </tmp/yes; sleep 0.1; done";
    let rules = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 13, "access": "rwm"}]});
    let bundle = bundle(script, rules);
    run(&bundle);
    let told = |text: &str| bundle.stderr().lines().filter(|line| line.contains(text)).count();
    let both = |times: usize| told("no: Operation not permitted") >= times && told("yes: No such device") >= times;
    wait::until("both devices are tried", || both(1));
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let times = told("yes:") + 2;
    wait::until("both devices are tried again", || both(times));
    assert_eq!((told("no: No such device"), told("yes: Operation not permitted")), (0, 0));
}

#[test]
fn a_failed_unit_is_cleared_away_with_the_container_and_for_a_new_one() {
    systemd_or_skip!();
    let bundle = bundle("dd if=/dev/zero of=/dev/null bs=200M count=1", json!({"memory": {"limit": 30 << 20, "swap": 30 << 20}}));
    for _life in 0..2 {
        run(&bundle);
        wait::until("it ends", || bundle.status() == "stopped");
        ok(&bundle, &["delete", bundle.id()]);
        assert_eq!(property(&bundle, "LoadState"), "not-found");
    }
}

#[test]
fn annotations_set_properties() {
    systemd_or_skip!();
    not_of_crun!("crun 1.8 does not understand values in quotes");
    let mut bundle = bundle("sleep 1000", json!({}));
    bundle.edit(|config| {
        config["annotations"] =
            json!({"org.systemd.property.TimeoutStopSec": "123", "org.systemd.property.CollectMode": "'inactive-or-failed'"});
    });
    run(&bundle);
    assert_eq!(property(&bundle, "TimeoutStopUSec"), "2min 3s");
    assert_eq!(property(&bundle, "CollectMode"), "inactive-or-failed");
}

#[test]
fn a_path_instead_of_a_unit_is_refused() {
    systemd_or_skip!();
    not_of_crun!("crun 1.8 refuses it too, in words of the bus");
    let bundle = Bundle::new("true");
    let refusal = bundle.refused(&["--systemd-cgroup", "create", bundle.id()]);
    assert!(refusal.contains("slice:prefix:name"), "{refusal}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn systemd_is_reached_over_the_bus_when_its_own_socket_is_not_there() {
    systemd_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("this is about hshim's own client");
    }
    let bundle = bundle("sleep 1000", json!({}));
    let script = "mount --bind /dev/null /run/systemd/private && exec \"$@\"";
    let hidden = |args: &[&str]| {
        let inner = bundle.command(&[&["--systemd-cgroup"], args].concat());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        let file = |name| std::fs::File::create(bundle.scratch.join(name)).unwrap();
        let status = command.current_dir(bundle.dir()).stdout(file("out")).stderr(file("err")).status().unwrap();
        assert!(status.success(), "{args:?}: {}", bundle.stderr());
    };
    hidden(&["create", bundle.id()]);
    assert_eq!(property(&bundle, "ActiveState"), "active");
    hidden(&["delete", "--force", bundle.id()]);
    assert_eq!(property(&bundle, "LoadState"), "not-found");
}
