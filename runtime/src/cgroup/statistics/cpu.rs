//! Processor time.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{is_zero, keyed, number};
use crate::cgroup::pressure::Pressure;
use crate::cgroup::resources::Version;

/// Nanoseconds of a tick of `cpuacct.stat`: USER_HZ is 100 everywhere.
const TICK: u64 = 10_000_000;

#[derive(Debug, Default, Serialize)]
pub(super) struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

/// On cgroup v2 `cpu.stat` tells the usage even where the controller is not enabled.
pub(super) fn read(cpu: Option<(&Path, Version)>, cpuacct: Option<(&Path, Version)>, psi: Option<Pressure>) -> Cpu {
    let usage = match (cpuacct, cpu) {
        (Some((dir, Version::V1)), _) => v1_usage(dir),
        (_, Some((dir, Version::V2))) => v2_usage(dir),
        _ => CpuUsage::default(),
    };
    Cpu { usage, throttling: cpu.map(|(dir, version)| throttling(dir, version)).unwrap_or_default(), psi }
}

fn v1_usage(dir: &Path) -> CpuUsage {
    let ticks = keyed(&dir.join("cpuacct.stat"));
    let time = |key: &str| ticks.get(key).copied().unwrap_or_default() * TICK;
    let percpu = fs::read_to_string(dir.join("cpuacct.usage_percpu")).unwrap_or_default();
    // A head line, then "CPU USER SYSTEM" for each.
    let all = fs::read_to_string(dir.join("cpuacct.usage_all")).unwrap_or_default();
    let column =
        |index: usize| -> Vec<u64> { all.lines().skip(1).filter_map(|line| line.split(' ').nth(index)?.parse().ok()).collect() };
    CpuUsage {
        total: number(&dir.join("cpuacct.usage")),
        percpu: percpu.split_whitespace().filter_map(|time| time.parse().ok()).collect(),
        percpu_kernel: column(2),
        percpu_user: column(1),
        kernel: time("system"),
        user: time("user"),
    }
}

fn v2_usage(dir: &Path) -> CpuUsage {
    let stat = keyed(&dir.join("cpu.stat"));
    let time = |key: &str| stat.get(key).copied().unwrap_or_default() * 1_000;
    CpuUsage { total: time("usage_usec"), kernel: time("system_usec"), user: time("user_usec"), ..CpuUsage::default() }
}

fn throttling(dir: &Path, version: Version) -> Throttling {
    let stat = keyed(&dir.join("cpu.stat"));
    let value = |key: &str| stat.get(key).copied().unwrap_or_default();
    let throttled_time = match version {
        Version::V1 => value("throttled_time"),
        Version::V2 => value("throttled_usec") * 1_000,
    };
    Throttling { periods: value("nr_periods"), throttled_periods: value("nr_throttled"), throttled_time }
}
