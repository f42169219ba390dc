//! What `linux.resources` of a specification means for the files of a cgroup, on either version.
//!
//! Pure: it is told which version each controller is on, and answers with the settings to be written, or with everything
//! that is wrong. Device rules are not files on cgroup v2 and stand apart ([`super::device_rules`]).

mod conversion;
mod v1;
mod v2;

use libcontainer::oci_spec::runtime::{LinuxCpu, LinuxNetwork, LinuxResources};

use super::setting::Setting;

/// Of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// A part of the resources, the controller it needs, and who knows what it means.
type Section = (&'static str, fn(&LinuxResources) -> bool, Planner, Planner);
type Planner = fn(&LinuxResources, &mut Plan);

/// The cpuset stands first: on cgroup v1 nothing can join one that has no processors.
const SECTIONS: [Section; 8] = [
    ("cpuset", |all| all.cpu().as_ref().is_some_and(wants_cpuset), v1::cpuset, v2::cpuset),
    ("memory", |all| all.memory().is_some(), v1::memory, v2::memory),
    ("cpu", |all| all.cpu().as_ref().is_some_and(wants_cpu), v1::cpu, v2::cpu),
    ("pids", |all| all.pids().is_some(), pids, pids),
    ("blkio", |all| all.block_io().is_some(), v1::block_io, v2::block_io),
    ("hugetlb", |all| all.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()), v1::hugetlb, v2::hugetlb),
    ("rdma", |all| all.rdma().as_ref().is_some_and(|devices| !devices.is_empty()), rdma, rdma),
    ("net_cls", |all| all.network().as_ref().is_some_and(wants_network), v1::network, v2::network),
];

/// What is found out about a specification's resources.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In the order of writing.
    pub(crate) settings: Vec<Setting>,
    /// Each with its path.
    pub(crate) faults: Vec<String>,
}

impl Plan {
    fn set(&mut self, field: &str, controller: &str, file: &str, value: impl ToString) {
        self.settings.push(Setting::new(field, controller, file, value));
    }

    fn fault(&mut self, field: &str, text: impl std::fmt::Display) {
        self.faults.push(format!("linux.resources.{field}: {text}"));
    }
}

/// Plans the settings. `version_of` knows where a controller (by its name on v1) is mounted.
pub(crate) fn plan(resources: &LinuxResources, version_of: &dyn Fn(&str) -> Option<Version>) -> anyhow::Result<Vec<Setting>> {
    let mut plan = Plan::default();
    for (controller, is_wanted, v1, v2) in SECTIONS {
        match version_of(controller) {
            _ if !is_wanted(resources) => {}
            Some(Version::V1) => v1(resources, &mut plan),
            Some(Version::V2) => v2(resources, &mut plan),
            None => missing(resources, controller, v1, &mut plan),
        }
    }
    unified(resources, version_of, &mut plan);
    anyhow::ensure!(plan.faults.is_empty(), "{}", plan.faults.join("; "));
    Ok(plan.settings)
}

/// Empty objects ask for nothing, so a missing controller is no fault of theirs.
fn missing(resources: &LinuxResources, controller: &str, planner: Planner, plan: &mut Plan) {
    let mut wanted = Plan::default();
    planner(resources, &mut wanted);
    if let Some(setting) = wanted.settings.first() {
        plan.faults.push(format!("{}: no {controller} controller is mounted on this machine", setting.field));
    }
}

fn wants_cpuset(cpu: &LinuxCpu) -> bool {
    [cpu.cpus(), cpu.mems()].into_iter().flatten().any(|list| !list.is_empty())
}

fn wants_cpu(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some()
        || cpu.quota().is_some()
        || cpu.period().is_some()
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some()
        || cpu.realtime_period().is_some()
}

fn wants_network(network: &LinuxNetwork) -> bool {
    network.class_id().is_some_and(|class| class != 0)
        || network.priorities().as_ref().is_some_and(|priorities| !priorities.is_empty())
}

/// The same file on both versions. Zero is the value of a field that Go's callers did not fill.
fn pids(resources: &LinuxResources, plan: &mut Plan) {
    match resources.pids().as_ref().map_or(0, |pids| pids.limit()) {
        0 => {}
        limit if limit < 0 => plan.set("pids.limit", "pids", "pids.max", "max"),
        limit => plan.set("pids.limit", "pids", "pids.max", limit),
    }
}

/// The same file on both versions.
fn rdma(resources: &LinuxResources, plan: &mut Plan) {
    for (device, limits) in resources.rdma().iter().flatten() {
        let handles = limits.hca_handles().map(|limit| format!("hca_handle={limit}"));
        let objects = limits.hca_objects().map(|limit| format!("hca_object={limit}"));
        let value = handles.into_iter().chain(objects).collect::<Vec<String>>().join(" ");
        if device.is_empty() || device.contains(char::is_whitespace) {
            plan.fault("rdma", format!("{device:?} is not the name of a device"));
        } else if !value.is_empty() {
            let setting = Setting::new("rdma", "rdma", "rdma.max", value).row(device.clone(), "hca_handle=max hca_object=max");
            plan.settings.push(setting);
        }
    }
}

/// Files of cgroup v2 by their own names, written last: they are what the author knew best.
fn unified(resources: &LinuxResources, version_of: &dyn Fn(&str) -> Option<Version>, plan: &mut Plan) {
    let mut wanted: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    wanted.sort();
    for (file, value) in wanted {
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains('/') || !file.contains('.') || controller.is_empty() {
            plan.fault("unified", format!("{file:?} is not the name of a cgroup's file"));
        } else if controller == "cgroup" {
            plan.fault("unified", format!("{file:?} belongs to the runtime: only files of controllers can be set"));
        } else if version_of(if controller == "io" { "blkio" } else { controller }) != Some(Version::V2) {
            plan.fault("unified", format!("{file:?} needs the {controller} controller on cgroup v2, which this machine has not"));
        } else {
            plan.settings.push(Setting::new(&format!("unified.{file}"), controller, file, value));
        }
    }
}

#[cfg(test)]
mod tests;
