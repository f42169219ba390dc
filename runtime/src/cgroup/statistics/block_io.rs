//! Block devices.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cgroup::pressure::Pressure;
use crate::cgroup::resources::Version;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_queue_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "super::is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "super::is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "super::is_zero")]
    value: u64,
}

pub(super) fn read(at: Option<(&Path, Version)>, psi: Option<Pressure>) -> BlockIo {
    match at {
        Some((dir, Version::V1)) => BlockIo { psi, ..v1(dir) },
        Some((dir, Version::V2)) => BlockIo { psi, ..v2(&fs::read_to_string(dir.join("io.stat")).unwrap_or_default()) },
        None => BlockIo { psi, ..BlockIo::default() },
    }
}

/// The scheduler BFQ has files of its own; throttling counts for every scheduler.
fn v1(dir: &Path) -> BlockIo {
    let file = |name: &str| {
        let entries = |file: String| entries(&fs::read_to_string(dir.join(file)).unwrap_or_default());
        let bfq = entries(format!("blkio.bfq.{name}_recursive"));
        if bfq.is_empty() { entries(format!("blkio.{name}_recursive")) } else { bfq }
    };
    let or_throttle = |found: Vec<Entry>, name: &str| {
        if found.is_empty() {
            entries(&fs::read_to_string(dir.join(format!("blkio.throttle.{name}_recursive"))).unwrap_or_default())
        } else {
            found
        }
    };
    BlockIo {
        io_service_bytes_recursive: or_throttle(file("io_service_bytes"), "io_service_bytes"),
        io_serviced_recursive: or_throttle(file("io_serviced"), "io_serviced"),
        io_queue_recursive: file("io_queued"),
        io_service_time_recursive: file("io_service_time"),
        io_wait_time_recursive: file("io_wait_time"),
        io_merged_recursive: file("io_merged"),
        io_time_recursive: file("time"),
        sectors_recursive: file("sectors"),
        psi: None,
    }
}

/// Lines of `MAJOR:MINOR OPERATION VALUE` or `MAJOR:MINOR VALUE`; the total at the end has no device.
fn entries(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (device, op, value) = match words.as_slice() {
            [device, op, value] => (device, *op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        let (major, minor) = device.split_once(':')?;
        Some(Entry { major: major.parse().ok()?, minor: minor.parse().ok()?, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines of `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …`, of which v1 knew these four.
fn v2(text: &str) -> BlockIo {
    let mut io = BlockIo::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                _no_equal_on_v1 => continue,
            };
            list.push(Entry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or_default() });
        }
    }
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(op: &str, value: u64) -> Entry {
        Entry { major: 253, minor: 16, op: op.to_owned(), value }
    }

    #[test]
    fn both_versions_are_read() {
        assert_eq!(entries("253:16 Read 5\n253:16 Sync 0\nTotal 5\n"), [entry("Read", 5), entry("Sync", 0)]);
        let io = v2("253:16 rbytes=9 wbytes=8 rios=7 wios=6 dbytes=0 dios=0\n7:0\n");
        assert_eq!(io.io_service_bytes_recursive, [entry("Read", 9), entry("Write", 8)]);
        assert_eq!(io.io_serviced_recursive, [entry("Read", 7), entry("Write", 6)]);
    }
}
