//! `events`: runc's JSON, statistics that agree with the kernel, and a line when memory runs out.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};
use serde_json::{Value, json};

use crate::{containers_or_skip, controllers_or_skip, kernel};

fn can_events_or_skip() -> bool {
    programs::runtime_under_test().file_name().is_some_and(|name| name != "crun")
}

fn statistics(bundle: &Bundle) -> Value {
    let line: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", bundle.id()])).unwrap();
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(bundle.id())));
    line["data"].clone()
}

#[test]
fn statistics_have_runcs_shape_and_the_kernels_numbers() {
    controllers_or_skip!("memory", "pids");
    if !can_events_or_skip() {
        hshim_tests::skip!("crun has no events");
    }
    let mut bundle = Bundle::new("sleep 1000 & sleep 1000 & wait");
    bundle.edit(|config| config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}));
    bundle.run_detached();
    wait::until("it has three processes", || kernel::read(&bundle, "pids", "pids.current", "pids.current") == "3");
    let data = statistics(&bundle);
    for key in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(key).is_some(), "{key} is missing: {data}");
    }
    assert_eq!(data["pids"], json!({"current": 3, "limit": 20}));
    assert_eq!(data["memory"]["usage"]["limit"], json!(64 << 20));
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    let raw = data["memory"]["raw"].as_object().unwrap();
    let keys = fs::read_to_string(kernel::file(&bundle, "memory", "memory.stat", "memory.stat")).unwrap().lines().count();
    assert_eq!(raw.len(), keys);
}

#[test]
fn throttling_is_counted() {
    controllers_or_skip!("cpu");
    if !can_events_or_skip() {
        hshim_tests::skip!("crun has no events");
    }
    let mut bundle = Bundle::new("while :; do :; done");
    bundle.edit(|config| config["linux"]["resources"] = json!({"cpu": {"quota": 5_000, "period": 50_000}}));
    bundle.run_detached();
    let throttled = |data: &Value| data["cpu"]["throttling"]["throttledPeriods"].as_u64().unwrap_or_default();
    wait::until("it is throttled", || throttled(&statistics(&bundle)) >= 2);
}

#[test]
fn pressure_is_told_where_the_kernel_keeps_it() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    bundle.run_detached();
    let dir = kernel::unified().map(|_root| kernel::dir_of(bundle.pid(), ""));
    if !dir.is_some_and(|dir| dir.join("memory.pressure").exists()) {
        hshim_tests::skip!("this kernel keeps no pressure");
    }
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc 1.1 does not tell it");
    }
    let data = statistics(&bundle);
    for section in ["cpu", "memory", "blkio"] {
        assert!(data[section]["psi"]["some"]["total"].is_u64(), "{section}: {data}");
    }
}

struct Watching(Child);

impl Watching {
    fn start(bundle: &Bundle, args: &[&str]) -> Self {
        let output = File::create(bundle.scratch.join("events")).unwrap();
        let mut command = bundle.command(&[&["events"], args, &[bundle.id()]].concat());
        Self(command.stdout(output).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn told(bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(bundle.scratch.join("events")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
}

#[test]
fn running_out_of_memory_is_an_event() {
    controllers_or_skip!("memory");
    if !can_events_or_skip() {
        hshim_tests::skip!("crun has no events");
    }
    let script = "while [ ! -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1000";
    let mut bundle = Bundle::new(script);
    bundle.edit(|config| config["linux"]["resources"] = json!({"memory": {"limit": 30 << 20, "swap": 30 << 20}}));
    bundle.run_detached();
    let _watching = Watching::start(&bundle, &["--interval", "200ms"]);
    wait::until("statistics arrive", || told(&bundle).iter().any(|kind| kind == "stats"));
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    wait::until("it is told", || told(&bundle).iter().any(|kind| kind == "oom"));
}

#[test]
fn events_end_with_the_container() {
    containers_or_skip!();
    if !can_events_or_skip() {
        hshim_tests::skip!("crun has no events");
    }
    let bundle = Bundle::new("sleep 1000");
    bundle.run_detached();
    let mut watching = Watching::start(&bundle, &["--interval", "100ms"]);
    wait::until("statistics arrive", || !told(&bundle).is_empty());
    bundle.ok(&["delete", "--force", bundle.id()]);
    wait::until("they end", || watching.0.try_wait().unwrap().is_some());
    assert!(!bundle.refused(&["events", "--stats", bundle.id()]).is_empty());
}
