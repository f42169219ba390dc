//! Held against k8s-openapi's types: every field that Kubernetes has is read or refused by name, and none that it has not.

use std::fmt;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::{Value, json};

use super::*;

/// Answers the names of the fields that a type asks for, as its error.
struct FieldNames;

#[derive(Debug)]
struct Names(Vec<&'static str>);

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl std::error::Error for Names {}

impl Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Vec::new())
    }
}

impl<'de> Deserializer<'de> for FieldNames {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(Vec::new()))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &str, fields: &'static [&'static str], _: V) -> Result<V::Value, Names> {
        Err(Names(fields.to_vec()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields_of<'de, T: Deserialize<'de>>() -> Vec<&'static str> {
    let names = T::deserialize(FieldNames).err().map(|names| names.0).unwrap_or_default();
    assert!(!names.is_empty(), "a struct");
    names
}

type Reader = fn(&Value, &mut Faults);

/// What the reader does not know of these fields.
fn unknown(fields: &[&'static str], read: Reader) -> Vec<String> {
    let mut faults = Faults::default();
    // No field takes a list of lists: everything read is a wrong type, everything else is refused or unknown.
    let object: serde_json::Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), json!([[]]))).collect();
    read(&Value::Object(object), &mut faults);
    faults.0.into_iter().filter(|fault| fault.kind == FaultKind::Unknown).map(|fault| fault.path).collect()
}

#[test]
fn every_field_of_kubernetes_is_read_or_refused_by_name() {
    let types: [(&str, Vec<&'static str>, Reader); 10] = [
        ("ObjectMeta", fields_of::<ObjectMeta>(), |value, faults| drop(read_metadata(value, "", faults))),
        ("PodSpec", fields_of::<api::PodSpec>(), |value, faults| drop(read_spec(value, "", faults))),
        ("Container", fields_of::<api::Container>(), |value, faults| drop(read_container(value, "", faults))),
        ("EnvVar", fields_of::<api::EnvVar>(), |value, faults| drop(read_env(value, "", faults))),
        ("ContainerPort", fields_of::<api::ContainerPort>(), |value, faults| drop(read_port(value, "", faults))),
        ("VolumeMount", fields_of::<api::VolumeMount>(), |value, faults| drop(read_mount(value, "", faults))),
        ("Volume", fields_of::<api::Volume>(), |value, faults| drop(read_volume(value, "", faults))),
        ("EmptyDir", fields_of::<api::EmptyDirVolumeSource>(), |value, faults| drop(read_empty_dir(value, "", faults))),
        ("HostPath", fields_of::<api::HostPathVolumeSource>(), |value, faults| drop(read_host_path(value, "", faults))),
        ("Probe", fields_of::<api::Probe>(), |value, faults| drop(read_probe(value, "", faults))),
    ];
    for (name, fields, read) in types {
        assert_eq!(unknown(&fields, read), Vec::<String>::new(), "{name}");
        assert_eq!(unknown(&["noSuchField"], read), ["noSuchField"], "{name}");
    }
}

#[test]
fn nothing_is_refused_that_kubernetes_does_not_have() {
    let lists = [
        (REFUSED_POD_FIELDS, fields_of::<api::PodSpec>()),
        (REFUSED_CONTAINER_FIELDS, fields_of::<api::Container>()),
        (REFUSED_VOLUMES, fields_of::<api::Volume>()),
        (REFUSED_METADATA, fields_of::<ObjectMeta>()),
        (&OTHER_HANDLERS, fields_of::<api::Probe>()),
    ];
    for (refused, fields) in lists {
        let invented: Vec<_> = refused.iter().filter(|name| !fields.contains(name)).collect();
        assert!(invented.is_empty(), "{invented:?}");
    }
}

#[test]
fn both_read_the_same_out_of_a_manifest() {
    let document = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
        "spec": {
            "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 7, "hostNetwork": true, "hostname": "h",
            "volumes": [{"name": "v", "hostPath": {"path": "/x", "type": "File"}}],
            "containers": [{
                "name": "c", "image": "i", "command": ["x"], "args": ["y"], "workingDir": "/w",
                "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80, "protocol": "UDP"}],
                "volumeMounts": [{"name": "v", "mountPath": "/m", "readOnly": true}],
                "livenessProbe": {
                    "exec": {"command": ["true"]}, "initialDelaySeconds": 1, "timeoutSeconds": 2, "periodSeconds": 3,
                    "successThreshold": 1, "failureThreshold": 4, "terminationGracePeriodSeconds": 5,
                },
            }],
        },
    });
    let theirs = serde_json::from_value::<api::Pod>(document.clone()).unwrap();
    let ours = decode(&document).unwrap();
    let spec = theirs.spec.unwrap();
    assert_eq!(ours.metadata.name, theirs.metadata.name);
    assert_eq!(ours.spec.restart_policy, spec.restart_policy);
    assert_eq!(ours.spec.termination_grace_period_seconds, spec.termination_grace_period_seconds);
    assert_eq!((ours.spec.host_network, &ours.spec.hostname), (spec.host_network, &spec.hostname));
    let (our, their) = (&ours.spec.containers[0], &spec.containers[0]);
    assert_eq!(Some(&our.command), their.command.as_ref());
    assert_eq!(Some(&our.args), their.args.as_ref());
    assert_eq!(our.working_dir, their.working_dir);
    assert_eq!(our.volume_mounts[0].read_only, their.volume_mounts.as_ref().unwrap()[0].read_only);
    let (our, their) = (our.liveness_probe.as_ref().unwrap(), their.liveness_probe.as_ref().unwrap());
    assert_eq!(our.exec, their.exec.as_ref().unwrap().command);
    assert_eq!(
        (our.initial_delay_seconds, our.timeout_seconds, our.period_seconds, our.success_threshold, our.failure_threshold),
        (
            their.initial_delay_seconds,
            their.timeout_seconds,
            their.period_seconds,
            their.success_threshold,
            their.failure_threshold
        )
    );
    assert_eq!(our.termination_grace_period_seconds, their.termination_grace_period_seconds);
}

/// The generated part of docs/pods.md.
fn support_table() -> String {
    let types: [(&str, Vec<&'static str>, Reader); 10] = [
        ("metadata", fields_of::<ObjectMeta>(), |value, faults| drop(read_metadata(value, "", faults))),
        ("spec", fields_of::<api::PodSpec>(), |value, faults| drop(read_spec(value, "", faults))),
        ("spec.containers[]", fields_of::<api::Container>(), |value, faults| drop(read_container(value, "", faults))),
        ("….env[]", fields_of::<api::EnvVar>(), |value, faults| drop(read_env(value, "", faults))),
        ("….ports[]", fields_of::<api::ContainerPort>(), |value, faults| drop(read_port(value, "", faults))),
        ("….volumeMounts[]", fields_of::<api::VolumeMount>(), |value, faults| drop(read_mount(value, "", faults))),
        ("….startupProbe, livenessProbe, readinessProbe", fields_of::<api::Probe>(), |value, faults| {
            drop(read_probe(value, "", faults));
        }),
        ("spec.volumes[]", fields_of::<api::Volume>(), |value, faults| drop(read_volume(value, "", faults))),
        ("….emptyDir", fields_of::<api::EmptyDirVolumeSource>(), |value, faults| drop(read_empty_dir(value, "", faults))),
        ("….hostPath", fields_of::<api::HostPathVolumeSource>(), |value, faults| drop(read_host_path(value, "", faults))),
    ];
    let mut table = "| object | honoured | refused by name |\n|---|---|---|\n".to_owned();
    for (name, fields, read) in types {
        let refused = refused(&fields, read);
        let (no, yes): (Vec<&str>, Vec<&str>) = fields.iter().partition(|field| refused.iter().any(|other| other == *field));
        let words = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
        table.push_str(&format!("| {name} | {} | {} |\n", words(&yes), words(&no)));
    }
    table
}

/// What the reader refuses of these fields, a probe's other handlers included.
fn refused(fields: &[&'static str], read: Reader) -> Vec<String> {
    let mut faults = Faults::default();
    let object: serde_json::Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), json!([[]]))).collect();
    read(&Value::Object(object), &mut faults);
    let refused = faults.0.into_iter().filter(|fault| fault.kind == FaultKind::NotSupported).map(|fault| fault.path);
    let handlers = OTHER_HANDLERS.iter().filter(|name| fields.contains(name)).map(ToString::to_string);
    refused.chain(handlers).collect()
}

#[test]
fn the_page_about_pods_has_the_table_of_what_is_read_and_what_is_refused() {
    let page = include_str!("../../../../docs/pods.md");
    let table = support_table();
    assert!(page.contains(&table), "docs/pods.md: put this table there:\n{table}");
}
