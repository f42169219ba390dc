//! Presets and a bundle: one container without a manifest, known by its `config.json`.
//!
//! Its labels are its annotations (`ctr run --label` makes annotations of labels), those that Kubernetes gives to every container of
//! the CRI under their names there, and over them the object in `hshim.dev/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::merging::{Addition, Given, Merge, Own, OwnMount, Place, Target, TargetContainer, TargetKind, text};
use super::pod::Origin;
use super::{APPLIED, HealthField, PodPreset, items};
use crate::admission::{Volume, VolumeSource};
use crate::annotation::PREFIX;
use crate::faults::{Fault, FaultKind, Faults};

/// Labels as a JSON object, for pods of Kubernetes, whose own are not handed on.
pub const LABELS: &str = "hshim.dev/labels";
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";
const POD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
/// What the kubelet calls what the CRI tells of a container.
const ALIASES: [(&str, &str); 3] = [
    (CONTAINER_NAME, "io.kubernetes.container.name"),
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    (POD_NAMESPACE, "io.kubernetes.pod.namespace"),
];

/// What presets add to a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleAdditions {
    /// Of `config.json`: health, and a word for each preset that was applied.
    pub annotations: BTreeMap<String, String>,
    /// `NAME=VALUE`, behind `process.env`.
    pub env: Vec<String>,
    /// OCI mounts, behind `mounts`.
    pub mounts: Vec<Value>,
    /// What is mounted there, and where the preset names it.
    pub volumes: Vec<(Volume, Given)>,
    /// Which preset gave what, by its place in `config.json`; variables and mounts by their names there.
    pub origins: Vec<Origin>,
}

/// Whether it is the pause container of a pod, which is never touched.
#[must_use]
pub fn is_sandbox(config: &Value) -> bool {
    config.get("annotations").and_then(|all| all.get(CONTAINER_TYPE)).and_then(Value::as_str) == Some("sandbox")
}

/// `config.json` of container `id` as seen by presets.
///
/// # Errors
/// `hshim.dev/labels` is no JSON object of strings.
pub fn target(id: &str, config: &Value) -> Result<Target, Faults> {
    let annotations = strings(config.get("annotations").unwrap_or(&Value::Null));
    let cri = |key: &str| annotations.get(key).filter(|value| !value.is_empty()).cloned();
    let name = cri(CONTAINER_NAME).unwrap_or_else(|| id.to_owned());
    let container = TargetContainer {
        env: env(config),
        mounts: items(config, "mounts").iter().enumerate().map(own_mount).collect(),
        fields: own_fields(&[id, &name], &annotations),
        name,
    };
    Ok(Target {
        kind: TargetKind::Bundle,
        namespace: cri(POD_NAMESPACE).unwrap_or_else(|| "default".to_owned()),
        labels: labels(&annotations)?,
        annotations,
        containers: vec![container],
        volumes: Vec::new(),
        fields: BTreeSet::new(),
    })
}

fn strings(object: &Value) -> BTreeMap<String, String> {
    let entries = object.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn labels(annotations: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Faults> {
    let mut labels = annotations.clone();
    for (cri, kubelet) in ALIASES {
        if let Some(value) = annotations.get(cri) {
            labels.insert(kubelet.to_owned(), value.clone());
        }
    }
    if let Some(text) = annotations.get(LABELS) {
        let own: BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| {
            let mut faults = Faults::default();
            let detail = format!("must be a JSON object of strings: {error}");
            faults.add(&format!("annotations[\"{LABELS}\"]"), FaultKind::Invalid, None, &detail);
            faults
        })?;
        labels.extend(own);
    }
    Ok(labels)
}

fn env(config: &Value) -> Vec<Own> {
    let entries = items(config.get("process").unwrap_or(&Value::Null), "env");
    let variables = entries.iter().enumerate().filter_map(|(n, entry)| {
        let (name, value) = entry.as_str()?.split_once('=')?;
        let value = json!({"name": name, "value": value});
        Some(Own { name: name.to_owned(), value, path: format!("process.env[{n}]") })
    });
    variables.collect()
}

fn own_mount((n, mount): (usize, &Value)) -> OwnMount {
    let has = |word: &str| items(mount, "options").iter().any(|option| option == word);
    let is_bind = text(mount, "type") == "bind" || has("bind") || has("rbind");
    let source = if is_bind { mount.get("source").cloned() } else { None };
    let mount_path = text(mount, "destination");
    let value = form(source, &mount_path, has("ro"));
    OwnMount { name: None, mount_path, value, path: format!("mounts[{n}]") }
}

fn form(source: Option<Value>, destination: &str, read_only: bool) -> Value {
    super::merging::normal(&json!({"source": source, "destination": destination, "readOnly": read_only}))
}

/// The mount of a preset in the form that [`own_mount`] gives those of a bundle.
pub(super) fn comparable(preset: &PodPreset, mount: &Value) -> Value {
    let source = host_path(preset, &text(mount, "name")).map(|(_, path)| json!(path));
    form(source, &text(mount, "mountPath"), is_read_only(mount))
}

fn is_read_only(mount: &Value) -> bool {
    mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false)
}

fn host_path<'p>(preset: &'p PodPreset, name: &str) -> Option<(&'p Volume, &'p Path)> {
    let volume = preset.volumes_as_meant.iter().find(|volume| volume.name == name)?;
    match &volume.source {
        VolumeSource::HostPath { path, .. } => Some((volume, path)),
        VolumeSource::EmptyDir { .. } => None,
    }
}

/// Health that the bundle asks for itself, by the bare keys and by those with its name.
fn own_fields(names: &[&str], annotations: &BTreeMap<String, String>) -> BTreeSet<HealthField> {
    let has = |field: &HealthField| {
        let bare = format!("{PREFIX}{}", field.name());
        annotations.contains_key(&bare) || names.iter().any(|name| annotations.contains_key(&format!("{name}.{bare}")))
    };
    HealthField::ALL.into_iter().filter(has).collect()
}

/// What is to be written into `config.json`.
///
/// # Errors
/// What a bundle cannot have, by the index of the preset that asks for it.
pub fn additions(merge: &Merge, presets: &[PodPreset], sources: &[String]) -> Result<BundleAdditions, Vec<(Fault, usize)>> {
    let mut added = BundleAdditions::default();
    let mut unfit = Vec::new();
    for addition in &merge.additions {
        let Some(preset) = presets.get(addition.from.preset) else { continue };
        added.origins.extend(path(addition).map(|path| Origin { path, from: addition.from.clone() }));
        match addition.place {
            Place::Env(_) => {
                added.env.push(format!("{}={}", text(&addition.value, "name"), text(&addition.value, "value")));
            }
            Place::VolumeMount(_) => match host_path(preset, &text(&addition.value, "name")) {
                Some((volume, source)) => {
                    added.mounts.push(oci_mount(source, &addition.value));
                    added.volumes.push((volume.clone(), volume_place(preset, volume, addition.from.preset)));
                }
                None => unfit.push((unfit_volume(preset, &addition.value), addition.from.preset)),
            },
            Place::ContainerField(_, field) | Place::PodField(field) | Place::Annotation(_, field) => {
                let key = format!("{PREFIX}{}", field.name());
                let text = addition.value.as_str().map_or_else(|| addition.value.to_string(), str::to_owned);
                added.annotations.insert(key, text);
            }
            // A bundle has only what is mounted; envFrom is refused with everything that hshim has not.
            Place::Volume | Place::EnvFrom(_) => {}
        }
    }
    let applied = merge.applied.iter().filter_map(|index| Some((presets.get(*index)?, sources.get(*index)?)));
    added.annotations.extend(applied.map(|(preset, source)| (format!("{APPLIED}{}", preset.name), source.clone())));
    if unfit.is_empty() { Ok(added) } else { Err(unfit) }
}

/// Where it is added.
fn path(addition: &Addition) -> Option<String> {
    match addition.place {
        Place::Env(_) => Some(format!("process.env[{}]", text(&addition.value, "name"))),
        Place::VolumeMount(_) => Some(format!("mounts[{}]", text(&addition.value, "mountPath"))),
        Place::ContainerField(_, field) | Place::PodField(field) | Place::Annotation(_, field) => {
            Some(format!("annotations[\"{PREFIX}{}\"]", field.name()))
        }
        Place::Volume | Place::EnvFrom(_) => None,
    }
}

fn volume_place(preset: &PodPreset, volume: &Volume, index: usize) -> Given {
    let n = preset.volumes.iter().position(|value| text(value, "name") == volume.name).unwrap_or_default();
    Given { preset: index, path: format!("spec.volumes[{n}]") }
}

fn unfit_volume(preset: &PodPreset, mount: &Value) -> Fault {
    let name = text(mount, "name");
    let place = preset.volumes.iter().position(|volume| text(volume, "name") == name);
    let path = place.map_or_else(|| "spec.volumes".to_owned(), |n| format!("spec.volumes[{n}]"));
    let detail = "a bundle can be given hostPath volumes only; name the pods of apply by the selector".to_owned();
    Fault { path, kind: FaultKind::NotSupported, value: Some(format!("{name:?}")), detail }
}

fn oci_mount(source: &Path, mount: &Value) -> Value {
    let access = if is_read_only(mount) { "ro" } else { "rw" };
    json!({"destination": text(mount, "mountPath"), "type": "bind", "source": source, "options": ["rbind", "rprivate", access]})
}

impl BundleAdditions {
    /// Whether no preset has to do with the bundle.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty()
    }

    /// `config.json` with everything.
    #[must_use]
    pub fn merged(&self, config: &Value) -> Value {
        let mut config = config.clone();
        let Some(object) = config.as_object_mut() else { return config };
        let slot = |value: Option<Value>, empty: Value| value.filter(|value| !value.is_null()).unwrap_or(empty);
        let mut annotations = slot(object.remove("annotations"), json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(self.annotations.iter().map(|(key, value)| (key.clone(), json!(value))));
        }
        object.insert("annotations".to_owned(), annotations);
        if !self.mounts.is_empty() {
            let mut mounts = slot(object.remove("mounts"), json!([]));
            mounts.as_array_mut().into_iter().for_each(|mounts| mounts.extend(self.mounts.iter().cloned()));
            object.insert("mounts".to_owned(), mounts);
        }
        if let Some(process) = object.get_mut("process").and_then(Value::as_object_mut).filter(|_| !self.env.is_empty()) {
            let mut env = slot(process.remove("env"), json!([]));
            env.as_array_mut().into_iter().for_each(|env| env.extend(self.env.iter().map(|entry| json!(entry))));
            process.insert("env".to_owned(), env);
        }
        config
    }

    /// The one document of `preset merge`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"annotations": self.annotations, "env": self.env, "mounts": self.mounts})
    }
}
