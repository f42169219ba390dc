//! Presets of the node: at Create `hshim preset merge` writes what they add into the bundle's `config.json`, where the runtime and every
//! further life of the container find it. It reads YAML, this program does not. Without presets nothing is started.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hshim_health::layout;
use hshim_health::record::RuntimeCommand;

use super::creation::is_sandbox;
use super::error::TaskError;
use super::messages::CreateTaskRequest;
use super::options;
use super::shared::Shared;
use crate::bundle_spec::BundleSpec;
use crate::runtime_command::Runtime;

/// Merges them, if there are any; what they say wrongly refuses the container.
pub(super) async fn merge(request: &CreateTaskRequest, shared: &Arc<Shared>) -> Result<(), TaskError> {
    let bundle = Path::new(&request.bundle);
    if !bundle.is_absolute() || !is_any_in(&directory())? {
        return Ok(());
    }
    let spec = BundleSpec::load(bundle).map_err(|error| TaskError::InvalidArgument(error.to_string()))?;
    if is_sandbox(&spec.annotations) {
        return Ok(());
    }
    // Whatever runs the container: presets are hshim's.
    let command = RuntimeCommand {
        path: options::find("")?,
        is_hshim: true,
        systemd_cgroup: false,
        root: Path::new(options::ROOT).join(&shared.namespace),
        create_flags: Vec::new(),
    };
    let hshim = Runtime::new(command, Arc::clone(&shared.children));
    let merged = hshim.merge_presets(bundle, &request.id, bundle).await;
    merged.map_err(|error| TaskError::InvalidArgument(format!("presets: {error}")))
}

fn directory() -> PathBuf {
    let other = std::env::var_os(layout::PRESETS_VARIABLE).filter(|dir| !dir.is_empty());
    other.map_or_else(|| layout::PRESETS.into(), PathBuf::from)
}

/// Whether there is anything; hshim knows which of it are presets.
fn is_any_in(dir: &Path) -> Result<bool, TaskError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(TaskError::Failed(format!("read the presets of {}: {error}", dir.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Scratch;

    #[test]
    fn a_directory_counts_when_something_is_in_it_and_one_that_cannot_be_read_is_an_error() {
        let scratch = Scratch::new();
        assert_eq!(is_any_in(&scratch.path().join("none")), Ok(false));
        assert_eq!(is_any_in(scratch.path()), Ok(false));
        let file = scratch.path().join("a.yaml");
        fs::write(&file, "").unwrap();
        assert_eq!(is_any_in(scratch.path()), Ok(true));
        assert!(is_any_in(&file).unwrap_err().to_string().starts_with("read the presets of "));
    }
}
