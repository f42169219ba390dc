//! Settings of cgroup v1 (the kernel's Documentation/admin-guide/cgroup-v1).

use libcontainer::oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

use super::Plan;
use crate::cgroup::setting::{Setting, Undo};

/// Zero is the value of a field that Go's callers did not fill.
fn filled<T: PartialEq + Default + Copy>(field: Option<T>) -> Option<T> {
    field.filter(|value| *value != T::default())
}

pub(super) fn memory(resources: &LinuxResources, plan: &mut Plan) {
    let Some(memory) = resources.memory() else { return };
    let limit = filled(memory.limit());
    // Unlimited memory with limited swap is not possible: both are lifted together.
    let swap = filled(memory.swap()).or(limit.filter(|limit| *limit == -1));
    if let Some(limit) = limit {
        plan.set("memory.limit", "memory", "memory.limit_in_bytes", limit);
    }
    if let Some(swap) = swap {
        let setting = Setting::new("memory.swap", "memory", "memory.memsw.limit_in_bytes", swap);
        plan.settings.push(if swap == -1 { setting.unneeded_where_missing() } else { setting });
    }
    if let Some(reservation) = filled(memory.reservation()) {
        plan.set("memory.reservation", "memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(tcp) = filled(memory.kernel_tcp()) {
        plan.set("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", tcp);
    }
    match memory.swappiness() {
        Some(swappiness @ 0..=100) => plan.set("memory.swappiness", "memory", "memory.swappiness", swappiness),
        Some(swappiness) => plan.fault("memory.swappiness", format!("{swappiness} is not between 0 and 100")),
        None => {}
    }
    if memory.disable_oom_killer() == Some(true) {
        let setting = Setting::new("memory.disableOOMKiller", "memory", "memory.oom_control", "1");
        plan.settings.push(setting.undone_by(Undo::Value("0")));
    }
}

pub(super) fn cpu(resources: &LinuxResources, plan: &mut Plan) {
    let Some(cpu) = resources.cpu() else { return };
    match filled(cpu.shares()) {
        Some(shares @ 2..=262_144) => plan.set("cpu.shares", "cpu", "cpu.shares", shares),
        Some(shares) => plan.fault("cpu.shares", format!("{shares} is not between 2 and 262144")),
        None => {}
    }
    let numbers = [
        ("cpu.realtimePeriod", "cpu.rt_period_us", filled(cpu.realtime_period()).map(|n| n.to_string())),
        ("cpu.realtimeRuntime", "cpu.rt_runtime_us", filled(cpu.realtime_runtime()).map(|n| n.to_string())),
        ("cpu.period", "cpu.cfs_period_us", filled(cpu.period()).map(|n| n.to_string())),
        ("cpu.burst", "cpu.cfs_burst_us", cpu.burst().map(|n| n.to_string())),
        ("cpu.quota", "cpu.cfs_quota_us", filled(cpu.quota()).map(|n| n.to_string())),
        ("cpu.idle", "cpu.idle", cpu.idle().map(|n| n.to_string())),
    ];
    for (field, file, value) in numbers {
        if let Some(value) = value {
            plan.set(field, "cpu", file, value);
        }
    }
}

pub(super) fn cpuset(resources: &LinuxResources, plan: &mut Plan) {
    super::v2::cpuset(resources, plan);
}

pub(super) fn block_io(resources: &LinuxResources, plan: &mut Plan) {
    let Some(io) = resources.block_io() else { return };
    let weights = [("blockIO.weight", "weight", io.weight()), ("blockIO.leafWeight", "leaf_weight", io.leaf_weight())];
    for (field, name, weight) in weights {
        if let Some(weight) = filled(weight) {
            let setting = Setting::new(field, "blkio", &format!("blkio.{name}"), weight);
            plan.settings.push(setting.or_rather(&format!("blkio.bfq.{name}"), weight));
        }
    }
    for device in io.weight_device().iter().flatten() {
        let key = format!("{}:{}", device.major(), device.minor());
        let weights = [("weight_device", device.weight()), ("leaf_weight_device", device.leaf_weight())];
        for (name, weight) in weights {
            if let Some(weight) = filled(weight) {
                let setting = Setting::new("blockIO.weightDevice", "blkio", &format!("blkio.{name}"), weight);
                plan.settings.push(setting.or_rather(&format!("blkio.bfq.{name}"), weight).row(key.clone(), "0"));
            }
        }
    }
    throttle(plan, "blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", io.throttle_read_bps_device());
    throttle(plan, "blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", io.throttle_write_bps_device());
    throttle(plan, "blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", io.throttle_read_iops_device());
    throttle(plan, "blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", io.throttle_write_iops_device());
}

fn throttle(plan: &mut Plan, field: &str, file: &str, devices: &Option<Vec<LinuxThrottleDevice>>) {
    for device in devices.iter().flatten() {
        let key = format!("{}:{}", device.major(), device.minor());
        plan.settings.push(Setting::new(field, "blkio", file, device.rate()).row(key, "0"));
    }
}

pub(super) fn hugetlb(resources: &LinuxResources, plan: &mut Plan) {
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        plan.set("hugepageLimits", "hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), limit.limit());
        let reserved = Setting::new("hugepageLimits", "hugetlb", &format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.limit());
        plan.settings.push(reserved.unneeded_where_missing());
    }
}

pub(super) fn network(resources: &LinuxResources, plan: &mut Plan) {
    let Some(network) = resources.network() else { return };
    if let Some(class) = filled(network.class_id()) {
        plan.set("network.classID", "net_cls", "net_cls.classid", class);
    }
    for priority in network.priorities().iter().flatten() {
        let setting = Setting::new("network.priorities", "net_prio", "net_prio.ifpriomap", priority.priority());
        plan.settings.push(setting.row(priority.name().clone(), "0"));
    }
}
