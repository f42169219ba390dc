//! `state`: what a container is, as runc prints it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Globals;
use crate::container::Container;
use crate::status::Status;

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

/// Performs `state`.
pub(crate) fn state(id: &str, globals: &Globals) -> anyhow::Result<()> {
    let container = Container::open(&globals.root, &id.parse()?)?;
    let shown = serde_json::to_string_pretty(&Shown::of(&container)?).context("write the state as JSON")?;
    super::print(&format!("{shown}\n"))
}
