//! What is written down about pods below the root, as others have to read it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::record::{Supervision, VERSION};
use serde::de::DeserializeOwned;

/// The supervision of every pod; one that is just being made or removed is left out.
pub(crate) fn all_pods(root: &Path) -> anyhow::Result<Vec<Supervision>> {
    let dir = layout::pods_dir(root);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", dir.display())),
    };
    let mut pods = Vec::new();
    for entry in entries.flatten() {
        pods.extend(supervision(&SupervisionDir(entry.path()))?);
    }
    pods.sort_by(|a, b| (&a.plan.namespace, &a.plan.name).cmp(&(&b.plan.namespace, &b.plan.name)));
    Ok(pods)
}

/// `supervision.json`; none when it is not there (yet, or any more).
pub(crate) fn supervision(dir: &SupervisionDir) -> anyhow::Result<Option<Supervision>> {
    let path = dir.supervision();
    let found: Option<Supervision> = json(&path)?;
    if let Some(supervision) = &found {
        anyhow::ensure!(
            supervision.version == VERSION,
            "{}: version {} is of another hshim than this one",
            path.display(),
            supervision.version
        );
    }
    Ok(found)
}

/// A JSON file that may be missing.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text).map(Some).with_context(|| format!("understand {}", path.display()))
}
