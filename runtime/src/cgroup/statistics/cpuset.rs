//! Which processors and memory nodes, and how they are shared.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::number;
use crate::cgroup::resources::Version;

#[derive(Debug, Default, Serialize)]
pub(super) struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

/// On cgroup v2 there are the two lists alone.
pub(super) fn read(dir: &Path, version: Version) -> Cpuset {
    let list = |name: &str| expand(&fs::read_to_string(dir.join(name)).unwrap_or_default());
    if version == Version::V2 {
        return Cpuset { cpus: list("cpuset.cpus.effective"), mems: list("cpuset.mems.effective"), ..Cpuset::default() };
    }
    let flag = |name: &str| number(&dir.join(format!("cpuset.{name}")));
    let level = fs::read_to_string(dir.join("cpuset.sched_relax_domain_level")).unwrap_or_default();
    Cpuset {
        cpus: list("cpuset.cpus"),
        cpu_exclusive: flag("cpu_exclusive"),
        mems: list("cpuset.mems"),
        mem_hardwall: flag("mem_hardwall"),
        mem_exclusive: flag("mem_exclusive"),
        memory_migrate: flag("memory_migrate"),
        memory_spread_page: flag("memory_spread_page"),
        memory_spread_slab: flag("memory_spread_slab"),
        memory_pressure: flag("memory_pressure"),
        sched_load_balance: flag("sched_load_balance"),
        sched_relax_domain_level: level.trim_end().parse().unwrap_or_default(),
    }
}

/// `0-2,5` as numbers.
fn expand(list: &str) -> Vec<u16> {
    let ranges = list.trim_end().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded() {
        assert_eq!(expand("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(expand("\n"), Vec::<u16>::new());
    }
}
