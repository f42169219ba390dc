//! The decision: which presets apply, what each adds, and where two contradict each other.
//!
//! As Kubernetes' admission plugin had it (plugin/pkg/admission/podpreset): nothing that is there is ever replaced. What is equal is left
//! out, what differs is a conflict, and one conflict refuses everything. Health fields are the exception: one that the pod has itself
//! stays, and the preset's is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use super::{EXCLUDE, FieldOwner, HealthField, MIRROR, OWN_EXCLUDE, PodPreset};
use crate::expansion::expand;

/// A pod or a bundle, as far as presets have to do with it.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) kind: TargetKind,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) containers: Vec<TargetContainer>,
    pub(super) volumes: Vec<Own>,
    /// Health fields of the pod itself.
    pub(super) fields: BTreeSet<HealthField>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetKind {
    /// A manifest: some health fields are the pod's, others its containers'.
    Pod,
    /// One container: all health fields are annotations of it.
    Bundle,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TargetContainer {
    pub(super) name: String,
    pub(super) env: Vec<Own>,
    pub(super) mounts: Vec<OwnMount>,
    pub(super) fields: BTreeSet<HealthField>,
}

/// What a pod has itself, with its place there.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) path: String,
}

#[derive(Clone, Debug)]
pub(super) struct OwnMount {
    /// Of the volume; a bundle's mounts have none.
    pub(super) name: Option<String>,
    pub(super) mount_path: String,
    pub(super) value: Value,
    pub(super) path: String,
}

/// A place in a preset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    /// Index of the preset.
    pub preset: usize,
    /// Path in its document.
    pub path: String,
}

/// One thing that a preset adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    pub(super) place: Place,
    pub(super) value: Value,
    /// Who says so.
    pub from: Given,
}

/// Where it is added; indices are those of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Volume,
    Env(usize),
    EnvFrom(usize),
    VolumeMount(usize),
    PodField(HealthField),
    ContainerField(usize, HealthField),
    /// Of the pod's annotations, with the name of a container or bare.
    Annotation(Option<usize>, HealthField),
}

/// What presets do to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Indices of the presets that apply, in their order.
    pub applied: Vec<usize>,
    /// In the order in which they are added.
    pub additions: Vec<Addition>,
}

/// Two that give different values to one thing. The values are not told: they may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Over what.
    pub thing: Thing,
    /// In which container.
    pub container: Option<String>,
    /// The preset that comes too late.
    pub preset: Given,
    /// Who has it already.
    pub other: Source,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pod's own, at this path.
    Pod(String),
    /// A preset's.
    Preset(Given),
}

/// What there can be only one of, in a pod or in a container of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A variable of the environment, by name.
    Variable(String),
    /// A volume, by name.
    Volume(String),
    /// The mount of a volume, by the volume's name.
    MountOf(String),
    /// What is mounted at a path.
    MountAt(String),
    /// A health field.
    Field(HealthField),
}

impl fmt::Display for Thing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(out, "the environment variable {name}"),
            Self::Volume(name) => write!(out, "the volume {name}"),
            Self::MountOf(name) => write!(out, "the mount of volume {name}"),
            Self::MountAt(path) => write!(out, "what is mounted at {path}"),
            Self::Field(field) => out.write_str(field.name()),
        }
    }
}

/// Decide what `presets`, in this order, do to a pod.
///
/// # Errors
/// Every conflict; then nothing of any preset is to be applied.
pub fn merge(target: &Target, presets: &[PodPreset]) -> Result<Merge, Vec<Conflict>> {
    let mut desk = Desk::of(target);
    for (index, preset) in presets.iter().enumerate().filter(|(_, preset)| target.is_meant_by(preset)) {
        desk.merge.applied.push(index);
        desk.add(&Applying { index, preset, target });
    }
    if desk.conflicts.is_empty() { Ok(desk.merge) } else { Err(desk.conflicts) }
}

impl Target {
    /// Its own wish to be left alone.
    fn is_excluded(&self) -> bool {
        let says_true = |key: &str| self.annotations.get(key).is_some_and(|value| value == "true");
        says_true(EXCLUDE) || says_true(OWN_EXCLUDE) || self.annotations.contains_key(MIRROR)
    }

    fn is_meant_by(&self, preset: &PodPreset) -> bool {
        !self.is_excluded()
            && preset.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace)
            && preset.selector.matches(&self.labels)
            && self.containers.iter().any(|container| preset.is_for(&container.name))
    }
}

impl PodPreset {
    fn is_for(&self, container: &str) -> bool {
        self.containers.is_empty() || self.containers.iter().any(|name| name == container)
    }
}

/// A preset on its way into a pod.
struct Applying<'a> {
    index: usize,
    preset: &'a PodPreset,
    target: &'a Target,
}

impl Applying<'_> {
    fn given(&self, path: String) -> Given {
        Given { preset: self.index, path }
    }

    /// A mount in a form in which those of the target and of the preset can be compared.
    fn comparable(&self, mount: &Value) -> Value {
        match self.target.kind {
            TargetKind::Pod => normal(mount),
            TargetKind::Bundle => super::bundle::comparable(self.preset, mount),
        }
    }
}

/// What is decided so far. A thing belongs to a container, or to the pod.
struct Desk {
    taken: BTreeMap<(Option<usize>, Thing), (Value, Source)>,
    /// Of a bundle, whose values are final: `$(NAME)` in a preset's is replaced here. In a manifest admission does it.
    environment: Option<BTreeMap<String, String>>,
    merge: Merge,
    conflicts: Vec<Conflict>,
}

/// Whether a thing is still free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// The same is there.
    Equal,
    Conflict,
}

impl Desk {
    fn of(target: &Target) -> Self {
        let mut taken = BTreeMap::new();
        let mut take = |owner: Option<usize>, thing, value, path: &str| {
            taken.insert((owner, thing), (value, Source::Pod(path.to_owned())));
        };
        for own in &target.volumes {
            take(None, Thing::Volume(own.name.clone()), normal(&own.value), &own.path);
        }
        for (index, container) in target.containers.iter().enumerate() {
            for own in &container.env {
                take(Some(index), Thing::Variable(own.name.clone()), normal(&own.value), &own.path);
            }
            for own in &container.mounts {
                if let Some(name) = &own.name {
                    take(Some(index), Thing::MountOf(name.clone()), normal(&own.value), &own.path);
                }
                take(Some(index), Thing::MountAt(own.mount_path.clone()), normal(&own.value), &own.path);
            }
        }
        let environment = (target.kind == TargetKind::Bundle).then(|| {
            let own = target.containers.iter().flat_map(|container| &container.env);
            own.map(|own| (own.name.clone(), text(&own.value, "value"))).collect()
        });
        Self { taken, environment, merge: Merge::default(), conflicts: Vec::new() }
    }

    fn add(&mut self, applying: &Applying<'_>) {
        let Applying { preset, target, .. } = applying;
        if target.kind == TargetKind::Pod {
            for (n, volume) in preset.volumes.iter().enumerate() {
                let from = applying.given(format!("spec.volumes[{n}]"));
                let thing = Thing::Volume(text(volume, "name"));
                if self.claim(applying, (None, thing), normal(volume), &from) == Room::Free {
                    self.push(Place::Volume, volume, from);
                }
            }
        }
        for (index, container) in target.containers.iter().enumerate().filter(|(_, container)| preset.is_for(&container.name)) {
            self.add_environment(applying, index);
            self.add_mounts(applying, index);
            for (field, value) in &preset.health {
                self.add_health(applying, (index, container), (*field, value));
            }
        }
    }

    fn add_environment(&mut self, applying: &Applying<'_>, container: usize) {
        for (n, variable) in applying.preset.env.iter().enumerate() {
            let from = applying.given(format!("spec.env[{n}]"));
            let thing = Thing::Variable(text(variable, "name"));
            let variable = self.as_meant(variable);
            if self.claim(applying, (Some(container), thing), normal(&variable), &from) == Room::Free {
                self.environment.iter_mut().for_each(|all| drop(all.insert(text(&variable, "name"), text(&variable, "value"))));
                self.push(Place::Env(container), &variable, from);
            }
        }
        // Without a name there is nothing to be the same.
        for (n, source) in applying.preset.env_from.iter().enumerate() {
            self.push(Place::EnvFrom(container), source, applying.given(format!("spec.envFrom[{n}]")));
        }
    }

    /// With its value as the container will see it, if that is to be decided here.
    fn as_meant(&self, variable: &Value) -> Value {
        let Some(environment) = &self.environment else { return variable.clone() };
        let value = expand(&text(variable, "value"), |name| environment.get(name).cloned());
        json!({"name": text(variable, "name"), "value": value})
    }

    fn add_mounts(&mut self, applying: &Applying<'_>, container: usize) {
        for (n, mount) in applying.preset.volume_mounts.iter().enumerate() {
            let from = applying.given(format!("spec.volumeMounts[{n}]"));
            let value = applying.comparable(mount);
            let of = Thing::MountOf(text(mount, "name"));
            let at = Thing::MountAt(text(mount, "mountPath"));
            let rooms = [of, at].map(|thing| self.claim(applying, (Some(container), thing), value.clone(), &from));
            if !rooms.contains(&Room::Equal) && !rooms.contains(&Room::Conflict) {
                self.push(Place::VolumeMount(container), mount, from);
            }
        }
    }

    fn add_health(
        &mut self,
        applying: &Applying<'_>,
        (index, container): (usize, &TargetContainer),
        (field, value): (HealthField, &Value),
    ) {
        let target = applying.target;
        // A policy of the pod's own decides for its containers, too.
        if container.fields.contains(&field) || target.fields.contains(&field) {
            return;
        }
        let is_of_all = applying.preset.containers.is_empty();
        let (owner, place) = match (target.kind, field.owner()) {
            (TargetKind::Pod, FieldOwner::Pod) if is_of_all => (None, Place::PodField(field)),
            (TargetKind::Pod, FieldOwner::Annotation) => {
                let owner = Some(index).filter(|_| !is_of_all);
                (owner, Place::Annotation(owner, field))
            }
            (TargetKind::Pod, _) | (TargetKind::Bundle, _) => (Some(index), Place::ContainerField(index, field)),
        };
        let from = applying.given(format!("spec.{}", field.name()));
        if self.claim(applying, (owner, Thing::Field(field)), normal(value), &from) == Room::Free {
            self.push(place, value, from);
        }
    }

    fn push(&mut self, place: Place, value: &Value, from: Given) {
        self.merge.additions.push(Addition { place, value: value.clone(), from });
    }

    fn claim(&mut self, applying: &Applying<'_>, (owner, thing): (Option<usize>, Thing), value: Value, from: &Given) -> Room {
        let Some((there, source)) = self.taken.get(&(owner, thing.clone())) else {
            self.taken.insert((owner, thing), (value, Source::Preset(from.clone())));
            return Room::Free;
        };
        if *there == value {
            return Room::Equal;
        }
        let container = owner.and_then(|index| Some(applying.target.containers.get(index)?.name.clone()));
        self.conflicts.push(Conflict { thing, container, preset: from.clone(), other: source.clone() });
        Room::Conflict
    }
}

/// Without what is there and says nothing: null, and the zero of its type, which the API takes for absent.
pub(super) fn normal(value: &Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(items) => items.is_empty(),
        // Its being there says what it is: `emptyDir: {}`.
        Value::Object(_) | Value::Bool(true) => false,
    };
    match value {
        Value::Object(fields) => {
            let told = fields.iter().map(|(name, value)| (name.clone(), normal(value)));
            Value::Object(told.filter(|(_, value)| !says_nothing(value)).collect())
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

pub(super) fn text(object: &Value, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
