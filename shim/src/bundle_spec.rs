//! The few fields of a bundle's `config.json` that the shim needs; the rest is the runtime's business.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::output::Owner;

/// config.json (OCI runtime-spec, config.md).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BundleSpec {
    process: Process,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
    cgroups_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
    size: u32,
}

impl BundleSpec {
    /// Reads it from a bundle.
    pub(crate) fn load(bundle: &Path) -> io::Result<Self> {
        let path = bundle.join("config.json");
        let named = |error: String| io::Error::other(format!("read {}: {error}", path.display()));
        let text = fs::read(&path).map_err(|error| named(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| named(error.to_string()))
    }

    /// Who the container's process is, on the host.
    pub(crate) fn owner(&self) -> Owner {
        let User { uid, gid } = self.process.user;
        Owner { uid: on_host(uid, &self.linux.uid_mappings), gid: on_host(gid, &self.linux.gid_mappings) }
    }

    /// `linux.cgroupsPath`, if it is a path (and not systemd's `slice:prefix:name`).
    pub(crate) fn cgroup(&self) -> Option<&str> {
        self.linux.cgroups_path.as_deref().filter(|path| path.starts_with('/') && path.len() > 1 && !path.contains(".."))
    }
}

fn on_host(id: u32, mappings: &[Mapping]) -> u32 {
    let found = mappings.iter().find(|it| id >= it.container && id - it.container < it.size);
    found.map_or(id, |it| it.host.saturating_add(id - it.container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_host_and_unknown_fields_do_not_matter() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":1000,"gid":7},"args":["x"]},
            "linux":{"cgroupsPath":"/hshim/p/c","uidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}"#;
        let spec: BundleSpec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.owner(), Owner { uid: 101_000, gid: 7 });
        assert_eq!(spec.cgroup(), Some("/hshim/p/c"));
    }

    #[test]
    fn a_missing_bundle_is_named() {
        let error = BundleSpec::load(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("read /nowhere/config.json: "), "{error}");
    }
}
