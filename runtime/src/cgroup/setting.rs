//! One value in one file of a cgroup, and a list of them written so that a failure leaves nothing half done.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Cgroup;

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Where it stands in the specification, for messages.
    pub(crate) field: String,
    /// Whose file it is.
    pub(crate) controller: String,
    /// Files with the value for each; the first that exists is taken.
    pub(crate) candidates: Vec<(String, String)>,
    /// Whether a kernel without the file is an error.
    pub(crate) absence: Absence,
    /// How it is taken back.
    pub(crate) undo: Undo,
}

/// What a missing file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The wish cannot be granted.
    Refused,
    /// The wish is granted as it is: what shall not be used does not exist.
    Granted,
}

/// How a written value is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// By what the file said before.
    Previous,
    /// By a value: what the file says is not what it takes.
    Value(&'static str),
    /// The file is a table: by the row of this key before, or by `key neutral` when it had none.
    Row {
        /// First word of the row.
        key: String,
        /// What means no setting.
        neutral: &'static str,
    },
}

impl Setting {
    /// A setting of one file that must exist.
    pub(crate) fn new(field: &str, controller: &str, file: &str, value: impl ToString) -> Self {
        Self {
            field: format!("linux.resources.{field}"),
            controller: controller.to_owned(),
            candidates: vec![(file.to_owned(), value.to_string())],
            absence: Absence::Refused,
            undo: Undo::Previous,
        }
    }

    /// The same, with another file that is tried first.
    pub(crate) fn or_rather(mut self, file: &str, value: impl ToString) -> Self {
        self.candidates.insert(0, (file.to_owned(), value.to_string()));
        self
    }

    /// The same as a row of a table.
    pub(crate) fn row(mut self, key: String, neutral: &'static str) -> Self {
        for (_file, value) in &mut self.candidates {
            *value = format!("{key} {value}");
        }
        self.undo = Undo::Row { key, neutral };
        self
    }

    /// The same, taken back in another way.
    pub(crate) fn undone_by(mut self, undo: Undo) -> Self {
        self.undo = undo;
        self
    }

    /// The same, of no consequence where the file is missing.
    pub(crate) fn unneeded_where_missing(mut self) -> Self {
        self.absence = Absence::Granted;
        self
    }

    fn find(&self, cgroup: &Cgroup) -> Option<(PathBuf, &str)> {
        let dir = cgroup.dir_of(&self.controller)?;
        let candidates = self.candidates.iter().map(|(file, value)| (dir.join(file), value.as_str()));
        candidates.into_iter().find(|(file, _value)| file.exists())
    }

    fn missing(&self, cgroup: &Cgroup) -> String {
        let name = self.candidates.last().map_or("", |(file, _value)| file.as_str());
        match cgroup.dir_of(&self.controller) {
            Some(dir) => format!(
                "{}: this kernel has no {name} in {}: the {} controller is not there or cannot be enabled below its parent",
                self.field,
                dir.display(),
                self.controller
            ),
            None => format!("{}: no {} controller is mounted on this machine", self.field, self.controller),
        }
    }
}

/// Something that was written, and what stood there before.
struct Written {
    file: PathBuf,
    before: String,
}

/// Writes all settings. After a failure what was written before is taken back, or named where that fails.
pub(crate) fn write_all(cgroup: &Cgroup, settings: &[Setting]) -> anyhow::Result<()> {
    let mut written = Vec::new();
    let done = try_all(cgroup, settings, &mut written);
    done.map_err(|message| match take_back(written) {
        stuck if stuck.is_empty() => anyhow::anyhow!(message),
        stuck => anyhow::anyhow!("{message}; changed before and not put back: {}", stuck.join(", ")),
    })
}

/// Some files accept a value only after another has changed (a memory limit above the limit with swap, a quota above that
/// of the parent for the period): what is not valid at first is tried once more after everything else.
fn try_all(cgroup: &Cgroup, settings: &[Setting], written: &mut Vec<Written>) -> Result<(), String> {
    let mut deferred = Vec::new();
    for setting in settings {
        match write_one(cgroup, setting, written) {
            Err(Refusal::Kernel { error, .. }) if error.raw_os_error() == Some(libc::EINVAL) => deferred.push(setting),
            done => done.map_err(|refusal| refusal.text(setting))?,
        }
    }
    deferred.into_iter().try_for_each(|setting| write_one(cgroup, setting, written).map_err(|refusal| refusal.text(setting)))
}

enum Refusal {
    Missing(String),
    Kernel { file: PathBuf, value: String, error: io::Error },
}

impl Refusal {
    fn text(self, setting: &Setting) -> String {
        match self {
            Self::Missing(text) => text,
            Self::Kernel { file, value, error } => {
                let is_in_use = error.raw_os_error() == Some(libc::EBUSY) && setting.controller == "memory";
                let reason = if is_in_use { "more than that is in use: " } else { "" };
                format!("{}: {reason}write {value:?} to {}: {error}", setting.field, file.display())
            }
        }
    }
}

fn write_one(cgroup: &Cgroup, setting: &Setting, written: &mut Vec<Written>) -> Result<(), Refusal> {
    let Some((file, value)) = setting.find(cgroup) else {
        return match setting.absence {
            Absence::Granted => Ok(()),
            Absence::Refused => Err(Refusal::Missing(setting.missing(cgroup))),
        };
    };
    let before = fs::read_to_string(&file).unwrap_or_default();
    if before.trim_end() == value {
        return Ok(());
    }
    write_file(&file, value).map_err(|error| Refusal::Kernel { file: file.clone(), value: value.to_owned(), error })?;
    written.push(Written { before: earlier(&setting.undo, &before), file });
    Ok(())
}

fn earlier(undo: &Undo, before: &str) -> String {
    match undo {
        Undo::Previous => before.trim_end().to_owned(),
        Undo::Value(value) => (*value).to_owned(),
        Undo::Row { key, neutral } => {
            let row = before.lines().find(|line| line.split(' ').next() == Some(key));
            row.map_or_else(|| format!("{key} {neutral}"), str::to_owned)
        }
    }
}

/// In the opposite order; the files that could not be put back.
fn take_back(written: Vec<Written>) -> Vec<String> {
    let undone = written.into_iter().rev().map(|write| (write_file(&write.file, &write.before), write.file));
    undone.filter_map(|(done, file)| done.err().map(|error| format!("{}: {error}", file.display()))).collect()
}

/// A cgroup's file is written in one go and never made.
pub(super) fn write_file(file: &Path, value: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    match file.write(value.as_bytes())? {
        length if length == value.len() => Ok(()),
        _short => Err(io::Error::from(ErrorKind::WriteZero)),
    }
}
