//! Settings of cgroup v2 (the kernel's Documentation/admin-guide/cgroup-v2.rst).

use libcontainer::oci_spec::runtime::{LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::Plan;
use super::conversion::{bytes_or_max, io_weight, swap_alone, weight_of_shares};
use crate::cgroup::setting::{Setting, Undo};

pub(super) fn memory(resources: &LinuxResources, plan: &mut Plan) {
    let Some(memory) = resources.memory() else { return };
    let limit = memory.limit().unwrap_or_default();
    if limit != 0 {
        plan.set("memory.limit", "memory", "memory.max", bytes_or_max(limit));
    }
    match swap_alone(memory.swap().unwrap_or_default(), limit) {
        Ok(Some(swap)) => {
            let harmless = swap == "max" || swap == "0";
            let setting = Setting::new("memory.swap", "memory", "memory.swap.max", swap);
            plan.settings.push(if harmless { setting.unneeded_where_missing() } else { setting });
        }
        Ok(None) => {}
        Err(text) => plan.fault("memory.swap", text),
    }
    match memory.reservation().unwrap_or_default() {
        0 => {}
        reservation => plan.set("memory.reservation", "memory", "memory.low", bytes_or_max(reservation)),
    }
    warn_of_v1_only(memory);
}

/// Callers give these without knowing which version there is, and no runtime refuses them.
fn warn_of_v1_only(memory: &LinuxMemory) {
    let given = [
        ("swappiness", memory.swappiness().is_some()),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true)),
        ("kernelTCP", memory.kernel_tcp().is_some_and(|limit| limit != 0)),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        log::warn!("linux.resources.memory.{field}: cgroup v2 has no such setting: it has no effect");
    }
}

pub(super) fn cpu(resources: &LinuxResources, plan: &mut Plan) {
    let Some(cpu) = resources.cpu() else { return };
    if let Some(idle) = cpu.idle() {
        plan.set("cpu.idle", "cpu", "cpu.idle", idle);
    }
    // An idle cgroup has the least weight there is, and takes no other.
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && cpu.idle() != Some(1)) {
        plan.set("cpu.shares", "cpu", "cpu.weight", weight_of_shares(shares));
    }
    let quota = cpu.quota().unwrap_or_default();
    let period = cpu.period().unwrap_or_default();
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period > 0 { period } else { 100_000 };
        plan.set(if quota == "max" { "cpu.period" } else { "cpu.quota" }, "cpu", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(burst) = cpu.burst() {
        plan.set("cpu.burst", "cpu", "cpu.max.burst", burst);
    }
    let realtime = cpu.realtime_runtime().is_some_and(|n| n != 0) || cpu.realtime_period().is_some_and(|n| n != 0);
    if realtime {
        plan.fault("cpu.realtimeRuntime", "cgroup v2 cannot limit realtime scheduling");
    }
}

/// The same files on both versions.
pub(super) fn cpuset(resources: &LinuxResources, plan: &mut Plan) {
    let Some(cpu) = resources.cpu() else { return };
    for (field, file, list) in [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            plan.set(field, "cpuset", file, list);
        }
    }
}

pub(super) fn block_io(resources: &LinuxResources, plan: &mut Plan) {
    let Some(io) = resources.block_io() else { return };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        plan.settings.push(weight_setting("blockIO.weight", weight, None));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let key = format!("{}:{}", device.major(), device.minor());
            plan.settings.push(weight_setting("blockIO.weightDevice", weight, Some(key)));
        }
    }
    let leaf = io.leaf_weight().is_some_and(|weight| weight != 0);
    if leaf {
        plan.fault("blockIO.leafWeight", "cgroup v2 has no such setting");
    }
    throttle(plan, "blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device());
    throttle(plan, "blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device());
    throttle(plan, "blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device());
    throttle(plan, "blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device());
}

/// BFQ's own file takes the weight as it is written, `io.weight` has a scale of its own; a kernel has one of them.
fn weight_setting(field: &str, weight: u16, device: Option<String>) -> Setting {
    let setting = Setting::new(field, "io", "io.weight", io_weight(weight)).or_rather("io.bfq.weight", weight);
    match device {
        Some(key) => setting.row(key, "default"),
        None => setting.undone_by(Undo::Row { key: "default".to_owned(), neutral: "100" }),
    }
}

fn throttle(plan: &mut Plan, field: &str, word: &str, devices: &Option<Vec<LinuxThrottleDevice>>) {
    for device in devices.iter().flatten() {
        let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
        let key = format!("{}:{}", device.major(), device.minor());
        let setting = Setting::new(field, "io", "io.max", format!("{word}={rate}"));
        plan.settings.push(setting.row(key, "rbps=max wbps=max riops=max wiops=max"));
    }
}

pub(super) fn hugetlb(resources: &LinuxResources, plan: &mut Plan) {
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        let value = bytes_or_max(limit.limit());
        plan.set("hugepageLimits", "hugetlb", &format!("hugetlb.{size}.max"), &value);
        let reserved = Setting::new("hugepageLimits", "hugetlb", &format!("hugetlb.{size}.rsvd.max"), value);
        plan.settings.push(reserved.unneeded_where_missing());
    }
}

pub(super) fn network(_resources: &LinuxResources, plan: &mut Plan) {
    plan.fault("network", "cgroup v2 has no network classes and priorities");
}
