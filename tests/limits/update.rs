//! `update`: every flag reaches its file, and what fails changes nothing.

use std::process::Stdio;

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;
use serde_json::json;

use crate::kernel::{self, Version};
use crate::{containers_or_skip, controllers_or_skip};

fn limited() -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.edit(|config| {
        let all = json!({
            "memory": {"limit": 64 << 20, "swap": 128 << 20}, "pids": {"limit": 50},
            "cpu": {"shares": 512, "quota": 20_000, "period": 50_000}
        });
        let known = |section: &str| kernel::version_of(section).is_some();
        let kept = all.as_object().unwrap().iter().filter(|(section, _)| known(section));
        config["linux"]["resources"] = serde_json::Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect());
    });
    bundle.run_detached();
    bundle
}

fn read(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    kernel::read(bundle, controller, v1, v2)
}

fn expected(controller: &str, v1: &str, v2: &str) -> String {
    if kernel::version_of(controller) == Some(Version::V1) { v1.to_owned() } else { v2.to_owned() }
}

/// crun 1.8 takes bytes without a unit, and asks for both of a pair.
fn judges_crun() -> bool {
    programs::runtime_under_test().file_name().is_some_and(|name| name == "crun")
}

#[test]
fn flags_about_processors_reach_their_files() {
    controllers_or_skip!("cpu");
    if judges_crun() {
        hshim_tests::skip!("crun 1.8 does not complete an update by what is in force");
    }
    let bundle = limited();
    let max = |bundle: &Bundle| read(bundle, "cpu", "cpu.cfs_quota_us", "cpu.max");
    bundle.ok(&["update", "--cpu-quota", "30000", bundle.id()]);
    assert_eq!(max(&bundle), expected("cpu", "30000", "30000 50000"));
    bundle.ok(&["update", "--cpu-period", "40000", bundle.id()]);
    assert_eq!(max(&bundle), expected("cpu", "30000", "30000 40000"));
    bundle.ok(&["update", "--cpu-share", "1024", bundle.id()]);
    assert_eq!(read(&bundle, "cpu", "cpu.shares", "cpu.weight"), expected("cpu", "1024", "39"));
    bundle.ok(&["update", "--cpu-quota", "-1", bundle.id()]);
    // runc 1.1 sets the period back, too.
    assert!(max(&bundle).starts_with(&expected("cpu", "-1", "max ")), "{}", max(&bundle));
}

#[test]
fn flags_about_memory_reach_their_files() {
    controllers_or_skip!("memory");
    if judges_crun() {
        hshim_tests::skip!("crun 1.8 does not complete an update by what is in force");
    }
    let bundle = limited();
    let limit = |bundle: &Bundle| read(bundle, "memory", "memory.limit_in_bytes", "memory.max");
    bundle.ok(&["update", "--memory", "32M", bundle.id()]);
    assert_eq!(limit(&bundle), (32_u64 << 20).to_string());
    bundle.ok(&["update", "--memory-reservation", "16777216", bundle.id()]);
    assert_eq!(read(&bundle, "memory", "memory.soft_limit_in_bytes", "memory.low"), (16_u64 << 20).to_string());
    // Above the limit of both together: the two have to change in the right order.
    bundle.ok(&["update", "--memory", "256M", "--memory-swap", "300M", bundle.id()]);
    assert_eq!(limit(&bundle), (256_u64 << 20).to_string());
    bundle.ok(&["update", "--memory", "-1", bundle.id()]);
    assert_eq!(limit(&bundle), expected("memory", "9223372036854771712", "max"));
}

#[test]
fn flags_about_processes_and_cpusets_reach_their_files() {
    controllers_or_skip!("pids");
    let bundle = limited();
    bundle.ok(&["update", "--pids-limit", "20", bundle.id()]);
    assert_eq!(read(&bundle, "pids", "pids.max", "pids.max"), "20");
    // crun 1.8 writes the number itself on cgroup v1, which the kernel refuses.
    if !(judges_crun() && kernel::version_of("pids") == Some(Version::V1)) {
        bundle.ok(&["update", "--pids-limit", "-1", bundle.id()]);
        assert_eq!(read(&bundle, "pids", "pids.max", "pids.max"), "max");
    }
    if kernel::version_of("cpuset").is_some() {
        bundle.ok(&["update", "--cpuset-cpus", "0", "--cpuset-mems", "0", bundle.id()]);
        assert_eq!(read(&bundle, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    }
}

#[test]
fn resources_are_read_from_a_file_and_from_standard_input() {
    controllers_or_skip!("memory", "pids");
    if judges_crun() {
        hshim_tests::skip!("crun 1.8 does not complete an update by what is in force");
    }
    let bundle = limited();
    let file = bundle.scratch.join("resources.json");
    std::fs::write(&file, json!({"memory": {"limit": 48 << 20, "swap": 0}, "pids": {"limit": 30}}).to_string()).unwrap();
    bundle.ok(&["update", "--resources", file.to_str().unwrap(), bundle.id()]);
    assert_eq!(read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (48_u64 << 20).to_string());
    std::fs::write(&file, json!({"memory": {"limit": 40 << 20}}).to_string()).unwrap();
    let mut command = bundle.command(&["update", "-r", "-", bundle.id()]);
    assert!(command.stdin(Stdio::from(std::fs::File::open(&file).unwrap())).status().unwrap().success());
    assert_eq!(read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (40_u64 << 20).to_string());
}

#[test]
fn an_update_that_fails_puts_earlier_writes_back() {
    controllers_or_skip!("memory", "pids");
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc leaves what it has written");
    }
    let bundle = limited();
    let file = bundle.scratch.join("resources.json");
    // The kernel has neither such pages nor such a device; both are found out after memory and processes were written.
    let impossible = [
        json!({"hugepageLimits": [{"pageSize": "7MB", "limit": 1}]}),
        json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 7, "rate": 5}]}}),
    ];
    for mut asked in impossible {
        asked["memory"] = json!({"limit": 32 << 20});
        asked["pids"] = json!({"limit": 7});
        std::fs::write(&file, asked.to_string()).unwrap();
        let refusal = bundle.refused(&["update", "-r", file.to_str().unwrap(), bundle.id()]);
        assert!(refusal.contains("linux.resources."), "{refusal}");
        assert_eq!(read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64_u64 << 20).to_string(), "{refusal}");
        assert_eq!(read(&bundle, "pids", "pids.max", "pids.max"), "50");
    }
    bundle.ok(&["update", "--pids-limit", "8", bundle.id()]);
    assert_eq!(read(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64_u64 << 20).to_string());
}

#[test]
fn flags_about_rdt_are_refused_and_not_ignored() {
    containers_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("of hshim's own limits");
    }
    let bundle = limited();
    for flag in ["--l3-cache-schema", "--mem-bw-schema"] {
        let errors = bundle.refused(&["update", flag, "x", bundle.id()]);
        assert!(errors.contains("RDT"), "{flag}: {errors}");
    }
}

#[test]
fn wrong_updates_are_refused() {
    containers_or_skip!();
    let bundle = limited();
    assert!(!bundle.refused(&["update", "--pids-limit", "5", "no-such-container"]).is_empty());
    assert!(!bundle.refused(&["update", "--memory", "much", bundle.id()]).is_empty());
    assert!(!bundle.refused(&["update", "-r", "/no/such/file", bundle.id()]).is_empty());
    bundle.ok(&["update", bundle.id()]);
}
