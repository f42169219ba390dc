//! `events.jsonl`: one line for each time an event happened, compacted when it grows.
//!
//! Of the lines with one id the last one counts, so the others can go. Readers follow the file by its name: a compacted one
//! replaces it by rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hshim_health::record::EventLine;

/// Lines at which the file is compacted.
const MOST_LINES: usize = 1024;
/// Series that survive a compaction: the ones seen last.
const KEPT_SERIES: usize = 256;

/// Writer of the file.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    lines: usize,
}

impl EventFile {
    /// Of a pod that begins now, or goes on with what a shim before wrote.
    pub(crate) fn new(path: &Path) -> Self {
        let lines = fs::read(path).map_or(0, |text| text.split(|&byte| byte == b'\n').count());
        Self { path: path.to_owned(), lines }
    }

    /// Appends one line, at once and whole.
    pub(crate) fn append(&mut self, event: &EventLine) -> io::Result<()> {
        if self.lines >= MOST_LINES {
            self.compact()?;
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        File::options().append(true).create(true).open(&self.path)?.write_all(&line)?;
        self.lines += 1;
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let text = fs::read_to_string(&self.path)?;
        let mut last_of_series = BTreeMap::new();
        for event in text.lines().filter_map(|line| serde_json::from_str::<EventLine>(line).ok()) {
            last_of_series.insert(event.id, event);
        }
        let mut events: Vec<EventLine> = last_of_series.into_values().collect();
        events.sort_by_key(|event| event.last);
        let kept = events.split_off(events.len().saturating_sub(KEPT_SERIES));
        self.replace(&kept)?;
        self.lines = kept.len();
        Ok(())
    }

    fn replace(&self, events: &[EventLine]) -> io::Result<()> {
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        let draft = self.path.with_extension("new");
        fs::write(&draft, &text)?;
        fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use hshim_health::event::{EventKind, EventReason};
    use jiff::Timestamp;

    use super::*;
    use crate::test_support::Scratch;

    fn event(id: u64, count: u32, second: i64) -> EventLine {
        let at = Timestamp::from_second(second).unwrap();
        EventLine {
            id,
            kind: EventKind::Warning,
            reason: EventReason::Unhealthy,
            message: "m".into(),
            container: None,
            count,
            first: at,
            last: at,
        }
    }

    fn read(path: &Path) -> Vec<EventLine> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_year_of_repetitions_stays_one_small_file_with_the_last_count_of_each_series() {
        let scratch = Scratch::new();
        let path = scratch.path().join("events.jsonl");
        let mut file = EventFile::new(&path);
        for count in 1..=5_000 {
            file.append(&event(1, count, i64::from(count))).unwrap();
            assert!(count % 500 != 0 || read(&path).len() <= MOST_LINES);
        }
        let last = read(&path).pop().unwrap();
        assert_eq!((last.id, last.count), (1, 5_000));
        assert!(read(&path).len() <= MOST_LINES);
    }

    #[test]
    fn of_many_series_the_ones_seen_last_survive() {
        let scratch = Scratch::new();
        let path = scratch.path().join("events.jsonl");
        let mut file = EventFile::new(&path);
        for id in 0..=1_024 {
            file.append(&event(id, 1, i64::try_from(id).unwrap())).unwrap();
        }
        let ids: Vec<u64> = read(&path).iter().map(|event| event.id).collect();
        assert_eq!(ids, (1_024 - 256..=1_024).collect::<Vec<_>>());
    }
}
