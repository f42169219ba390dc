//! What a container uses, in the shape of runc's `events --stats` (its types package), which callers read.
//!
//! Memory, processes and huge pages are read by cgroups-rs. Processor time, block devices and cpusets are read here: that
//! library leaves them out on cgroup v2, and panics on lines of `io.stat` that it does not expect. A figure that this machine
//! does not keep is left out, as runc does it; pressure stands where runc 1.2 and later put it.

mod block_io;
mod cpu;
mod cpuset;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use serde::Serialize;

use super::pressure::Pressure;
use super::resources::Version;
use super::{Cgroup, HierarchyKind};

/// The `data` of a statistics event.
#[derive(Debug, Serialize)]
pub(crate) struct Statistics {
    cpu: cpu::Cpu,
    cpuset: cpuset::Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: block_io::BlockIo,
    hugetlb: BTreeMap<String, HugePages>,
    intel_rdt: Empty,
    network_interfaces: Option<Empty>,
}

/// `{}`: hshim has nothing to say about it.
#[derive(Debug, Default, Serialize)]
struct Empty {}

#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: Usage,
    swap: Usage,
    kernel: Usage,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: Usage,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Usage {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
struct HugePages {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to its conditions")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Statistics {
    /// Of now.
    pub(crate) fn read(cgroup: &Cgroup) -> Self {
        let at = |controller: &str| {
            let version = cgroup.version_of(controller)?;
            cgroup.dir_of(controller).map(|dir| (dir, version))
        };
        let unified = cgroup.of_kind(HierarchyKind::Unified).map(|dir| dir.path.as_path());
        let pressure = |resource: &str| Pressure::read(&unified?.join(format!("{resource}.pressure")));
        Self {
            cpu: cpu::read(at("cpu"), at("cpuacct"), pressure("cpu")),
            cpuset: at("cpuset").map(|(dir, version)| cpuset::read(dir, version)).unwrap_or_default(),
            memory: memory(at("memory"), pressure("memory")),
            pids: at("pids").map(|(dir, version)| pids(dir, version)).unwrap_or_default(),
            blkio: block_io::read(at("blkio"), pressure("io")),
            hugetlb: at("hugetlb").map(|(dir, version)| huge_pages(dir, version)).unwrap_or_default(),
            intel_rdt: Empty {},
            network_interfaces: None,
        }
    }
}

fn memory(at: Option<(&Path, Version)>, psi: Option<Pressure>) -> Memory {
    let Some((dir, version)) = at else { return Memory { psi, ..Memory::default() } };
    let raw = keyed(&dir.join("memory.stat"));
    let controller = MemController::new(dir.to_owned(), dir.to_owned(), version == Version::V2);
    let used = controller.memory_stat();
    let usage = Usage {
        limit: limit(used.limit_in_bytes),
        usage: used.usage_in_bytes,
        max: used.max_usage_in_bytes,
        failcnt: used.fail_cnt,
    };
    let with_swap = controller.memswap();
    let swap = Usage {
        limit: limit(with_swap.limit_in_bytes),
        usage: with_swap.usage_in_bytes,
        max: with_swap.max_usage_in_bytes,
        failcnt: with_swap.fail_cnt,
    };
    match version {
        Version::V1 => v1_memory(dir, Memory { usage, swap, raw, psi, ..Memory::default() }),
        Version::V2 => Memory {
            cache: raw.get("file").copied().unwrap_or_default(),
            usage,
            // Counted together, as on v1.
            swap: Usage {
                limit: usage.limit.saturating_add(swap_limit(dir)),
                usage: usage.usage + swap.usage,
                ..Usage::default()
            },
            raw,
            psi,
            ..Memory::default()
        },
    }
}

/// What the library does not tell from "no limit" here: `memory.swap.max` says "max", or is missing without swap.
fn swap_limit(dir: &Path) -> u64 {
    match fs::read_to_string(dir.join("memory.swap.max")) {
        Ok(text) => text.trim_end().parse().unwrap_or(u64::MAX),
        Err(_no_swap) => u64::MAX,
    }
}

fn v1_memory(dir: &Path, memory: Memory) -> Memory {
    let kernel = |kind: &str| Usage {
        limit: number(&dir.join(format!("memory.kmem{kind}.limit_in_bytes"))),
        usage: number(&dir.join(format!("memory.kmem{kind}.usage_in_bytes"))),
        max: number(&dir.join(format!("memory.kmem{kind}.max_usage_in_bytes"))),
        failcnt: number(&dir.join(format!("memory.kmem{kind}.failcnt"))),
    };
    let cache = memory.raw.get("cache").copied().unwrap_or_default();
    Memory { cache, kernel: kernel(""), kernel_tcp: kernel(".tcp"), ..memory }
}

/// The library's word for no limit is -1 on v2; the kernel's own on v1 is a very large number.
fn limit(limit: i64) -> u64 {
    match u64::try_from(limit) {
        Ok(limit) if limit != i64::MAX.unsigned_abs() => limit,
        _unlimited => u64::MAX,
    }
}

fn pids(dir: &Path, version: Version) -> Pids {
    let controller = PidController::new(dir.to_owned(), dir.to_owned(), version == Version::V2);
    let limit = match controller.get_pid_max() {
        Ok(MaxValue::Value(limit)) => u64::try_from(limit).unwrap_or_default(),
        Ok(MaxValue::Max) | Err(_) => 0,
    };
    Pids { current: controller.get_pid_current().unwrap_or_default(), limit }
}

fn huge_pages(dir: &Path, version: Version) -> BTreeMap<String, HugePages> {
    let controller = HugeTlbController::new(dir.to_owned(), dir.to_owned(), version == Version::V2);
    let used = |size: &String| {
        let usage = controller.usage_in_bytes(size).ok()?;
        let max = controller.max_usage_in_bytes(size).unwrap_or_default();
        Some(HugePages { usage, max, failcnt: controller.failcnt(size).unwrap_or_default() })
    };
    let sizes = controller.get_sizes().into_iter();
    sizes.filter_map(|size| used(&size).map(|used| (size, used))).collect()
}

/// A file of `key number` lines.
fn keyed(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
}

/// A file of one number.
fn number(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or_default()
}
