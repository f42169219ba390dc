//! `state.json`: what is written down about a container.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::cgroup::Cgroup;
use crate::init_process::ProcessIdentity;

/// Of the format; a reader refuses another one.
pub(crate) const VERSION: u32 = 1;

/// Facts only; the status is derived from them and from the process ([`crate::container::Container::status`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StateFile {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// `ociVersion` of the bundle.
    pub(crate) oci_version: String,
    /// Name of the container.
    pub(crate) id: String,
    /// As given, without symbolic links.
    pub(crate) bundle: PathBuf,
    /// The same of its root file system.
    pub(crate) rootfs: PathBuf,
    /// When `create` began.
    pub(crate) created: Timestamp,
    /// User id of the caller of `create`.
    pub(crate) owner: u32,
    /// Of the bundle.
    pub(crate) annotations: BTreeMap<String, String>,
    /// It has a session keyring of its own.
    #[serde(default)]
    pub(crate) has_own_keyring: bool,
    /// Directories to look into and to remove.
    pub(crate) cgroup: Cgroup,
    /// Its processes end with its init process.
    pub(crate) has_own_pid_namespace: bool,
    /// None until `create` is done.
    pub(crate) init: Option<ProcessIdentity>,
}

impl StateFile {
    /// Of a container's directory; none when there is none.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let file = path(dir);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        let state: Self = serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))?;
        anyhow::ensure!(
            state.version == VERSION,
            "{}: version {} is of another hshim than this one",
            file.display(),
            state.version
        );
        Ok(Some(state))
    }

    /// Replaces it.
    pub(crate) fn store(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self).context("write the state as JSON")?;
        atomic_file::write(&path(dir), &text).with_context(|| format!("write {}", path(dir).display()))
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("state.json")
}
