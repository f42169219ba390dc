//! `hshim.json` in a bundle: what `delete` must know of a task whose shim is gone.

use std::fs;
use std::path::{Path, PathBuf};

use hshim_health::record::{ProcessIdentity, RuntimeCommand};
use serde::{Deserialize, Serialize};

use super::error::TaskError;
use crate::records;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskRecord {
    /// The runtime that created the container.
    pub(crate) runtime: RuntimeCommand,
    /// The first process.
    pub(crate) process: Option<ProcessIdentity>,
    /// Where the shim keeps files about it.
    pub(crate) files: PathBuf,
    /// Process id of the shim; 0 if an older one wrote this. Sockets of its terminals are named by it.
    #[serde(default)]
    pub(crate) shim: u32,
}

fn path(bundle: &Path) -> PathBuf {
    bundle.join("hshim.json")
}

impl TaskRecord {
    /// Writes it.
    pub(crate) fn save(&self, bundle: &Path) -> Result<(), TaskError> {
        let path = path(bundle);
        records::replace(&path, self).map_err(|error| TaskError::Failed(format!("write {}: {error}", path.display())))
    }

    /// Reads it; none if there is none: nothing was created.
    pub(crate) fn load(bundle: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(bundle)).ok()?).ok()
    }
}

/// The task is gone, and everything that was written down about it.
pub(crate) fn forget(bundle: &Path, files: &Path) {
    drop(fs::remove_file(path(bundle)));
    match fs::remove_dir_all(files) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => log::error!("remove {}: {error}", files.display()),
        Ok(()) | Err(_) => {}
    }
}
