//! Limits as properties of a unit: what stands in a file, said in systemd's words (systemd.resource-control(5)).
//!
//! A file that has no property is written by hshim alone: systemd leaves it as it is.

use std::fs;

use super::super::dbus::Value;
use super::super::device_rules::{Kind, MKNOD, READ, Rule, Verdicts, WRITE};
use super::super::resources::Version;
use super::Wishes;

type Properties = Vec<(String, Value)>;

/// systemd keeps quotas in hundredths of a processor.
const QUOTA_STEP: u64 = 10_000;
const SECOND: u64 = 1_000_000;
/// Both versions' default.
const PERIOD: u64 = 100_000;

/// What systemd is told.
pub(super) fn of(version: Version, wishes: &Wishes<'_>) -> anyhow::Result<Properties> {
    let files: Vec<(&str, &str)> = wishes
        .settings
        .iter()
        .flat_map(|setting| setting.candidates.last())
        .map(|(file, value)| (file.as_str(), value.as_str()))
        .collect();
    let mut properties: Properties = files.iter().flat_map(|(file, value)| simple(file, value)).collect();
    properties.extend(quota(&files));
    properties.extend(rates(version, &files));
    if let Some(rules) = wishes.devices {
        properties.extend(devices(rules)?);
    }
    Ok(properties)
}

/// Files with one value.
fn simple(file: &str, value: &str) -> Option<(String, Value)> {
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "memory.limit_in_bytes" => "MemoryLimit",
        "cpu.weight" => "CPUWeight",
        "cpu.shares" => "CPUShares",
        "pids.max" => "TasksMax",
        "io.weight" => "IOWeight",
        "blkio.weight" => "BlockIOWeight",
        "cpuset.cpus" => return Some(("AllowedCPUs".to_owned(), Value::Bytes(mask(value)))),
        "cpuset.mems" => return Some(("AllowedMemoryNodes".to_owned(), Value::Bytes(mask(value)))),
        _none => return None,
    };
    let number = if value == "max" || value == "-1" { u64::MAX } else { value.parse().ok()? };
    Some((name.to_owned(), Value::U64(number)))
}

/// `0-2,5` as bits.
fn mask(list: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else { continue };
        for number in first..=last {
            let byte = usize::from(number / 8);
            mask.resize(mask.len().max(byte + 1), 0);
            mask.iter_mut().skip(byte).take(1).for_each(|bits| *bits |= 1 << (number % 8));
        }
    }
    mask
}

/// `cpu.max`, or the two files of v1, as time in a second.
fn quota(files: &[(&str, &str)]) -> Properties {
    let find = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, value)| *value);
    let (quota, period) = match find("cpu.max") {
        Some(both) => both.split_once(' ').map_or((Some(both), None), |(quota, period)| (Some(quota), Some(period))),
        None => (find("cpu.cfs_quota_us"), find("cpu.cfs_period_us")),
    };
    let period_number = period.and_then(|period| period.parse().ok()).unwrap_or(PERIOD);
    let per_second = quota.map(|quota| match quota.parse::<u64>() {
        Ok(quota) => (quota.saturating_mul(SECOND) / period_number.max(1)).div_ceil(QUOTA_STEP) * QUOTA_STEP,
        Err(_unlimited) => u64::MAX,
    });
    let per_second = per_second.map(|time| ("CPUQuotaPerSecUSec".to_owned(), Value::U64(time)));
    let period = period.map(|_given| ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period_number)));
    per_second.into_iter().chain(period).collect()
}

/// Rows about devices, which systemd knows by path.
fn rates(version: Version, files: &[(&str, &str)]) -> Properties {
    let v2 = [
        ("rbps=", "IOReadBandwidthMax"),
        ("wbps=", "IOWriteBandwidthMax"),
        ("riops=", "IOReadIOPSMax"),
        ("wiops=", "IOWriteIOPSMax"),
    ];
    let v1 = [
        ("blkio.throttle.read_bps_device", "BlockIOReadBandwidth"),
        ("blkio.throttle.write_bps_device", "BlockIOWriteBandwidth"),
    ];
    let row = |value: &str, word: &str| {
        let (device, rate) = value.split_once(' ')?;
        let rate = rate.strip_prefix(word)?;
        let rate = if rate == "max" { u64::MAX } else { rate.parse().ok()? };
        Some((format!("/dev/block/{device}"), rate))
    };
    let collect = |name: &str, rows: Vec<(String, u64)>| (!rows.is_empty()).then(|| (name.to_owned(), Value::Rates(rows)));
    let rows = |file: &str, word: &str| {
        files.iter().filter(|(name, _)| *name == file).filter_map(|(_, value)| row(value, word)).collect()
    };
    match version {
        Version::V2 => v2.iter().filter_map(|(word, name)| collect(name, rows("io.max", word))).collect(),
        Version::V1 => v1.iter().filter_map(|(file, name)| collect(name, rows(file, ""))).collect(),
    }
}

/// systemd knows allowed devices alone; where all are allowed but some, it is told nothing.
fn devices(rules: &[Rule]) -> anyhow::Result<Properties> {
    let Ok(verdicts) = Verdicts::of(rules) else { return Ok(open()) };
    if verdicts.allows_all {
        return Ok(open());
    }
    let groups = fs::read_to_string("/proc/devices").unwrap_or_default();
    let allowed = verdicts.exceptions.iter().filter_map(|rule| Some((node(rule, &groups)?, access(rule)))).collect();
    // An empty list first: the list that is set is added to what was there.
    Ok(vec![
        ("DevicePolicy".to_owned(), Value::Text("strict".to_owned())),
        ("DeviceAllow".to_owned(), Value::Pairs(Vec::new())),
        ("DeviceAllow".to_owned(), Value::Pairs(allowed)),
    ])
}

fn open() -> Properties {
    vec![("DevicePolicy".to_owned(), Value::Text("auto".to_owned())), ("DeviceAllow".to_owned(), Value::Pairs(Vec::new()))]
}

/// A path, or the name of a group of drivers; what has neither is in our own program only.
fn node(rule: &Rule, groups: &str) -> Option<String> {
    let kind = if rule.kind == Kind::Block { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (None, None) => Some(format!("{kind}-*")),
        (Some(major), None) => group(kind, major, groups).map(|name| format!("{kind}-{name}")),
        (None, Some(_)) => None,
    }
}

/// Of /proc/devices: two lists of `MAJOR NAME`.
fn group(kind: &str, major: u32, groups: &str) -> Option<String> {
    let (characters, blocks) = groups.split_once("Block devices:").unwrap_or((groups, ""));
    let list = if kind == "block" { blocks } else { characters };
    let rows = list.lines().filter_map(|line| line.trim().split_once(' '));
    rows.into_iter().find(|(number, _)| number.parse() == Ok(major)).map(|(_, name)| name.trim().to_owned())
}

fn access(rule: &Rule) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::setting::Setting;

    fn told(version: Version, files: &[(&str, &str)]) -> Properties {
        let settings: Vec<Setting> = files.iter().map(|(file, value)| Setting::new("x", "x", file, value)).collect();
        of(version, &Wishes { settings: &settings, ..Wishes::default() }).unwrap()
    }

    #[test]
    fn files_become_properties() {
        let one = |name: &str, value: Value| vec![(name.to_owned(), value)];
        assert_eq!(told(Version::V2, &[("memory.max", "4096")]), one("MemoryMax", Value::U64(4096)));
        assert_eq!(told(Version::V2, &[("memory.swap.max", "max")]), one("MemorySwapMax", Value::U64(u64::MAX)));
        assert_eq!(told(Version::V1, &[("memory.limit_in_bytes", "-1")]), one("MemoryLimit", Value::U64(u64::MAX)));
        assert_eq!(told(Version::V2, &[("cpuset.cpus", "0-2,9")]), one("AllowedCPUs", Value::Bytes(vec![7, 2])));
        assert_eq!(told(Version::V2, &[("cpu.idle", "1"), ("hugetlb.2MB.max", "5")]), []);
        let read = Value::Rates(vec![("/dev/block/8:0".to_owned(), 5)]);
        assert_eq!(told(Version::V2, &[("io.max", "8:0 rbps=5")]), one("IOReadBandwidthMax", read.clone()));
        assert_eq!(told(Version::V1, &[("blkio.throttle.read_bps_device", "8:0 5")]), one("BlockIOReadBandwidth", read));
    }

    #[test]
    fn quotas_are_time_in_a_second_rounded_up_to_hundredths() {
        let quota =
            |version, files: &[(&str, &str)]| told(version, files).into_iter().map(|(_, value)| value).collect::<Vec<Value>>();
        assert_eq!(quota(Version::V2, &[("cpu.max", "20000 50000")]), [Value::U64(400_000), Value::U64(50_000)]);
        assert_eq!(quota(Version::V2, &[("cpu.max", "max 100000")]), [Value::U64(u64::MAX), Value::U64(100_000)]);
        assert_eq!(quota(Version::V1, &[("cpu.cfs_quota_us", "12345")]), [Value::U64(130_000)]);
    }

    #[test]
    fn devices_are_named_by_path_or_group() {
        let groups = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        let rule = |kind, major, minor| Rule { allows: true, kind, major, minor, access: READ };
        assert_eq!(node(&rule(Kind::Character, Some(1), Some(3)), groups).as_deref(), Some("/dev/char/1:3"));
        assert_eq!(node(&rule(Kind::Character, Some(136), None), groups).as_deref(), Some("char-pts"));
        assert_eq!(node(&rule(Kind::Block, Some(8), None), groups).as_deref(), Some("block-sd"));
        assert_eq!(node(&rule(Kind::Block, Some(1), None), groups), None);
        assert_eq!(node(&rule(Kind::Block, None, None), groups).as_deref(), Some("block-*"));
    }
}
