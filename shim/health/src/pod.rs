//! The Pod manifest as written (core/v1): what of it hshim understands, nothing filled in, nothing checked but types and names.

use serde_json::Value;

use crate::faults::{FaultKind, Faults};
use crate::fields::Fields;

/// `Pod`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: PodSpec,
}

/// `ObjectMeta`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct Metadata {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
}

/// `PodSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct PodSpec {
    pub containers: Vec<ContainerSpec>,
    pub volumes: Vec<VolumeSpec>,
    pub restart_policy: Option<String>,
    pub termination_grace_period_seconds: Option<i64>,
    pub host_network: Option<bool>,
    pub hostname: Option<String>,
}

/// `Container`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct ContainerSpec {
    pub name: Option<String>,
    pub image: Option<String>,
    pub image_pull_policy: Option<String>,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<EnvVar>,
    pub ports: Vec<ContainerPort>,
    pub volume_mounts: Vec<VolumeMount>,
    pub restart_policy: Option<String>,
    pub startup_probe: Option<ProbeSpec>,
    pub liveness_probe: Option<ProbeSpec>,
    pub readiness_probe: Option<ProbeSpec>,
}

/// `EnvVar`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct EnvVar {
    pub name: Option<String>,
    pub value: Option<String>,
}

/// `ContainerPort`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct ContainerPort {
    pub name: Option<String>,
    pub container_port: Option<i32>,
    pub protocol: Option<String>,
}

/// `VolumeMount`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct VolumeMount {
    pub name: Option<String>,
    pub mount_path: Option<String>,
    pub read_only: Option<bool>,
}

/// `Volume`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct VolumeSpec {
    pub name: Option<String>,
    pub empty_dir: Option<EmptyDir>,
    pub host_path: Option<HostPath>,
}

/// `EmptyDirVolumeSource`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct EmptyDir {
    pub medium: Option<String>,
}

/// `HostPathVolumeSource`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct HostPath {
    pub path: Option<String>,
    pub kind: Option<String>,
}

/// `Probe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the Kubernetes API, named as there")]
pub struct ProbeSpec {
    pub exec: Option<Vec<String>>,
    /// Handlers that were given and are not supported yet, by name.
    pub other_handlers: Vec<&'static str>,
    pub initial_delay_seconds: Option<i32>,
    pub timeout_seconds: Option<i32>,
    pub period_seconds: Option<i32>,
    pub success_threshold: Option<i32>,
    pub failure_threshold: Option<i32>,
    pub termination_grace_period_seconds: Option<i64>,
}

/// Fields of `PodSpec` that are refused.
pub(crate) const REFUSED_POD_FIELDS: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "evictionResponders",
    "hostAliases",
    "hostIPC",
    "hostPID",
    "hostUsers",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "tolerations",
    "topologySpreadConstraints",
];
/// Fields of `Container` that are refused.
pub(crate) const REFUSED_CONTAINER_FIELDS: &[&str] = &[
    "envFrom",
    "lifecycle",
    "resizePolicy",
    "resources",
    "restartPolicyRules",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
];
/// Volume sources that are refused.
pub(crate) const REFUSED_VOLUMES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "csi",
    "downwardAPI",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "image",
    "iscsi",
    "nfs",
    "persistentVolumeClaim",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "secret",
    "storageos",
    "vsphereVolume",
];
const REFUSED_METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
const OTHER_HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// Read a manifest, which must be a Pod.
///
/// # Errors
/// Everything that is not a field of the API, not supported, or of a wrong type.
pub fn decode(document: &Value) -> Result<Pod, Faults> {
    let (pod, faults) = decode_what_can_be(document);
    faults.or(pod.unwrap_or_default())
}

/// Read a manifest as far as it can be understood, so that the rules can be tried on what is there. None when it is no Pod at all.
pub fn decode_what_can_be(document: &Value) -> (Option<Pod>, Faults) {
    let mut faults = Faults::default();
    (read_pod(document, &mut faults), faults)
}

fn read_pod(document: &Value, faults: &mut Faults) -> Option<Pod> {
    let mut fields = Fields::open(document, "", faults)?;
    let version = fields.string("apiVersion", faults);
    let kind = fields.string("kind", faults);
    match (version.as_deref(), kind.as_deref()) {
        (Some("v1"), Some("Pod")) => {}
        (_, None) => faults.required("kind", "must be \"Pod\""),
        (None, Some(_)) => faults.required("apiVersion", "must be \"v1\""),
        (Some(version), Some(kind)) => {
            let given = format!("{version} {kind}");
            faults.add("kind", FaultKind::NotSupported, Some(given), "apply takes manifests of apiVersion v1, kind Pod");
            // Another kind has other fields: more faults would only mislead.
            return None;
        }
    }
    let metadata = fields.nested("metadata", faults, read_metadata).unwrap_or_default();
    if fields.value("spec").is_none() {
        faults.required("spec", "");
    }
    let spec = fields.nested("spec", faults, read_spec).unwrap_or_default();
    fields.refuse(&["status"]);
    fields.finish(faults);
    Some(Pod { metadata, spec })
}

fn read_metadata(value: &Value, path: &str, faults: &mut Faults) -> Option<Metadata> {
    let mut fields = Fields::open(value, path, faults)?;
    let metadata = Metadata {
        name: fields.string("name", faults),
        namespace: fields.string("namespace", faults),
        labels: fields.map("labels", faults).unwrap_or_default(),
        annotations: fields.map("annotations", faults).unwrap_or_default(),
    };
    fields.refuse(REFUSED_METADATA);
    fields.finish(faults);
    Some(metadata)
}

fn read_spec(value: &Value, path: &str, faults: &mut Faults) -> Option<PodSpec> {
    let mut fields = Fields::open(value, path, faults)?;
    let spec = PodSpec {
        containers: fields.list("containers", faults, read_container).unwrap_or_default(),
        volumes: fields.list("volumes", faults, read_volume).unwrap_or_default(),
        restart_policy: fields.string("restartPolicy", faults),
        termination_grace_period_seconds: fields.int64("terminationGracePeriodSeconds", faults),
        host_network: fields.boolean("hostNetwork", faults),
        hostname: fields.string("hostname", faults),
    };
    fields.refuse(REFUSED_POD_FIELDS);
    fields.finish(faults);
    Some(spec)
}

fn read_container(value: &Value, path: &str, faults: &mut Faults) -> Option<ContainerSpec> {
    let mut fields = Fields::open(value, path, faults)?;
    let container = ContainerSpec {
        name: fields.string("name", faults),
        image: fields.string("image", faults),
        image_pull_policy: fields.string("imagePullPolicy", faults),
        command: fields.strings("command", faults).unwrap_or_default(),
        args: fields.strings("args", faults).unwrap_or_default(),
        working_dir: fields.string("workingDir", faults),
        env: fields.list("env", faults, read_env).unwrap_or_default(),
        ports: fields.list("ports", faults, read_port).unwrap_or_default(),
        volume_mounts: fields.list("volumeMounts", faults, read_mount).unwrap_or_default(),
        restart_policy: fields.string("restartPolicy", faults),
        startup_probe: fields.nested("startupProbe", faults, read_probe),
        liveness_probe: fields.nested("livenessProbe", faults, read_probe),
        readiness_probe: fields.nested("readinessProbe", faults, read_probe),
    };
    fields.refuse(REFUSED_CONTAINER_FIELDS);
    fields.finish(faults);
    Some(container)
}

fn read_env(value: &Value, path: &str, faults: &mut Faults) -> Option<EnvVar> {
    let mut fields = Fields::open(value, path, faults)?;
    let variable = EnvVar { name: fields.string("name", faults), value: fields.string("value", faults) };
    fields.refuse(&["valueFrom"]);
    fields.finish(faults);
    Some(variable)
}

fn read_port(value: &Value, path: &str, faults: &mut Faults) -> Option<ContainerPort> {
    let mut fields = Fields::open(value, path, faults)?;
    let port = ContainerPort {
        name: fields.string("name", faults),
        container_port: fields.int32("containerPort", faults),
        protocol: fields.string("protocol", faults),
    };
    fields.refuse(&["hostPort", "hostIP"]);
    fields.finish(faults);
    Some(port)
}

fn read_mount(value: &Value, path: &str, faults: &mut Faults) -> Option<VolumeMount> {
    let mut fields = Fields::open(value, path, faults)?;
    let mount = VolumeMount {
        name: fields.string("name", faults),
        mount_path: fields.string("mountPath", faults),
        read_only: fields.boolean("readOnly", faults),
    };
    fields.refuse(&["bindMountOptions", "mountPropagation", "recursiveReadOnly", "subPath", "subPathExpr"]);
    fields.finish(faults);
    Some(mount)
}

fn read_volume(value: &Value, path: &str, faults: &mut Faults) -> Option<VolumeSpec> {
    let mut fields = Fields::open(value, path, faults)?;
    let volume = VolumeSpec {
        name: fields.string("name", faults),
        empty_dir: fields.nested("emptyDir", faults, read_empty_dir),
        host_path: fields.nested("hostPath", faults, read_host_path),
    };
    fields.refuse(REFUSED_VOLUMES);
    fields.finish(faults);
    Some(volume)
}

fn read_empty_dir(value: &Value, path: &str, faults: &mut Faults) -> Option<EmptyDir> {
    let mut fields = Fields::open(value, path, faults)?;
    let volume = EmptyDir { medium: fields.string("medium", faults) };
    fields.refuse(&["mode", "sizeLimit"]);
    fields.finish(faults);
    Some(volume)
}

fn read_host_path(value: &Value, path: &str, faults: &mut Faults) -> Option<HostPath> {
    let mut fields = Fields::open(value, path, faults)?;
    let volume = HostPath { path: fields.string("path", faults), kind: fields.string("type", faults) };
    fields.finish(faults);
    Some(volume)
}

pub(crate) fn read_probe(value: &Value, path: &str, faults: &mut Faults) -> Option<ProbeSpec> {
    let mut fields = Fields::open(value, path, faults)?;
    let exec = fields.nested("exec", faults, read_exec);
    let other_handlers = OTHER_HANDLERS.into_iter().filter(|name| fields.value(name).is_some()).collect();
    let probe = ProbeSpec {
        exec,
        other_handlers,
        initial_delay_seconds: fields.int32("initialDelaySeconds", faults),
        timeout_seconds: fields.int32("timeoutSeconds", faults),
        period_seconds: fields.int32("periodSeconds", faults),
        success_threshold: fields.int32("successThreshold", faults),
        failure_threshold: fields.int32("failureThreshold", faults),
        termination_grace_period_seconds: fields.int64("terminationGracePeriodSeconds", faults),
    };
    fields.finish(faults);
    Some(probe)
}

fn read_exec(value: &Value, path: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let mut fields = Fields::open(value, path, faults)?;
    let command = fields.strings("command", faults).unwrap_or_default();
    fields.finish(faults);
    Some(command)
}

#[cfg(test)]
mod parity;
