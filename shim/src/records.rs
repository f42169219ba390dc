//! The files of the supervision directory that the shim writes: only on a change, replaced as a whole.
//!
//! A disk that is full does not stop supervision: it is said once in the log, and the next change is tried again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use hshim_health::Moment;
use hshim_health::event::Event;
use hshim_health::layout::SupervisionDir;
use hshim_health::record::{ProcessIdentity, ShimIdentity, StatusFile, TakeOver, VERSION};
use hshim_health::status::PodStatus;
use jiff::Timestamp;
use serde::Serialize;

use crate::clock::{self, Stamp};
use crate::event_file::EventFile;
use crate::process_record;

/// Writer of the records of one pod.
#[derive(Debug)]
pub(crate) struct Records {
    dir: SupervisionDir,
    boot_id: String,
    stamp: Stamp,
    events: EventFile,
    memory: serde_json::Value,
    /// Files that could not be written the last time: said once each.
    broken: BTreeSet<&'static str>,
}

impl Records {
    /// Says first of all which process this is (`shim.json`).
    pub(crate) fn open(dir: SupervisionDir) -> io::Result<Self> {
        let process = process_record::identity(std::process::id())?;
        let boot_id = process.boot_id.clone();
        replace(&dir.shim(), &ShimIdentity { version: VERSION, process })?;
        let events = EventFile::new(&dir.events());
        Ok(Self { dir, boot_id, stamp: Stamp::default(), events, memory: serde_json::Value::Null, broken: BTreeSet::new() })
    }

    /// `status.json`.
    pub(crate) fn publish(&mut self, status: PodStatus<Moment>) {
        self.refresh();
        let status = status.map_time(|moment| self.stamp.of(moment));
        let written = replace(&self.dir.status(), &StatusFile { version: VERSION, status });
        self.note("status.json", written);
    }

    /// A line of `events.jsonl`.
    pub(crate) fn record(&mut self, event: Event<Moment>) {
        self.refresh();
        let written = self.events.append(&event.map_time(|moment| self.stamp.of(moment)));
        self.note("events.jsonl", written);
    }

    /// `state.json`, with a new memory of the supervisor.
    pub(crate) fn remember(&mut self, memory: serde_json::Value, processes: Vec<Option<ProcessIdentity>>) {
        self.memory = memory;
        self.remember_processes(processes);
    }

    /// `state.json`, when only the processes changed.
    pub(crate) fn remember_processes(&mut self, processes: Vec<Option<ProcessIdentity>>) {
        let boot_id = self.boot_id.clone();
        // Lent to the record while it is written: it may be large.
        let supervisor = std::mem::take(&mut self.memory);
        let record = TakeOver { version: VERSION, boot_id, supervisor, processes };
        let written = replace(&self.dir.state(), &record);
        self.memory = record.supervisor;
        self.note("state.json", written);
    }

    fn refresh(&mut self) {
        self.stamp.refresh(Timestamp::now(), clock::now());
    }

    fn note(&mut self, name: &'static str, written: io::Result<()>) {
        match written {
            Ok(()) => {
                self.broken.remove(name);
            }
            Err(error) if self.broken.insert(name) => {
                log::error!("write {}: {error}; supervision goes on", self.dir.0.join(name).display());
            }
            Err(_told) => {}
        }
    }
}

/// Replaces a file at once: a reader sees the old one or the new one, whole.
pub(crate) fn replace(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(record)?;
    bytes.push(b'\n');
    let draft = path.with_extension("new");
    let written = File::create(&draft).and_then(|mut file| file.write_all(&bytes)).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Half a draft helps nobody, and may hold the last bytes of the disk.
        drop(fs::remove_file(&draft));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Scratch;

    #[test]
    fn a_reader_never_sees_half_a_record() {
        let scratch = Scratch::new();
        let path = scratch.path().join("status.json");
        replace(&path, &vec!["x".repeat(1 << 16); 4]).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let whole: Vec<String> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                    assert_eq!(whole.len(), 4);
                }
            })
        };
        while !reader.is_finished() {
            replace(&path, &vec!["y".repeat(1 << 16); 4]).unwrap();
        }
        reader.join().unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_the_old_one_and_no_draft() {
        let scratch = Scratch::new();
        let gone = scratch.path().join("gone/status.json");
        assert!(replace(&gone, &1).is_err());
        let path = scratch.path().join("state.json");
        replace(&path, &1).unwrap();
        fs::create_dir(scratch.path().join("state.new")).unwrap();
        assert!(replace(&path, &2).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn supervision_goes_on_when_nothing_can_be_written() {
        let scratch = Scratch::new();
        let mut records = Records::open(SupervisionDir(scratch.path().to_owned())).unwrap();
        fs::remove_dir_all(scratch.path()).unwrap();
        records.remember(serde_json::json!({"a": 1}), vec![None]);
        records.remember_processes(vec![None]);
        assert!(records.broken.contains("state.json"));
        assert_eq!(records.memory, serde_json::json!({"a": 1}), "the memory is kept for the next try");
    }
}
