//! The log files of one container: `RUN.log` for each life, rotated by size.
//!
//! `RUN.log` is the newest part, `RUN.log.1` the one before it, up to `RUN.log.4`. The present life and the one before are
//! kept (the kubelet's `MaxPerPodContainer` 1); older ones are removed when a life begins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hshim_health::input::RunNumber;

/// Size at which a file is rotated (the kubelet's `containerLogMaxSize`).
const LARGEST: u64 = 10 << 20;
/// Files of one life, the present one included (the kubelet's `containerLogMaxFiles`).
const MOST: u32 = 5;

/// The log of the present life.
#[derive(Debug)]
pub(super) struct LogFile {
    directory: PathBuf,
    open: Option<Open>,
    /// A broken log is told once, not with each line.
    complained: bool,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    /// Nothing is open until a life begins.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: None, complained: false }
    }

    /// Opens the log of `run`.
    pub(super) fn begin(&mut self, run: RunNumber) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("{}.log", run.0));
        self.open = Some(Open::append(path)?);
        if let Some(old) = run.0.checked_sub(2) {
            self.forget(old);
        }
        Ok(())
    }

    /// Appends whole lines. Never fails: a full disk must not stop the container or its supervision.
    pub(super) fn write(&mut self, lines: &[u8]) {
        let Some(open) = self.open.as_mut().filter(|_| !lines.is_empty()) else { return };
        match open.write(lines) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                log::error!("write {}: {error}; output is lost until this is cured", open.path.display());
                self.complained = true;
            }
            Err(_told) => {}
        }
    }

    fn forget(&self, run: u32) {
        for path in (0..MOST).map(|part| part_of(&self.directory.join(format!("{run}.log")), part)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => log::warn!("remove {}: {error}", path.display()),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl Open {
    fn append(path: PathBuf) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > LARGEST {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size = self.size.saturating_add(length);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for part in (0..MOST - 1).rev() {
            let from = part_of(&self.path, part);
            if from.exists() {
                fs::rename(&from, part_of(&self.path, part + 1))?;
            }
        }
        *self = Self::append(self.path.clone())?;
        Ok(())
    }
}

fn part_of(path: &Path, part: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if part > 0 {
        name.push(format!(".{part}"));
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Scratch;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn five_files_of_ten_mebibytes_are_kept() {
        let scratch = Scratch::new();
        let mut log = LogFile::new(scratch.path());
        log.begin(RunNumber(3)).unwrap();
        let chunk = vec![b'x'; 6 << 20];
        for _ in 0..7 {
            log.write(&chunk);
        }
        assert_eq!(names(scratch.path()), ["3.log", "3.log.1", "3.log.2", "3.log.3", "3.log.4"]);
        assert!(fs::metadata(scratch.path().join("3.log")).unwrap().len() <= LARGEST);
    }

    #[test]
    fn the_present_life_and_the_one_before_keep_their_logs() {
        let scratch = Scratch::new();
        let mut log = LogFile::new(scratch.path());
        for run in 0..4 {
            log.begin(RunNumber(run)).unwrap();
            log.write(b"line\n");
        }
        assert_eq!(names(scratch.path()), ["2.log", "3.log"]);
    }

    #[test]
    fn a_log_that_cannot_be_written_does_not_stop_anything() {
        let mut log = LogFile::new(Path::new("/"));
        log.open = Some(Open { path: "/dev/full".into(), file: File::options().write(true).open("/dev/full").unwrap(), size: 0 });
        log.write(b"lost\n");
        log.write(b"lost\n");
        assert!(log.complained);
    }
}
