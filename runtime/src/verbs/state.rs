//! `state`: what a container is, as runc prints it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::Bundle;
use crate::cli::Globals;
use crate::container::{Container, NoSuchContainer};
use crate::container_id::ContainerId;
use crate::status::Status;
use crate::supervised_bundle::{Standing, SupervisedBundle};

/// Says, of a supervised container, how it stands in the words of `get pods`.
const PHASE: &str = "hshim.dev/phase";

/// runc's document, for `state` and `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    /// `ociVersion` of the bundle.
    pub(crate) oci_version: String,
    /// Name.
    pub(crate) id: String,
    /// 0 when it has stopped.
    pub(crate) pid: i32,
    /// In OCI's words.
    pub(crate) status: String,
    /// Absolute.
    pub(crate) bundle: PathBuf,
    /// Absolute.
    pub(crate) rootfs: PathBuf,
    /// When `create` began.
    pub(crate) created: Timestamp,
    /// Of the bundle.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Name of its creator, in lists only.
    pub(crate) owner: String,
}

impl Shown {
    /// Of a container as it is now.
    pub(crate) fn of(container: &Container) -> anyhow::Result<Self> {
        let status = container.status()?;
        let state = &container.state;
        let pid = if status == Status::Stopped { None } else { state.init.as_ref().map(|init| init.pid) };
        Ok(Self {
            oci_version: state.oci_version.clone(),
            id: state.id.clone(),
            pid: pid.unwrap_or_default(),
            status: status.to_string(),
            bundle: state.bundle.clone(),
            rootfs: state.rootfs.clone(),
            created: state.created,
            annotations: state.annotations.clone(),
            owner: String::new(),
        })
    }
}

impl Shown {
    /// Of a container by its name, supervised or not.
    pub(crate) fn open(root: &Path, id: &ContainerId) -> anyhow::Result<Self> {
        let standing = SupervisedBundle::find(root, id).map(|bundle| bundle.standing()).transpose()?;
        match (Container::open(root, id), standing) {
            (Ok(container), None) => Self::of(&container),
            (Ok(container), Some(standing)) => Ok(Self::of(&container)?.under(&standing)),
            (Err(error), Some(standing)) if error.is::<NoSuchContainer>() => match &standing.bundle {
                Some(bundle) => Ok(Self::between_lives(id, bundle, &standing)?.under(&standing)),
                None => Err(error),
            },
            (Err(error), _) => Err(error),
        }
    }

    /// Names of all containers, supervised or not.
    pub(crate) fn ids(root: &Path) -> anyhow::Result<Vec<ContainerId>> {
        let containers = Container::all(root)?.into_iter().filter_map(|container| container.state.id.parse().ok());
        let mut ids: Vec<ContainerId> = containers.chain(SupervisedBundle::ids(root)).collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn under(mut self, standing: &Standing) -> Self {
        self.annotations.insert(PHASE.to_owned(), standing.phase.clone());
        self.created = standing.since.unwrap_or(self.created);
        if standing.stopped {
            self.status = Status::Stopped.to_string();
            self.pid = 0;
        }
        self
    }

    /// While the one life has been cleared away and the next one is not made yet.
    fn between_lives(id: &ContainerId, bundle: &Path, standing: &Standing) -> anyhow::Result<Self> {
        let bundle = Bundle::open(bundle)?;
        Ok(Self {
            oci_version: bundle.spec.version().clone(),
            id: id.to_string(),
            pid: 0,
            status: Status::Stopped.to_string(),
            rootfs: bundle.rootfs,
            created: standing.since.unwrap_or_default(),
            annotations: bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect(),
            bundle: bundle.dir,
            owner: String::new(),
        })
    }
}

/// Performs `state`.
pub(crate) fn state(id: &str, globals: &Globals) -> anyhow::Result<()> {
    let shown = serde_json::to_string_pretty(&Shown::open(&globals.root, &id.parse()?)?).context("write the state as JSON")?;
    super::print(&format!("{shown}\n"))
}
