//! `PodPreset`: what an operator of a node gives to pods that have never heard of it.
//!
//! ```text
//! document ─read─▶ PodPreset ┐                        ┌─▶ manifest with every added field's origin   (pod)
//!                            ├─ merging ─▶ additions ─┤
//! pod or bundle ──▶ Target ──┘   or conflicts         └─▶ annotations, environment, mounts           (bundle)
//! ```
//! Two versions: `settings.k8s.io/v1alpha1` as Kubernetes had it until 1.20 (environment and volumes by label selector), and
//! `hshim.dev/v1alpha1`, which has health too. A field's own rules are those of pods: a preset is read as a pod with one container.

pub mod bundle;
pub mod merging;
pub mod pod;
mod selector;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::admission::{Volume, admit, is_label};
use crate::annotation;
use crate::faults::{Fault, FaultKind, Faults};
use crate::fields::Fields;
use crate::pod::decode_what_can_be;
pub use selector::Selector;

/// An annotation with the value `true` keeps presets away from a pod.
pub const EXCLUDE: &str = "podpreset.admission.kubernetes.io/exclude";
/// The same under hshim's own name, which containerd hands on.
pub const OWN_EXCLUDE: &str = "hshim.dev/excludePresets";
/// A pod that another source than the API server manages.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Begins the annotation that tells of a preset which was applied; its name follows.
pub const APPLIED: &str = "podpreset.admission.kubernetes.io/podpreset-";

const KUBERNETES_VERSION: &str = "settings.k8s.io/v1alpha1";
const OWN_VERSION: &str = "hshim.dev/v1alpha1";
const LISTS: [&str; 4] = ["env", "envFrom", "volumes", "volumeMounts"];
/// Paths of the pod that a preset is read as.
const CONTAINER: &str = "spec.containers[0].";

/// A preset as written, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPreset {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; without one it is for all namespaces of the node.
    pub namespace: Option<String>,
    /// Which pods.
    pub selector: Selector,
    /// Which of their containers, by name; all when empty.
    pub containers: Vec<String>,
    /// What Kubernetes has and hshim has not: no fault of the preset, but whatever it is applied to is refused.
    pub unsupported: Faults,
    env: Vec<Value>,
    env_from: Vec<Value>,
    volumes: Vec<Value>,
    volume_mounts: Vec<Value>,
    health: Vec<(HealthField, Value)>,
    volumes_as_meant: Vec<Volume>,
}

/// A field that decides how health is looked after. The order is that of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthField {
    /// Of a container.
    StartupProbe,
    /// Of a container.
    LivenessProbe,
    /// Of a container.
    ReadinessProbe,
    /// Of a container.
    Lifecycle,
    /// Of a pod, or of the containers that the preset names.
    RestartPolicy,
    /// Of a pod.
    TerminationGracePeriodSeconds,
    /// hshim's own, an annotation.
    Backoff,
    /// hshim's own, an annotation.
    Supervision,
}

impl HealthField {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::StartupProbe,
        Self::LivenessProbe,
        Self::ReadinessProbe,
        Self::Lifecycle,
        Self::RestartPolicy,
        Self::TerminationGracePeriodSeconds,
        Self::Backoff,
        Self::Supervision,
    ];

    /// In manifests, and after `hshim.dev/` in annotations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartupProbe => "startupProbe",
            Self::LivenessProbe => "livenessProbe",
            Self::ReadinessProbe => "readinessProbe",
            Self::Lifecycle => "lifecycle",
            Self::RestartPolicy => "restartPolicy",
            Self::TerminationGracePeriodSeconds => "terminationGracePeriodSeconds",
            Self::Backoff => "backoff",
            Self::Supervision => "supervision",
        }
    }

    /// Who has it in the manifest of a pod.
    const fn owner(self) -> FieldOwner {
        match self {
            Self::StartupProbe | Self::LivenessProbe | Self::ReadinessProbe | Self::Lifecycle => FieldOwner::Container,
            Self::RestartPolicy | Self::TerminationGracePeriodSeconds => FieldOwner::Pod,
            Self::Backoff | Self::Supervision => FieldOwner::Annotation,
        }
    }
}

/// Who has a health field in the manifest of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldOwner {
    Container,
    Pod,
    /// Kubernetes has no such field: an annotation has.
    Annotation,
}

/// Read a document, which must be a preset.
///
/// # Errors
/// All faults, each with its path in the document.
pub fn read(document: &Value) -> Result<PodPreset, Faults> {
    let mut faults = Faults::default();
    let Some(mut fields) = Fields::open(document, "", &mut faults) else { return Err(faults) };
    let version = version(&mut fields, &mut faults);
    let Some(version) = version else { return Err(faults) };
    let spec = fields.value("spec").cloned().unwrap_or_else(|| json!({}));
    let metadata = fields.value("metadata").cloned().unwrap_or_else(|| json!({}));
    fields.finish(&mut faults);
    let head = fields_of_spec(&spec, version, &mut faults);
    let synthetic = read_as_pod(&metadata, &spec);
    let own = own_fields_faults(&spec);
    let (unsupported, broken): (Vec<Fault>, Vec<Fault>) =
        synthetic.faults.0.into_iter().chain(own.0).partition(|fault| fault.kind == FaultKind::NotSupported);
    let faults = faults.and_then(Faults(broken));
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
    let (selector, containers) = head;
    faults.or(PodPreset {
        name: text("name").unwrap_or_default(),
        namespace: text("namespace"),
        selector,
        containers,
        unsupported: Faults(unsupported),
        env: items(&spec, "env"),
        env_from: items(&spec, "envFrom"),
        volumes: items(&spec, "volumes"),
        volume_mounts: items(&spec, "volumeMounts"),
        health: HealthField::ALL.into_iter().filter_map(|field| Some((field, present(&spec, field.name())?.clone()))).collect(),
        volumes_as_meant: synthetic.volumes,
    })
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Kubernetes,
    Own,
}

fn version(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Version> {
    let version = fields.string("apiVersion", faults);
    let kind = fields.string("kind", faults);
    let known = [KUBERNETES_VERSION, OWN_VERSION];
    match kind.as_deref() {
        Some("PodPreset") => {}
        Some(other) => {
            faults.unsupported("kind", other, &["PodPreset"]);
            return None;
        }
        None => faults.required("kind", "must be \"PodPreset\""),
    }
    match version.as_deref() {
        Some(KUBERNETES_VERSION) => Some(Version::Kubernetes),
        Some(OWN_VERSION) => Some(Version::Own),
        Some(other) => {
            faults.unsupported("apiVersion", other, &known);
            None
        }
        None => {
            faults.required("apiVersion", &format!("must be one of {}", known.join(", ")));
            None
        }
    }
}

/// The fields that a pod has not, and a look at the names of all others.
fn fields_of_spec(spec: &Value, version: Version, faults: &mut Faults) -> (Selector, Vec<String>) {
    let Some(mut fields) = Fields::open(spec, "spec", faults) else { return Default::default() };
    let selector = fields.nested("selector", faults, selector::read).unwrap_or_default();
    let mut given = LISTS.into_iter().filter(|name| fields.value(name).is_some()).count();
    let mut containers = Vec::new();
    match version {
        Version::Kubernetes => refuse_own_fields(&mut fields, faults),
        Version::Own => {
            containers = container_names(&mut fields, faults);
            let health: Vec<HealthField> =
                HealthField::ALL.into_iter().filter(|field| fields.value(field.name()).is_some()).collect();
            given += health.len();
            if !containers.is_empty() && health.contains(&HealthField::TerminationGracePeriodSeconds) {
                let detail = "is the pod's, and may not be set for some of its containers: leave spec.containers out";
                faults.forbidden("spec.terminationGracePeriodSeconds", detail);
            }
        }
    }
    if given == 0 {
        let more = if version == Version::Own { ", or a field of health" } else { "" };
        faults.required("spec", &format!("must specify at least one of {}{more}", LISTS.join(", ")));
    }
    fields.finish(faults);
    (selector, containers)
}

fn refuse_own_fields(fields: &mut Fields<'_>, faults: &mut Faults) {
    for name in HealthField::ALL.map(HealthField::name).into_iter().chain(["containers"]) {
        if fields.value(name).is_some() {
            let detail = format!("a preset of apiVersion {OWN_VERSION} has it");
            faults.add(&fields.path_of(name), FaultKind::Unknown, None, &detail);
        }
    }
}

fn container_names(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<String> {
    let names = fields.strings("containers", faults).unwrap_or_default();
    for (n, name) in names.iter().enumerate() {
        let path = format!("{}[{n}]", fields.path_of("containers"));
        if !is_label(name) {
            faults.invalid(&path, name.as_str(), "must be the name of a container");
        } else if names.iter().take(n).any(|other| other == name) {
            faults.duplicate(&path, name);
        }
    }
    names
}

/// What the rules of pods say about a preset.
struct AsPod {
    faults: Faults,
    volumes: Vec<Volume>,
}

/// A pod that has what the preset has.
fn read_as_pod(metadata: &Value, spec: &Value) -> AsPod {
    let mut container = json!({"name": "c", "image": "i"});
    let mut pod_spec = Map::new();
    let mut put = |name: &str, owner| {
        let Some(value) = present(spec, name).cloned() else { return };
        match owner {
            FieldOwner::Container => drop(container.as_object_mut().and_then(|fields| fields.insert(name.to_owned(), value))),
            FieldOwner::Pod => drop(pod_spec.insert(name.to_owned(), value)),
            FieldOwner::Annotation => {}
        }
    };
    for name in ["env", "envFrom", "volumeMounts"] {
        put(name, FieldOwner::Container);
    }
    put("volumes", FieldOwner::Pod);
    HealthField::ALL.into_iter().for_each(|field| put(field.name(), field.owner()));
    pod_spec.insert("containers".to_owned(), json!([container]));
    let document = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec});
    let (pod, mut faults) = decode_what_can_be(&document);
    let mut volumes = Vec::new();
    match pod.map(admit) {
        Some(Ok(pod)) => volumes = pod.volumes,
        Some(Err(broken)) => faults = faults.and_then(broken),
        None => {}
    }
    for fault in &mut faults.0 {
        if let Some(rest) = fault.path.strip_prefix(CONTAINER) {
            fault.path = format!("spec.{rest}");
        }
    }
    AsPod { faults, volumes }
}

/// What the rules of annotations say about the fields that pods have not.
fn own_fields_faults(spec: &Value) -> Faults {
    let own = HealthField::ALL.into_iter().filter(|field| field.owner() == FieldOwner::Annotation);
    let given: BTreeMap<String, String> = own
        .filter_map(|field| Some((format!("{}{}", annotation::PREFIX, field.name()), present(spec, field.name())?.to_string())))
        .collect();
    let Err(mut faults) = annotation::task("c", &given) else { return Faults::default() };
    for fault in &mut faults.0 {
        fault.path =
            path_of_annotation(&fault.path).map_or_else(|| fault.path.clone(), |(name, rest)| format!("spec.{name}{rest}"));
    }
    faults
}

/// `annotations["hshim.dev/backoff"].capMilliseconds` is about `backoff`, and there `.capMilliseconds`.
#[must_use]
pub fn path_of_annotation(path: &str) -> Option<(&str, &str)> {
    let (key, rest) = path.strip_prefix("annotations[\"")?.split_once("\"]")?;
    Some((key.strip_prefix(annotation::PREFIX)?, rest))
}

fn present<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn items(object: &Value, name: &str) -> Vec<Value> {
    object.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
