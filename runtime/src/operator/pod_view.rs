//! A pod as its supervision directory shows it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use hshim_health::columns::{Row, elapsed, human_duration};
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::record::{EventLine, Launch, StatusFile, Supervision, VERSION};
use hshim_health::status::{ContainerStatus, PodStatus};
use jiff::Timestamp;
use serde_json::Value;

use super::pod_records;
use super::pod_reference::PodReference;
use crate::init_process::InitProcess;
use crate::shim_process;
use crate::supervised_bundle::UNSUPERVISED;

/// What is on disk about a pod, and the process that looks after it.
#[derive(Debug)]
pub(crate) struct PodView {
    /// Where.
    pub(crate) dir: SupervisionDir,
    /// What the shim was told.
    pub(crate) supervision: Supervision,
    /// What is true now; none before the shim has looked for the first time.
    pub(crate) status: Option<PodStatus<Timestamp>>,
    /// Who looks after it; none when nobody does.
    pub(crate) shim: Option<InitProcess>,
    /// When it was made.
    pub(crate) made_at: Timestamp,
}

/// Which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// Those of one.
    One(String),
    /// All.
    All,
}

/// There is none of this name.
#[derive(Debug, thiserror::Error)]
#[error("{reference} not found{place}: \"hshim get pods -A\" lists the pods")]
pub(crate) struct NoSuchPod {
    reference: String,
    place: String,
}

impl PodView {
    /// A pod by its name.
    pub(crate) fn open(root: &Path, namespace: &str, reference: &PodReference) -> anyhow::Result<Self> {
        match Self::read(reference.dir(root, namespace))? {
            Some(pod) => Ok(pod),
            None => Err(NoSuchPod::new(reference, namespace).into()),
        }
    }

    /// All pods, by namespace and name. One that cannot be read is said and left out.
    pub(crate) fn all(root: &Path, namespaces: &Namespaces) -> anyhow::Result<Vec<Self>> {
        let dir = layout::pods_dir(root);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(error).with_context(|| format!("read {}: pods are root's to see, use sudo", dir.display()));
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", dir.display())),
        };
        let mut pods: Vec<Self> = entries.flatten().filter_map(|entry| Self::read_or_say(entry.path())).collect();
        pods.retain(|pod| match namespaces {
            Namespaces::One(namespace) => pod.supervision.plan.namespace == *namespace,
            Namespaces::All => true,
        });
        pods.sort_by(|a, b| a.full_name().cmp(&b.full_name()));
        Ok(pods)
    }

    fn read_or_say(dir: std::path::PathBuf) -> Option<Self> {
        Self::read(SupervisionDir(dir)).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            None
        })
    }

    /// None when there is none: it is not made yet, or gone.
    pub(crate) fn read(dir: SupervisionDir) -> anyhow::Result<Option<Self>> {
        let Some(supervision) = pod_records::supervision(&dir)? else { return Ok(None) };
        let status = status(&dir)?;
        let shim = shim_process::find(&dir)?;
        let made = fs::metadata(dir.supervision()).and_then(|metadata| metadata.modified()).ok();
        let made_at = made.and_then(|made| Timestamp::try_from(made).ok()).unwrap_or_else(Timestamp::now);
        Ok(Some(Self { dir, supervision, status, shim, made_at }))
    }

    /// The pod as applied; nothing for a bundle.
    pub(crate) fn manifest(&self) -> anyhow::Result<Value> {
        Ok(pod_records::json(&self.dir.manifest())?.unwrap_or_default())
    }

    /// Its events, each with its last count, in the order of their last times.
    pub(crate) fn events(&self) -> anyhow::Result<Vec<EventLine>> {
        events(&self.dir)
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        &self.supervision.plan.name
    }

    /// Namespace and name: what is unique.
    pub(crate) fn full_name(&self) -> (&str, &str) {
        (&self.supervision.plan.namespace, &self.supervision.plan.name)
    }

    /// Somebody looks after it.
    pub(crate) fn is_supervised(&self) -> bool {
        self.shim.is_some()
    }

    /// The directory has just been made, or is just being removed: nothing to show to somebody who watches.
    pub(crate) fn is_passing(&self) -> bool {
        !self.dir.shim().exists() || (self.status.is_none() && self.is_supervised())
    }

    /// Its line in `get pods`.
    pub(crate) fn row(&self, now: Timestamp) -> Row {
        let row = match &self.status {
            Some(status) => Row::of(status, now),
            None => Row {
                ready: format!("0/{}", self.supervision.plan.containers.len()),
                status: "Pending".to_owned(),
                restarts: "0".to_owned(),
                age: human_duration(elapsed(self.made_at, now)),
            },
        };
        if self.is_supervised() { row } else { Row { status: UNSUPERVISED.to_owned(), ..row } }
    }

    /// The container that is meant when none is named: the first one, which is said when there are others.
    pub(crate) fn default_container(&self, named: Option<&str>) -> anyhow::Result<(String, bool)> {
        let names: Vec<&str> = self.supervision.plan.containers.iter().map(|container| container.name.as_str()).collect();
        match (named, names.as_slice()) {
            (Some(named), names) if names.contains(&named) => Ok((named.to_owned(), false)),
            (Some(named), names) => {
                anyhow::bail!("container {named} is not valid for pod {}: valid are {}", self.name(), names.join(", "))
            }
            (None, [first, others @ ..]) => Ok(((*first).to_owned(), !others.is_empty())),
            (None, []) => anyhow::bail!("pod {} has no containers", self.name()),
        }
    }

    /// How a container is launched.
    pub(crate) fn launch(&self, container: &str) -> Option<&Launch> {
        let position = self.supervision.plan.containers.iter().position(|plan| plan.name == container)?;
        self.supervision.launches.get(position)
    }

    /// What is true of a container.
    pub(crate) fn container(&self, name: &str) -> Option<&ContainerStatus<Timestamp>> {
        self.status.as_ref()?.containers.iter().find(|container| container.name == name)
    }

    /// `a, b, c`, for the remark that one of them was taken.
    pub(crate) fn container_names(&self) -> String {
        let names: Vec<&str> = self.supervision.plan.containers.iter().map(|container| container.name.as_str()).collect();
        names.join(", ")
    }
}

impl NoSuchPod {
    /// Of this name.
    pub(crate) fn new(reference: &PodReference, namespace: &str) -> Self {
        let place = match reference {
            PodReference::Pod(_) => format!(" in namespace {namespace}"),
            PodReference::Bundle(_) => String::new(),
        };
        Self { reference: reference.to_string(), place }
    }
}

/// Of the lines with one id the last one counts. A line that is being written is left out.
pub(crate) fn events(dir: &SupervisionDir) -> anyhow::Result<Vec<EventLine>> {
    let file = dir.events();
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    Ok(last_of_series(&text))
}

fn last_of_series(text: &str) -> Vec<EventLine> {
    let mut events: Vec<EventLine> = Vec::new();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    for event in whole.filter_map(|line| serde_json::from_str::<EventLine>(line).ok()) {
        match events.iter_mut().find(|known| known.id == event.id) {
            Some(known) => *known = event,
            None => events.push(event),
        }
    }
    events.sort_by_key(|event| (event.last, event.id));
    events
}

/// `status.json`; none before the shim has looked for the first time.
pub(crate) fn status(dir: &SupervisionDir) -> anyhow::Result<Option<PodStatus<Timestamp>>> {
    let Some(file) = pod_records::json::<StatusFile>(&dir.status())? else { return Ok(None) };
    anyhow::ensure!(
        file.version == VERSION,
        "{}: version {} is of another hshim than this one",
        dir.status().display(),
        file.version
    );
    Ok(Some(file.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_series_the_last_line_counts_and_half_a_line_is_left_out() {
        let line = |id: u32, count: u32, last: &str| {
            format!(
                r#"{{"id":{id},"type":"Warning","reason":"Unhealthy","message":"m","container":null,"count":{count},"first":"2026-11-28T10:00:00Z","last":"2026-11-28T10:00:{last}Z"}}"#
            )
        };
        let text = format!("{}\n{}\n{}\n{}", line(1, 1, "01"), line(2, 1, "02"), line(1, 2, "03"), &line(1, 3, "04")[..40]);
        let events: Vec<(u64, u32)> = last_of_series(&text).iter().map(|event| (event.id, event.count)).collect();
        assert_eq!(events, [(2, 1), (1, 2)]);
    }
}
