//! Statistics of a container's cgroups, in containerd's type for the machine: of v1 with nanoseconds, of v2 with microseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::cgroups::TaskCgroups;
use super::messages::Any;
use crate::wire::{Message, messages};

messages! {
    /// io.containerd.cgroups.v1.Metrics.
    MetricsV1 {
        2 pids: Option<Pids>, 3 cpu: Option<CpuV1>, 4 memory: Option<MemoryV1>, 5 blkio: Option<BlkIo>, 9 oom: Option<OomControl>
    }
    Pids { 1 current: u64, 2 limit: u64 }
    CpuV1 { 1 usage: Option<CpuUsage>, 2 throttling: Option<Throttle> }
    CpuUsage { 1 total: u64, 2 kernel: u64, 3 user: u64, 4 per_cpu: Vec<u64> }
    Throttle { 1 periods: u64, 2 throttled_periods: u64, 3 throttled_time: u64 }
    MemoryV1 {
        1 cache: u64, 2 rss: u64, 3 rss_huge: u64, 4 mapped_file: u64, 5 dirty: u64, 6 writeback: u64, 7 pg_pg_in: u64,
        8 pg_pg_out: u64, 9 pg_fault: u64, 10 pg_maj_fault: u64, 11 inactive_anon: u64, 12 active_anon: u64, 13 inactive_file: u64,
        14 active_file: u64, 15 unevictable: u64, 16 hierarchical_memory_limit: u64, 17 hierarchical_swap_limit: u64,
        18 total_cache: u64, 19 total_rss: u64, 20 total_rss_huge: u64, 21 total_mapped_file: u64, 22 total_dirty: u64,
        23 total_writeback: u64, 24 total_pg_pg_in: u64, 25 total_pg_pg_out: u64, 26 total_pg_fault: u64,
        27 total_pg_maj_fault: u64, 28 total_inactive_anon: u64, 29 total_active_anon: u64, 30 total_inactive_file: u64,
        31 total_active_file: u64, 32 total_unevictable: u64, 33 usage: Option<MemoryEntry>, 34 swap: Option<MemoryEntry>,
        35 kernel: Option<MemoryEntry>, 36 kernel_tcp: Option<MemoryEntry>
    }
    MemoryEntry { 1 limit: u64, 2 usage: u64, 3 max: u64, 4 failcnt: u64 }
    BlkIo { 1 service_bytes: Vec<BlkIoEntry>, 2 serviced: Vec<BlkIoEntry> }
    BlkIoEntry { 1 op: String, 2 device: String, 3 major: u64, 4 minor: u64, 5 value: u64 }
    OomControl { 1 oom_kill_disable: u64, 2 under_oom: u64, 3 oom_kill: u64 }

    /// io.containerd.cgroups.v2.Metrics.
    MetricsV2 {
        1 pids: Option<Pids>, 2 cpu: Option<CpuV2>, 4 memory: Option<MemoryV2>, 6 io: Option<IoV2>, 8 events: Option<MemoryEvents>
    }
    CpuV2 {
        1 usage_usec: u64, 2 user_usec: u64, 3 system_usec: u64, 4 nr_periods: u64, 5 nr_throttled: u64, 6 throttled_usec: u64,
        7 psi: Option<Psi>
    }
    MemoryV2 {
        1 anon: u64, 2 file: u64, 3 kernel_stack: u64, 4 slab: u64, 5 sock: u64, 6 shmem: u64, 7 file_mapped: u64, 8 file_dirty: u64,
        9 file_writeback: u64, 10 anon_thp: u64, 11 inactive_anon: u64, 12 active_anon: u64, 13 inactive_file: u64,
        14 active_file: u64, 15 unevictable: u64, 16 slab_reclaimable: u64, 17 slab_unreclaimable: u64, 18 pgfault: u64,
        19 pgmajfault: u64, 20 workingset_refault: u64, 21 workingset_activate: u64, 22 workingset_nodereclaim: u64, 23 pgrefill: u64,
        24 pgscan: u64, 25 pgsteal: u64, 26 pgactivate: u64, 27 pgdeactivate: u64, 28 pglazyfree: u64, 29 pglazyfreed: u64,
        30 thp_fault_alloc: u64, 31 thp_collapse_alloc: u64, 32 usage: u64, 33 usage_limit: u64, 34 swap_usage: u64,
        35 swap_limit: u64, 36 max_usage: u64, 37 swap_max_usage: u64, 38 psi: Option<Psi>
    }
    IoV2 { 1 usage: Vec<IoEntry>, 2 psi: Option<Psi> }
    IoEntry { 1 major: u64, 2 minor: u64, 3 rbytes: u64, 4 wbytes: u64, 5 rios: u64, 6 wios: u64 }
    MemoryEvents { 1 low: u64, 2 high: u64, 3 max: u64, 4 oom: u64, 5 oom_kill: u64 }
    Psi { 1 some: Option<PsiData>, 2 full: Option<PsiData> }
    /// The averages over 10, 60 and 300 seconds are the bits of doubles.
    PsiData { 1 avg10: Double, 2 avg60: Double, 3 avg300: Double, 4 total: u64 }
}

/// A floating-point number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Double(u64);

impl crate::wire::Value for Double {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if self.0 != 0 {
            crate::wire::put_fixed64(number, self.0, out);
        }
    }
    fn take(&mut self, number: u32, field: crate::wire::Field<'_>) -> Result<(), crate::wire::WireError> {
        let crate::wire::Field::Fixed(bits) = field else { return Err(crate::wire::WireError::Type(number)) };
        self.0 = bits;
        Ok(())
    }
}

/// Reads them; none when the container has no cgroup any more.
pub(super) fn read(cgroups: &TaskCgroups) -> Option<Any> {
    if cgroups.is_unified() {
        let directory = cgroups.unified().filter(|directory| directory.is_dir())?;
        let metrics = v2(directory);
        return Some(Any { type_url: "io.containerd.cgroups.v2.Metrics".to_owned(), value: metrics.to_bytes() });
    }
    let mut some = ["memory", "cpuacct", "pids"].iter().filter_map(|controller| cgroups.directory(controller));
    some.find(|directory| directory.is_dir())?;
    Some(Any { type_url: "io.containerd.cgroups.v1.Metrics".to_owned(), value: v1(cgroups).to_bytes() })
}

/// A file of `name number` lines; a controller that is missing has none.
struct Flat(BTreeMap<String, u64>);

impl Flat {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Self(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect())
    }

    fn get(&self, key: &str) -> u64 {
        self.0.get(key).copied().unwrap_or(0)
    }
}

/// A file with one number; `max` is the largest there is.
fn number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

fn pids(directory: &Path) -> Pids {
    let limit = number(&directory.join("pids.max"));
    // containerd writes no limit as 0.
    Pids { current: number(&directory.join("pids.current")), limit: if limit == u64::MAX { 0 } else { limit } }
}

fn v1(cgroups: &TaskCgroups) -> MetricsV1 {
    let memory = cgroups.directory("memory");
    MetricsV1 {
        pids: cgroups.directory("pids").map(pids),
        cpu: cgroups.directory("cpuacct").map(|directory| cpu_v1(directory, cgroups.directory("cpu"))),
        memory: memory.map(memory_v1),
        blkio: cgroups.directory("blkio").map(|directory| BlkIo {
            service_bytes: blkio(&directory.join("blkio.throttle.io_service_bytes_recursive")),
            serviced: blkio(&directory.join("blkio.throttle.io_serviced_recursive")),
        }),
        oom: memory.map(|directory| {
            let control = Flat::read(&directory.join("memory.oom_control"));
            OomControl {
                oom_kill_disable: control.get("oom_kill_disable"),
                under_oom: control.get("under_oom"),
                oom_kill: control.get("oom_kill"),
            }
        }),
    }
}

fn cpu_v1(directory: &Path, cpu: Option<&Path>) -> CpuV1 {
    let per_cpu = fs::read_to_string(directory.join("cpuacct.usage_percpu")).unwrap_or_default();
    let total = number(&directory.join("cpuacct.usage"));
    let usage = CpuUsage {
        total,
        kernel: number(&directory.join("cpuacct.usage_sys")),
        user: number(&directory.join("cpuacct.usage_user")),
        per_cpu: per_cpu.split_whitespace().filter_map(|number| number.parse().ok()).collect(),
    };
    let throttling = cpu.map(|directory| {
        let stat = Flat::read(&directory.join("cpu.stat"));
        Throttle {
            periods: stat.get("nr_periods"),
            throttled_periods: stat.get("nr_throttled"),
            throttled_time: stat.get("throttled_time"),
        }
    });
    CpuV1 { usage: Some(usage), throttling }
}

fn memory_v1(directory: &Path) -> MemoryV1 {
    let stat = Flat::read(&directory.join("memory.stat"));
    let entry = |name: &str| {
        let file = |suffix: &str| directory.join(format!("memory.{name}{suffix}"));
        file("usage_in_bytes").exists().then(|| MemoryEntry {
            limit: number(&file("limit_in_bytes")),
            usage: number(&file("usage_in_bytes")),
            max: number(&file("max_usage_in_bytes")),
            failcnt: number(&file("failcnt")),
        })
    };
    let get = |key| stat.get(key);
    MemoryV1 {
        cache: get("cache"),
        rss: get("rss"),
        rss_huge: get("rss_huge"),
        mapped_file: get("mapped_file"),
        dirty: get("dirty"),
        writeback: get("writeback"),
        pg_pg_in: get("pgpgin"),
        pg_pg_out: get("pgpgout"),
        pg_fault: get("pgfault"),
        pg_maj_fault: get("pgmajfault"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        hierarchical_memory_limit: get("hierarchical_memory_limit"),
        hierarchical_swap_limit: get("hierarchical_memsw_limit"),
        total_cache: get("total_cache"),
        total_rss: get("total_rss"),
        total_rss_huge: get("total_rss_huge"),
        total_mapped_file: get("total_mapped_file"),
        total_dirty: get("total_dirty"),
        total_writeback: get("total_writeback"),
        total_pg_pg_in: get("total_pgpgin"),
        total_pg_pg_out: get("total_pgpgout"),
        total_pg_fault: get("total_pgfault"),
        total_pg_maj_fault: get("total_pgmajfault"),
        total_inactive_anon: get("total_inactive_anon"),
        total_active_anon: get("total_active_anon"),
        total_inactive_file: get("total_inactive_file"),
        total_active_file: get("total_active_file"),
        total_unevictable: get("total_unevictable"),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
    }
}

/// Lines `8:0 Read 4096`.
fn blkio(path: &Path) -> Vec<BlkIoEntry> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(BlkIoEntry { op, device: String::new(), major: major.parse().ok()?, minor: minor.parse().ok()?, value })
    };
    text.lines().filter_map(entry).collect()
}

fn v2(directory: &Path) -> MetricsV2 {
    let has = |file: &str| directory.join(file).exists();
    MetricsV2 {
        pids: has("pids.current").then(|| pids(directory)),
        cpu: Some(cpu_v2(directory)),
        memory: has("memory.stat").then(|| memory_v2(directory)),
        io: has("io.stat").then(|| IoV2 { usage: io_v2(&directory.join("io.stat")), psi: psi(&directory.join("io.pressure")) }),
        events: has("memory.events").then(|| {
            let events = Flat::read(&directory.join("memory.events"));
            MemoryEvents {
                low: events.get("low"),
                high: events.get("high"),
                max: events.get("max"),
                oom: events.get("oom"),
                oom_kill: events.get("oom_kill"),
            }
        }),
    }
}

fn cpu_v2(directory: &Path) -> CpuV2 {
    let stat = Flat::read(&directory.join("cpu.stat"));
    CpuV2 {
        usage_usec: stat.get("usage_usec"),
        user_usec: stat.get("user_usec"),
        system_usec: stat.get("system_usec"),
        nr_periods: stat.get("nr_periods"),
        nr_throttled: stat.get("nr_throttled"),
        throttled_usec: stat.get("throttled_usec"),
        psi: psi(&directory.join("cpu.pressure")),
    }
}

fn memory_v2(directory: &Path) -> MemoryV2 {
    let stat = Flat::read(&directory.join("memory.stat"));
    let file = |name: &str| number(&directory.join(name));
    let get = |key| stat.get(key);
    MemoryV2 {
        anon: get("anon"),
        file: get("file"),
        kernel_stack: get("kernel_stack"),
        slab: get("slab"),
        sock: get("sock"),
        shmem: get("shmem"),
        file_mapped: get("file_mapped"),
        file_dirty: get("file_dirty"),
        file_writeback: get("file_writeback"),
        anon_thp: get("anon_thp"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        slab_reclaimable: get("slab_reclaimable"),
        slab_unreclaimable: get("slab_unreclaimable"),
        pgfault: get("pgfault"),
        pgmajfault: get("pgmajfault"),
        workingset_refault: get("workingset_refault_anon") + get("workingset_refault_file"),
        workingset_activate: get("workingset_activate_anon") + get("workingset_activate_file"),
        workingset_nodereclaim: get("workingset_nodereclaim"),
        pgrefill: get("pgrefill"),
        pgscan: get("pgscan"),
        pgsteal: get("pgsteal"),
        pgactivate: get("pgactivate"),
        pgdeactivate: get("pgdeactivate"),
        pglazyfree: get("pglazyfree"),
        pglazyfreed: get("pglazyfreed"),
        thp_fault_alloc: get("thp_fault_alloc"),
        thp_collapse_alloc: get("thp_collapse_alloc"),
        usage: file("memory.current"),
        usage_limit: file("memory.max"),
        swap_usage: file("memory.swap.current"),
        swap_limit: file("memory.swap.max"),
        max_usage: file("memory.peak"),
        swap_max_usage: file("memory.swap.peak"),
        psi: psi(&directory.join("memory.pressure")),
    }
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn io_v2(path: &Path) -> Vec<IoEntry> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let values: BTreeMap<&str, u64> =
            words.filter_map(|word| word.split_once('=')).filter_map(|(key, value)| Some((key, value.parse().ok()?))).collect();
        let get = |key| values.get(key).copied().unwrap_or(0);
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(IoEntry { major, minor, rbytes: get("rbytes"), wbytes: get("wbytes"), rios: get("rios"), wios: get("wios") })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn psi(path: &Path) -> Option<Psi> {
    let text = fs::read_to_string(path).ok()?;
    let line = |kind: &str| {
        let values = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let values: BTreeMap<&str, &str> = values.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let average = |key| Double(values.get(key).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0).to_bits());
        let total = values.get("total").and_then(|value| value.parse().ok()).unwrap_or(0);
        Some(PsiData { avg10: average("avg10"), avg60: average("avg60"), avg300: average("avg300"), total })
    };
    Some(Psi { some: line("some "), full: line("full ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Scratch;

    #[test]
    fn a_directory_of_v2_becomes_its_metrics() {
        let scratch = Scratch::new();
        for (name, text) in [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
            ("memory.stat", "anon 4096\ninactive_file 8\nworkingset_refault_anon 1\nworkingset_refault_file 2\n"),
            ("memory.current", "5000\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n"),
            ("pids.current", "4\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"),
        ] {
            fs::write(scratch.path().join(name), text).unwrap();
        }
        let metrics = v2(scratch.path());
        assert_eq!(metrics.pids, Some(Pids { current: 4, limit: 0 }));
        let cpu = metrics.cpu.clone().unwrap();
        assert_eq!((cpu.usage_usec, cpu.psi.unwrap().some.unwrap().avg10), (1500, Double(1.5_f64.to_bits())));
        let memory = metrics.memory.clone().unwrap();
        assert_eq!((memory.anon, memory.usage, memory.usage_limit, memory.workingset_refault), (4096, 5000, u64::MAX, 3));
        assert_eq!(metrics.events.clone().unwrap().oom_kill, 1);
        assert_eq!(metrics.io.clone().unwrap().usage, [IoEntry { major: 8, minor: 0, rbytes: 10, wbytes: 20, rios: 1, wios: 2 }]);
        assert_eq!(MetricsV2::from_bytes(&metrics.to_bytes()), Ok(metrics));
    }

    #[test]
    fn a_directory_of_v1_becomes_its_metrics() {
        let scratch = Scratch::new();
        for (name, text) in [
            ("memory.stat", "cache 1\ntotal_rss 2\ntotal_inactive_file 3\ntotal_pgmajfault 4\n"),
            ("memory.usage_in_bytes", "10\n"),
            ("memory.limit_in_bytes", "20\n"),
            ("cpuacct.usage", "99\n"),
            ("cpuacct.usage_percpu", "40 59 \n"),
        ] {
            fs::write(scratch.path().join(name), text).unwrap();
        }
        let memory = memory_v1(scratch.path());
        assert_eq!((memory.cache, memory.total_rss, memory.total_inactive_file, memory.total_pg_maj_fault), (1, 2, 3, 4));
        assert_eq!(memory.usage, Some(MemoryEntry { limit: 20, usage: 10, max: 0, failcnt: 0 }));
        assert_eq!(memory.swap, None);
        let usage = cpu_v1(scratch.path(), None).usage.unwrap();
        assert_eq!((usage.total, usage.per_cpu), (99, vec![40, 59]));
    }
}
