//! A bundle as it was handed in: a directory with config.json and a root file system.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcontainer::oci_spec::runtime::{Capability, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::operator::manifest_file::Elsewhere;

/// An opened bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute, without symbolic links.
    pub(crate) dir: PathBuf,
    /// Text of config.json.
    pub(crate) config: Vec<u8>,
    /// config.json as understood.
    pub(crate) spec: Spec,
    /// Root file system, absolute, without symbolic links.
    pub(crate) rootfs: PathBuf,
    /// When presets have to do with it, and `config` is no longer what stands on disk: which preset gave what.
    pub(crate) presets: Option<Vec<Elsewhere>>,
}

impl Bundle {
    /// Reads a bundle.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let dir = fs::canonicalize(dir)
            .with_context(|| format!("open the bundle {}: --bundle names a directory with config.json", dir.display()))?;
        let file = dir.join("config.json");
        let config = fs::read(&file)
            .with_context(|| format!("read {}: a bundle needs it; \"hshim spec\" writes an example", file.display()))?;
        let (spec, unknown) = parse_noting(&config, &file)?;
        if !unknown.is_empty() {
            log::warn!("{}: ignoring unknown or unavailable capabilities: {}", file.display(), unknown.join(" "));
        }
        let root = spec.root().as_ref().with_context(|| format!("{}: root is missing", file.display()))?;
        let rootfs = dir.join(root.path());
        let rootfs = fs::canonicalize(&rootfs)
            .with_context(|| format!("{}: root.path: open the root file system {}", file.display(), rootfs.display()))?;
        Ok(Self { dir, config, spec, rootfs, presets: None })
    }

    /// The same bundle with another text of config.json, which says the same about the root file system.
    pub(crate) fn with_config(self, config: Vec<u8>) -> anyhow::Result<Self> {
        let spec = parse(&config, &self.dir.join("config.json"))?;
        Ok(Self { config, spec, ..self })
    }
}

/// Understands the text of a config.json.
pub(crate) fn parse(config: &[u8], file: &Path) -> anyhow::Result<Spec> {
    parse_noting(config, file).map(|(spec, _unknown)| spec)
}

/// The same with the names of the capabilities that were passed over.
fn parse_noting(config: &[u8], file: &Path) -> anyhow::Result<(Spec, Vec<String>)> {
    let (spec, unknown) = tolerant(config).with_context(|| format!("understand {}", file.display()))?;
    let spec: Spec = spec;
    anyhow::ensure!(
        spec.version().starts_with("1."),
        "{}: ociVersion {:?}: hshim understands 1.x of the runtime specification",
        file.display(),
        spec.version()
    );
    Ok((spec, unknown))
}

/// Reads a specification, or a process, without the capabilities that nobody knows here, and their names. A specification may be younger
/// than its runtime: runc passes over such names with a warning, too.
pub(crate) fn tolerant<T: DeserializeOwned>(config: &[u8]) -> anyhow::Result<(T, Vec<String>)> {
    if let Ok(understood) = serde_json::from_slice(config) {
        return Ok((understood, Vec::new()));
    }
    // Slower, and only when something is wrong: the second reading knows the path.
    match without_unknown_capabilities(config) {
        Some((config, unknown)) => Ok((serde_path_to_error::deserialize(config)?, unknown)),
        None => Ok((serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(config))?, Vec::new())),
    }
}

/// None when that is not what is wrong.
fn without_unknown_capabilities(config: &[u8]) -> Option<(Value, Vec<String>)> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let is_whole = config.get("process").is_some();
    let process = if is_whole { config.get_mut("process")? } else { &mut config };
    let mut unknown = BTreeSet::new();
    for names in process.get_mut("capabilities")?.as_object_mut()?.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| {
            let Some(text) = name.as_str() else { return true };
            let is_known = Capability::deserialize(name as &Value).is_ok();
            if !is_known {
                unknown.insert(text.to_owned());
            }
            is_known
        });
    }
    (!unknown.is_empty()).then(|| (config, unknown.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_capability_is_left_out_and_a_wrong_type_is_not() {
        let config = |caps: &str| {
            let text = r#"{"ociVersion": "1.0.2", "process": {"user": {"uid": 0, "gid": 0}, "args": ["a"], "cwd": "/", "capabilities": {"bounding": CAPS}}}"#;
            parse(text.replace("CAPS", caps).as_bytes(), Path::new("config.json"))
        };
        let spec = config(r#"["CAP_CHOWN", "CAP_FLY"]"#).unwrap();
        let capabilities = spec.process().as_ref().unwrap().capabilities().clone().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
        for wrong in ["[1]", "\"CAP_CHOWN\"", "[\"CAP_FLY\", 1]"] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }
}
