//! The few fields of a bundle's `config.json` that the shim needs; the rest is the runtime's business.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::output::Owner;

/// config.json (OCI runtime-spec, config.md).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BundleSpec {
    process: Process,
    linux: Linux,
    hooks: Option<Hooks>,
    /// `annotations`.
    pub(crate) annotations: BTreeMap<String, String>,
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
    namespaces: Vec<Namespace>,
    intel_rdt: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hooks {
    poststop: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type", default)]
    kind: String,
    path: Option<String>,
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

    /// `linux.cgroupsPath` is systemd's `slice:prefix:name`.
    pub(crate) fn has_systemd_cgroup(&self) -> bool {
        self.linux.cgroups_path.as_deref().is_some_and(|path| path.split(':').count() == 3 && !path.starts_with('/'))
    }

    /// Whoever deletes the container has more to do than to forget it: poststop hooks to run, a resctrl group to remove, processes to kill that
    /// do not end with init.
    pub(crate) fn needs_delete(&self) -> bool {
        let hooks = self.hooks.as_ref().and_then(|hooks| hooks.poststop.as_ref());
        let has_own_pids =
            self.linux.namespaces.iter().any(|it| it.kind == "pid" && it.path.as_deref().is_none_or(str::is_empty));
        !has_own_pids || self.linux.intel_rdt.is_some() || hooks.is_some_and(|hooks| !hooks.is_empty())
    }

    /// The paths of the namespaces that it joins.
    pub(crate) fn namespace_paths(&self) -> impl Iterator<Item = &str> {
        self.linux.namespaces.iter().filter_map(|namespace| namespace.path.as_deref()).filter(|path| !path.is_empty())
    }

    /// `linux.cgroupsPath`, if it is a path (and not systemd's `slice:prefix:name`).
    pub(crate) fn cgroup(&self) -> Option<&str> {
        self.linux.cgroups_path.as_deref().filter(|path| path.starts_with('/') && path.len() > 1 && !path.contains(".."))
    }
}

/// Who a further process of a bundle's container is, on the host; `process` is its OCI process object.
pub(crate) fn owner_of_process(bundle: &Path, process: &[u8]) -> io::Result<Owner> {
    let process = serde_json::from_slice(process)?;
    Ok(BundleSpec { process, ..BundleSpec::load(bundle)? }.owner())
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
