//! What `create` was asked for stands in the files.

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;
use serde_json::{Value, json};

use crate::kernel::{self, Version};
use crate::{containers_or_skip, controllers_or_skip};

const MEBIBYTE: u64 = 1 << 20;

fn created(resources: Value) -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.edit(|config| config["linux"]["resources"] = resources);
    bundle.create();
    bundle
}

#[test]
fn a_memory_limit_and_its_swap_stand_in_the_files() {
    controllers_or_skip!("memory");
    let bundle = created(json!({"memory": {"limit": 64 * MEBIBYTE, "swap": 96 * MEBIBYTE, "reservation": 32 * MEBIBYTE}}));
    let read = |v1: &str, v2: &str| kernel::read(&bundle, "memory", v1, v2);
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (64 * MEBIBYTE).to_string());
    assert_eq!(read("memory.soft_limit_in_bytes", "memory.low"), (32 * MEBIBYTE).to_string());
    if kernel::file(&bundle, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max").exists() {
        let swap = if kernel::version_of("memory") == Some(Version::V1) { 96 } else { 96 - 64 };
        assert_eq!(read("memory.memsw.limit_in_bytes", "memory.swap.max"), (swap * MEBIBYTE).to_string());
    }
}

#[test]
fn a_processor_limit_stands_in_the_files() {
    controllers_or_skip!("cpu");
    let bundle = created(json!({"cpu": {"shares": 512, "quota": 20_000, "period": 50_000}}));
    assert_eq!(kernel::read(&bundle, "cpu", "cpu.shares", "cpu.weight"), by_version("cpu", "512", "20"));
    assert_eq!(kernel::read(&bundle, "cpu", "cpu.cfs_quota_us", "cpu.max"), by_version("cpu", "20000", "20000 50000"));
}

#[test]
fn an_idle_container_and_a_burst_stand_in_the_files() {
    controllers_or_skip!("cpu");
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc 1.1 and crun 1.8 know neither cpu.idle nor cpu.burst");
    }
    let bundle = created(json!({"cpu": {"idle": 1, "quota": 20_000, "period": 50_000, "burst": 10_000}}));
    assert_eq!(kernel::read(&bundle, "cpu", "cpu.idle", "cpu.idle"), "1");
    assert_eq!(kernel::read(&bundle, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
}

#[test]
fn a_limit_of_processes_stands_in_the_file() {
    controllers_or_skip!("pids");
    let bundle = created(json!({"pids": {"limit": 17}}));
    assert_eq!(kernel::read(&bundle, "pids", "pids.max", "pids.max"), "17");
}

#[test]
fn a_cpuset_stands_in_the_files() {
    controllers_or_skip!("cpuset");
    let bundle = created(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    assert_eq!(kernel::read(&bundle, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(kernel::read(&bundle, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
    let status = std::fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    assert!(status.lines().any(|line| line == "Cpus_allowed_list:\t0"), "{status}");
}

#[test]
fn a_throttled_device_stands_in_the_file() {
    controllers_or_skip!("blkio");
    let Some(device) = a_disk() else { hshim_tests::skip!("this machine has no block device") };
    let (major, minor) = device.split_once(':').unwrap();
    let (major, minor) = (major.parse::<u64>().unwrap(), minor.parse::<u64>().unwrap());
    let bundle = created(json!({"blockIO": {
        "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1_048_576}],
        "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 50}]
    }}));
    let read = |v1: &str| kernel::read(&bundle, "blkio", v1, "io.max");
    assert_eq!(
        read("blkio.throttle.read_bps_device"),
        by_version("blkio", &format!("{device} 1048576"), &format!("{device} rbps=1048576 wbps=max riops=max wiops=50"))
    );
    if kernel::version_of("blkio") == Some(Version::V1) {
        assert_eq!(read("blkio.throttle.write_iops_device"), format!("{device} 50"));
    }
}

#[test]
fn huge_pages_are_limited_where_the_controller_is() {
    controllers_or_skip!("hugetlb");
    if !kernel::is_pure_v2() && !programs::judges_hshim() {
        hshim_tests::skip!("runc 1.1 does not look for the hugetlb controller beside v1 hierarchies");
    }
    let bundle = created(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEBIBYTE}]}));
    assert_eq!(kernel::read(&bundle, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), (4 * MEBIBYTE).to_string());
}

#[test]
fn unified_settings_reach_files_by_their_own_names() {
    controllers_or_skip!("memory");
    if kernel::version_of("memory") != Some(Version::V2) {
        let mut bundle = Bundle::new("true");
        bundle.edit(|config| config["linux"]["resources"] = json!({"unified": {"memory.high": "5000000"}}));
        assert!(bundle.refused(&["create", bundle.id()]).to_lowercase().contains("unified"), "v1 has no such file");
        assert_eq!(bundle.status(), "absent");
        return;
    }
    let bundle = created(json!({"unified": {"memory.high": "50003968"}}));
    assert_eq!(kernel::read(&bundle, "memory", "", "memory.high"), "50003968");
}

#[test]
fn resources_that_make_no_sense_leave_nothing_behind() {
    containers_or_skip!();
    for (resources, word) in [
        (json!({"hugepageLimits": [{"pageSize": "7MB", "limit": 1}]}), "hugepage"),
        (json!({"devices": [{"allow": true, "type": "c", "access": "x"}]}), "devices"),
        (json!({"cpu": {"cpus": "4095"}}), "cpu"),
    ] {
        if !programs::judges_hshim() {
            hshim_tests::skip!("each runtime has its own words for it");
        }
        let mut bundle = Bundle::new("true");
        bundle.edit(|config| config["linux"]["resources"] = resources.clone());
        let refusal = bundle.refused(&["create", bundle.id()]);
        assert!(refusal.contains(word) && refusal.contains("linux.resources"), "{resources}: {refusal}");
        assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0), "{resources}");
    }
}

fn by_version(controller: &str, v1: &str, v2: &str) -> String {
    if kernel::version_of(controller) == Some(Version::V1) { v1.to_owned() } else { v2.to_owned() }
}

/// `MAJOR:MINOR` of a whole disk.
fn a_disk() -> Option<String> {
    let disks = std::fs::read_dir("/sys/block").ok()?.filter_map(Result::ok);
    let disks = disks.filter(|disk| !disk.file_name().to_string_lossy().starts_with("ram"));
    disks.filter_map(|disk| std::fs::read_to_string(disk.path().join("dev")).ok()).map(|dev| dev.trim_end().to_owned()).next()
}
