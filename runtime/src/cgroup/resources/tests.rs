//! What is written for what is asked, as a table.

use super::*;
use serde_json::json;

fn planned(version: Version, resources: serde_json::Value) -> Result<Vec<String>, String> {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    let settings = plan(&resources, &|_controller| Some(version)).map_err(|error| error.to_string())?;
    let line = |setting: Setting| {
        let (file, value) = setting.candidates.last().unwrap().clone();
        format!("{file}={value}")
    };
    Ok(settings.into_iter().map(line).collect())
}

#[test]
fn resources_become_files_of_either_version() {
    let rows: &[(serde_json::Value, &[&str], &[&str])] = &[
        (
            json!({"memory": {"limit": 1000, "swap": 1500, "reservation": 500}}),
            &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1500", "memory.soft_limit_in_bytes=500"],
            &["memory.max=1000", "memory.swap.max=500", "memory.low=500"],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            &["memory.max=max", "memory.swap.max=max"],
        ),
        (
            json!({"memory": {"limit": 1000, "swap": 1000}}),
            &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1000"],
            &["memory.max=1000", "memory.swap.max=0"],
        ),
        (json!({"memory": {"limit": 0, "swap": 0}}), &[], &[]),
        (
            json!({"cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 100}}),
            &["cpu.shares=1024", "cpu.cfs_period_us=50000", "cpu.cfs_burst_us=100", "cpu.cfs_quota_us=20000"],
            &["cpu.weight=39", "cpu.max=20000 50000", "cpu.max.burst=100"],
        ),
        (json!({"cpu": {"quota": -1}}), &["cpu.cfs_quota_us=-1"], &["cpu.max=max 100000"]),
        (json!({"cpu": {"idle": 1, "shares": 2}}), &["cpu.shares=2", "cpu.idle=1"], &["cpu.idle=1"]),
        (
            json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
            &["cpuset.cpus=0-1", "cpuset.mems=0"],
            &["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        (json!({"pids": {"limit": 5}}), &["pids.max=5"], &["pids.max=5"]),
        (json!({"pids": {"limit": -1}}), &["pids.max=max"], &["pids.max=max"]),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}),
            &["hugetlb.2MB.limit_in_bytes=4096", "hugetlb.2MB.rsvd.limit_in_bytes=4096"],
            &["hugetlb.2MB.max=4096", "hugetlb.2MB.rsvd.max=4096"],
        ),
        (json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), &["rdma.max=mlx5_1 hca_handle=3"], &["rdma.max=mlx5_1 hca_handle=3"]),
        (
            json!({"blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}}),
            &["blkio.weight=500", "blkio.throttle.read_bps_device=8:0 600"],
            &["io.weight=4950", "io.max=8:0 rbps=600"],
        ),
        (json!({"network": {}, "rdma": {}, "hugepageLimits": []}), &[], &[]),
    ];
    for (resources, v1, v2) in rows {
        assert_eq!(planned(Version::V1, resources.clone()).unwrap(), *v1, "v1: {resources}");
        assert_eq!(planned(Version::V2, resources.clone()).unwrap(), *v2, "v2: {resources}");
    }
    assert_eq!(planned(Version::V2, json!({"unified": {"memory.high": "5"}})).unwrap(), ["memory.high=5"]);
}

#[test]
fn shares_become_weights_by_runcs_formula() {
    for (shares, weight) in [(1, 1), (2, 1), (512, 20), (1024, 39), (262_144, 10_000), (1_000_000, 10_000)] {
        assert_eq!(conversion::weight_of_shares(shares), weight, "{shares}");
    }
    for (written, weight) in [(10, 1), (500, 4950), (1000, 10_000)] {
        assert_eq!(conversion::io_weight(written), weight, "{written}");
    }
}

#[test]
fn what_cannot_be_granted_is_refused_with_its_path() {
    use Version::{V1, V2};
    for (version, resources, text) in [
        (V1, json!({"cpu": {"shares": 1}}), "linux.resources.cpu.shares: 1 is not between 2 and 262144"),
        (V1, json!({"memory": {"swappiness": 101}}), "linux.resources.memory.swappiness: 101 is not between 0 and 100"),
        (
            V2,
            json!({"memory": {"limit": 10, "swap": 5}}),
            "linux.resources.memory.swap: 5 is less than memory.limit 10: it counts both together",
        ),
        (
            V2,
            json!({"cpu": {"realtimeRuntime": 5}}),
            "linux.resources.cpu.realtimeRuntime: cgroup v2 cannot limit realtime scheduling",
        ),
        (V2, json!({"network": {"classID": 5}}), "linux.resources.network: cgroup v2 has no network classes and priorities"),
        (V2, json!({"unified": {"../x.y": "5"}}), "linux.resources.unified: \"../x.y\" is not the name of a cgroup's file"),
        (
            V2,
            json!({"unified": {"cgroup.freeze": "1"}}),
            "linux.resources.unified: \"cgroup.freeze\" belongs to the runtime: only files of controllers can be set",
        ),
        (
            V1,
            json!({"unified": {"memory.high": "5"}}),
            "linux.resources.unified: \"memory.high\" needs the memory controller on cgroup v2, which this machine has not",
        ),
    ] {
        assert_eq!(planned(version, resources).unwrap_err(), text);
    }
}

#[test]
fn a_controller_that_is_not_mounted_matters_only_to_who_asks_for_it() {
    let nothing = |_controller: &str| None;
    let empty: LinuxResources = serde_json::from_value(json!({"memory": {}, "pids": {"limit": 0}})).unwrap();
    assert_eq!(plan(&empty, &nothing).unwrap(), []);
    let wanted: LinuxResources = serde_json::from_value(json!({"pids": {"limit": 3}})).unwrap();
    let error = plan(&wanted, &nothing).unwrap_err().to_string();
    assert_eq!(error, "linux.resources.pids.limit: no pids controller is mounted on this machine");
}
