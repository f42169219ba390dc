//! Presets and the manifest of a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::merging::{Addition, Given, Merge, Own, OwnMount, Place, Target, TargetContainer, TargetKind, text};
use super::{APPLIED, FieldOwner, HealthField, PodPreset, items, present};
use crate::annotation::PREFIX;

/// A field that a preset gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In the merged manifest.
    pub path: String,
    /// In the preset.
    pub from: Given,
}

/// A manifest as seen by presets. What is of a wrong type is passed over: admission says so.
#[must_use]
pub fn target(document: &Value, namespace: &str) -> Target {
    let none = Value::Null;
    let metadata = document.get("metadata").unwrap_or(&none);
    let spec = document.get("spec").unwrap_or(&none);
    let strings = |name: &str| -> BTreeMap<String, String> {
        let entries = metadata.get(name).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let annotations = strings("annotations");
    let containers = items(spec, "containers").into_iter().enumerate().map(|(n, value)| {
        let mut container = container(&value, &format!("spec.containers[{n}]"));
        container.fields.extend(annotated(&annotations, &format!("{}.", container.name)));
        container
    });
    let mut own = fields(spec, FieldOwner::Pod);
    own.extend(annotated(&annotations, ""));
    Target {
        kind: TargetKind::Pod,
        namespace: metadata.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_owned(),
        labels: strings("labels"),
        containers: containers.collect(),
        annotations,
        volumes: named(spec, "volumes", "spec.volumes"),
        fields: own,
    }
}

/// The fields that the pod has as annotations, under keys with this before `hshim.dev/`.
fn annotated(annotations: &BTreeMap<String, String>, before: &str) -> Vec<HealthField> {
    let of_annotations = HealthField::ALL.into_iter().filter(|field| field.owner() == FieldOwner::Annotation);
    of_annotations.filter(|field| annotations.contains_key(&format!("{before}{PREFIX}{}", field.name()))).collect()
}

fn container(value: &Value, path: &str) -> TargetContainer {
    let mounts = items(value, "volumeMounts").into_iter().enumerate().map(|(n, mount)| OwnMount {
        name: Some(text(&mount, "name")),
        mount_path: text(&mount, "mountPath"),
        path: format!("{path}.volumeMounts[{n}]"),
        value: mount,
    });
    let mut own = fields(value, FieldOwner::Container);
    own.extend(present(value, HealthField::RestartPolicy.name()).map(|_| HealthField::RestartPolicy));
    TargetContainer {
        name: text(value, "name"),
        env: named(value, "env", &format!("{path}.env")),
        mounts: mounts.collect(),
        fields: own,
    }
}

fn named(object: &Value, list: &str, path: &str) -> Vec<Own> {
    let own = |(n, value): (usize, Value)| Own { name: text(&value, "name"), value, path: format!("{path}[{n}]") };
    items(object, list).into_iter().enumerate().map(own).collect()
}

fn fields(object: &Value, owner: FieldOwner) -> BTreeSet<HealthField> {
    let of_owner = HealthField::ALL.into_iter().filter(|field| field.owner() == owner);
    of_owner.filter(|field| present(object, field.name()).is_some()).collect()
}

/// The manifest with everything that the presets add, and where each addition came from.
#[must_use]
pub fn merged(document: &Value, merge: &Merge, presets: &[PodPreset], sources: &[String]) -> (Value, Vec<Origin>) {
    let mut document = document.clone();
    let origins = merge.additions.iter().filter_map(|addition| {
        let path = add(&mut document, addition)?;
        Some(Origin { path, from: addition.from.clone() })
    });
    let origins = origins.collect();
    for index in &merge.applied {
        let (Some(preset), Some(source)) = (presets.get(*index), sources.get(*index)) else { continue };
        let annotations = object(&mut document, "metadata").and_then(|metadata| nested(metadata, "annotations"));
        if let Some(annotations) = annotations {
            annotations.insert(format!("{APPLIED}{}", preset.name), json!(source));
        }
    }
    (document, origins)
}

/// The path of what was added.
fn add(document: &mut Value, addition: &Addition) -> Option<String> {
    let value = addition.value.clone();
    let (container, list) = match addition.place {
        Place::Volume => return push(object(document, "spec")?, "volumes", value).map(|n| format!("spec.volumes[{n}]")),
        Place::PodField(field) => {
            object(document, "spec")?.insert(field.name().to_owned(), value);
            return Some(format!("spec.{}", field.name()));
        }
        Place::ContainerField(index, field) => {
            container_object(document, index)?.insert(field.name().to_owned(), value);
            return Some(format!("spec.containers[{index}].{}", field.name()));
        }
        Place::Annotation(index, field) => return annotate(document, index, field, &value),
        Place::Env(index) => (index, "env"),
        Place::EnvFrom(index) => (index, "envFrom"),
        Place::VolumeMount(index) => (index, "volumeMounts"),
    };
    let n = push(container_object(document, container)?, list, value)?;
    Some(format!("spec.containers[{container}].{list}[{n}]"))
}

fn annotate(document: &mut Value, container: Option<usize>, field: HealthField, value: &Value) -> Option<String> {
    let name = match container {
        Some(index) => format!("{}.", container_object(document, index)?.get("name")?.as_str()?),
        None => String::new(),
    };
    let key = format!("{name}{PREFIX}{}", field.name());
    let annotations = nested(object(document, "metadata")?, "annotations")?;
    annotations.insert(key.clone(), json!(value.to_string()));
    Some(format!("metadata.annotations[{key}]"))
}

fn container_object(document: &mut Value, index: usize) -> Option<&mut Map<String, Value>> {
    document.get_mut("spec")?.get_mut("containers")?.get_mut(index)?.as_object_mut()
}

fn object<'v>(document: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    nested(document.as_object_mut()?, name)
}

/// The object of this name, made if there is none. None when something else stands there.
fn nested<'v>(object: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Map<String, Value>> {
    let slot = object.entry(name).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!({});
    }
    slot.as_object_mut()
}

/// The index of the new item.
fn push(object: &mut Map<String, Value>, list: &str, value: Value) -> Option<usize> {
    let slot = object.entry(list).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!([]);
    }
    let list = slot.as_array_mut()?;
    list.push(value);
    Some(list.len() - 1)
}
