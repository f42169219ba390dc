//! Cgroups as systemd's: a transient scope for each container (`--systemd-cgroup`).
//!
//! `linux.cgroupsPath` is then `SLICE:PREFIX:NAME`, and the scope is `PREFIX-NAME.scope` in that slice. systemd makes its
//! cgroup when it is given a process to put there, which is a placeholder of ours until init has joined; it knows the limits as
//! properties of the unit, and hshim writes the same values, and those that systemd has no property for, to the files.
//!
//! ```text
//! StartTransientUnit(placeholder) → JobRemoved → init joins → placeholder ends → … → StopUnit, ResetFailedUnit
//! ```

mod annotation;
mod properties;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::dbus::{Body, Connection, Message, Refused, Value};
use super::device_rules::Rule;
use super::resources::Version;
use super::setting::Setting;

pub(crate) use annotation::properties as annotated_properties;

/// A unit of an earlier life may take a moment to go.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);

/// The unit of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unit {
    /// `PREFIX-NAME.scope`.
    pub(crate) name: String,
    /// In which it is.
    pub(crate) slice: String,
}

/// What a unit is to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes<'a> {
    /// For people.
    pub(crate) description: String,
    /// Limits.
    pub(crate) settings: &'a [Setting],
    /// About devices, if they are to change.
    pub(crate) devices: Option<&'a [Rule]>,
    /// Of `org.systemd.property.*` annotations.
    pub(crate) annotated: &'a [(String, Value)],
}

/// A process that is in a scope until it is dropped.
#[derive(Debug)]
pub(crate) struct Placeholder(Child);

impl Unit {
    /// Of a cgroupsPath, for a container of this name; an error tells what the form is.
    pub(crate) fn parse(written: Option<&Path>, id: &str) -> anyhow::Result<Self> {
        let written = written.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = if written.is_empty() { vec!["", "hshim", id] } else { written.split(':').collect() };
        let [slice, prefix, name] = parts.as_slice() else {
            anyhow::bail!("linux.cgroupsPath: {written} is not slice:prefix:name, the form for --systemd-cgroup");
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        anyhow::ensure!(
            is_slice(slice),
            "linux.cgroupsPath: {slice} is not the name of a slice (a-b.slice, without slashes, empty parts and double dashes)"
        );
        anyhow::ensure!(
            !name.is_empty() && !format!("{prefix}{name}").contains('/'),
            "linux.cgroupsPath: {written}: prefix and name make the name of a unit, which needs a name and has no slash"
        );
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Self { name, slice: slice.to_owned() })
    }

    /// From the root of each hierarchy.
    pub(crate) fn cgroup_path(&self) -> PathBuf {
        Path::new("/").join(slice_path(&self.slice)).join(&self.name)
    }

    /// Whether there is a systemd to ask.
    pub(crate) fn require_systemd() -> anyhow::Result<()> {
        // sd_booted(3): made by systemd alone, early, and never removed.
        anyhow::ensure!(
            Path::new("/run/systemd/system").is_dir(),
            "--systemd-cgroup: systemd is not process 1 of this machine: leave the flag out, and give linux.cgroupsPath as a path"
        );
        Ok(())
    }

    /// Starts it; the cgroup is there and holds the placeholder.
    pub(super) fn start(&self, version: Version, wishes: &Wishes<'_>) -> anyhow::Result<Placeholder> {
        let placeholder = Placeholder::spawn()?;
        let mut properties = self.fixed_properties(wishes, placeholder.0.id());
        properties.extend(properties::of(version, wishes)?);
        properties.extend(wishes.annotated.iter().cloned());
        let mut systemd = Connection::open()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_start(&mut systemd, &properties) {
                Err(error) if is(&error, "UnitExists") && Instant::now() < deadline => {
                    // Of an earlier life: failed, or not gone yet.
                    self.give_up(&mut systemd)?;
                    std::thread::sleep(RETRY);
                }
                done => return done.map(|()| placeholder).with_context(|| format!("start the unit {}", self.name)),
            }
        }
    }

    fn fixed_properties(&self, wishes: &Wishes<'_>, pid: u32) -> Vec<(String, Value)> {
        let mut properties = vec![
            ("Description".to_owned(), Value::Text(wishes.description.clone())),
            ("Slice".to_owned(), Value::Text(self.slice.clone())),
            ("PIDs".to_owned(), Value::U32s(vec![pid])),
        ];
        for accounting in ["Delegate", "MemoryAccounting", "CPUAccounting", "TasksAccounting", "IOAccounting"] {
            properties.push((accounting.to_owned(), Value::Bool(true)));
        }
        properties.push(("DefaultDependencies".to_owned(), Value::Bool(false)));
        properties
    }

    fn try_start(&self, systemd: &mut Connection, properties: &[(String, Value)]) -> anyhow::Result<()> {
        // No auxiliary units.
        let body = Body::default().text(&self.name).text("replace").properties(properties).empty_array(8);
        let answer = systemd.call_manager("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        wait_for_job(systemd, &answer)
    }

    /// Tells systemd of new limits, so that it does not put the old ones back at its next look.
    pub(super) fn set(&self, version: Version, wishes: &Wishes<'_>) -> anyhow::Result<()> {
        let properties = properties::of(version, wishes)?;
        if properties.is_empty() {
            return Ok(());
        }
        let mut systemd = Connection::open()?;
        let body = Body::default().text(&self.name).flag(true).properties(&properties);
        systemd.call_manager("SetUnitProperties", "sba(sv)", body).with_context(|| format!("update the unit {}", self.name))?;
        // systemd writes the files when it has answered. Once it answers again, it has written.
        systemd.call_manager("GetUnit", "s", Body::default().text(&self.name)).map(drop)
    }

    /// Stops it. One that is not there any more is no error; a failed one is forgotten.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let mut systemd = Connection::open()?;
        self.give_up(&mut systemd).with_context(|| format!("stop the unit {}", self.name))
    }

    fn give_up(&self, systemd: &mut Connection) -> anyhow::Result<()> {
        let body = Body::default().text(&self.name).text("replace");
        match systemd.call_manager("StopUnit", "ss", body) {
            Ok(answer) => wait_for_job(systemd, &answer)?,
            Err(error) if is(&error, "NoSuchUnit") => {}
            Err(error) => return Err(error),
        }
        match systemd.call_manager("ResetFailedUnit", "s", Body::default().text(&self.name)) {
            Err(error) if !is(&error, "NoSuchUnit") => Err(error),
            _reset_or_gone => Ok(()),
        }
    }
}

fn is(error: &anyhow::Error, name: &str) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.name.strip_prefix("org.freedesktop.systemd1.") == Some(name))
}

/// A job that was not done is an error with systemd's word for it.
fn wait_for_job(systemd: &mut Connection, answer: &Message) -> anyhow::Result<()> {
    let job = answer.texts().into_iter().next().context("an answer without a job")?;
    // JobRemoved: id, job, unit, result.
    let result = systemd.wait_for("JobRemoved", |signal| match signal.texts().as_slice() {
        [path, _unit, result] if *path == job => Some(result.clone()),
        _of_another_job => None,
    })?;
    anyhow::ensure!(result == "done", "systemd's job: {result}");
    Ok(())
}

fn is_slice(name: &str) -> bool {
    let stem = name.strip_suffix(".slice").unwrap_or_default();
    stem == "-" || (!stem.is_empty() && !name.contains('/') && stem.split('-').all(|part| !part.is_empty()))
}

/// `a-b.slice` is in `a.slice`.
fn slice_path(slice: &str) -> PathBuf {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    if stem == "-" {
        return PathBuf::new();
    }
    let dashes = stem.match_indices('-').map(|(at, _dash)| at).chain([stem.len()]);
    dashes.filter_map(|end| stem.get(..end)).map(|prefix| format!("{prefix}.slice")).collect()
}

impl Placeholder {
    /// This program again, which then waits for the end of its input ([`hold`]).
    fn spawn() -> anyhow::Result<Self> {
        let program = crate::sealed_executable::path();
        let mut command = Command::new(program);
        command.arg("cgroup-placeholder").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).context("start a placeholder for the unit")
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // The end of its input would let it end, too, but init holds a copy of that until it is started. It is what ends the
        // placeholder of a `create` that was killed.
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            log::warn!("end the unit's placeholder: {error}");
        }
    }
}

/// The placeholder's life.
pub(crate) fn hold() -> anyhow::Result<()> {
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).map(drop).context("wait for the end of input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroups_path_names_a_slice_and_a_scope() {
        for (written, name, path) in [
            ("machine.slice:libpod:abc", "libpod-abc.scope", "/machine.slice/libpod-abc.scope"),
            ("::abc", "abc.scope", "/system.slice/abc.scope"),
            ("", "hshim-c1.scope", "/system.slice/hshim-c1.scope"),
            ("a-b-c.slice:cri:x", "cri-x.scope", "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope"),
            ("-.slice:p:x", "p-x.scope", "/p-x.scope"),
        ] {
            let unit = Unit::parse(Some(Path::new(written)), "c1").unwrap();
            assert_eq!((unit.name.as_str(), unit.cgroup_path().as_path()), (name, Path::new(path)), "{written}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for written in ["/a/b", "a:b", "a:b:c:d", "x:b:c", "../x.slice:b:c", "a--b.slice:b:c", "a.slice:b:", "a.slice:b:/../c"] {
            assert!(Unit::parse(Some(Path::new(written)), "c1").is_err(), "{written}");
        }
    }
}
