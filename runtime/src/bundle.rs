//! A bundle as it was handed in: a directory with config.json and a root file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::Spec;

/// An opened bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute, without symbolic links.
    pub(crate) dir: PathBuf,
    /// config.json as it stands on disk.
    pub(crate) config: Vec<u8>,
    /// config.json as understood.
    pub(crate) spec: Spec,
    /// Root file system, absolute, without symbolic links.
    pub(crate) rootfs: PathBuf,
}

impl Bundle {
    /// Reads a bundle.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let dir = fs::canonicalize(dir)
            .with_context(|| format!("open the bundle {}: --bundle names a directory with config.json", dir.display()))?;
        let file = dir.join("config.json");
        let config = fs::read(&file)
            .with_context(|| format!("read {}: a bundle needs it; \"hshim spec\" writes an example", file.display()))?;
        let spec = parse(&config, &file)?;
        let root = spec.root().as_ref().with_context(|| format!("{}: root is missing", file.display()))?;
        let rootfs = dir.join(root.path());
        let rootfs = fs::canonicalize(&rootfs)
            .with_context(|| format!("{}: root.path: open the root file system {}", file.display(), rootfs.display()))?;
        Ok(Self { dir, config, spec, rootfs })
    }
}

/// Understands the text of a config.json.
pub(crate) fn parse(config: &[u8], file: &Path) -> anyhow::Result<Spec> {
    let spec: Spec = serde_json::from_slice(config).with_context(|| format!("understand {}", file.display()))?;
    anyhow::ensure!(
        spec.version().starts_with("1."),
        "{}: ociVersion {:?}: hshim understands 1.x of the runtime specification",
        file.display(),
        spec.version()
    );
    Ok(spec)
}
