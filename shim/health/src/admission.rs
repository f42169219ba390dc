//! From a manifest as written to a pod as meant: defaults filled in, every rule checked, all violations at once.
//!
//! Rules and texts: pkg/apis/core/validation and pkg/apis/core/v1/defaults.go of Kubernetes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::annotation::{self, OfManifest};
use crate::expansion::expand;
use crate::faults::{FaultKind, Faults};
use crate::plan::{ContainerPlan, Origin, PodPlan, ProbeHandler, ProbeKind, ProbePlan, RestartPolicy};
use crate::pod::{ContainerSpec, Pod, ProbeSpec, VolumeSpec};

/// A pod as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedPod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, `default` unless given.
    pub namespace: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// In the manifest's order; at least one.
    pub containers: Vec<AdmittedContainer>,
    /// In the manifest's order.
    pub volumes: Vec<Volume>,
    /// Share the node's network.
    pub host_network: bool,
    /// Of the pod: `spec.hostname`, else its name.
    pub hostname: String,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace: Duration,
}

/// A container as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedContainer {
    /// Unique in the pod.
    pub name: String,
    /// As written.
    pub image: String,
    /// Replaces the image's entrypoint, unless empty; expanded.
    pub command: Vec<String>,
    /// Replaces the image's arguments, unless empty; expanded.
    pub args: Vec<String>,
    /// Replaces the image's.
    pub working_dir: Option<String>,
    /// Over the image's, in order, expanded; a later definition of a name wins.
    pub env: Vec<(String, String)>,
    /// What it listens on; for the reader.
    pub ports: Vec<Port>,
    /// Volumes of the pod in its file system.
    pub mounts: Vec<Mount>,
    /// Its own policy, else the pod's.
    pub restart_policy: RestartPolicy,
    /// Startup probe.
    pub startup: Option<ProbePlan>,
    /// Liveness probe.
    pub liveness: Option<ProbePlan>,
    /// Readiness probe.
    pub readiness: Option<ProbePlan>,
    /// What annotations ask for.
    pub extensions: OfManifest,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// For references by name.
    pub name: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Absolute, in the container.
    pub path: String,
    /// Read-only.
    pub read_only: bool,
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Unique in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An empty directory that lives as long as the pod.
    EmptyDir {
        /// In memory (tmpfs).
        memory: bool,
    },
    /// A file or directory of the node.
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must be there, or is made.
        kind: HostPathKind,
    },
}

/// `HostPathType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathKind {
    /// Anything that is there.
    Unset,
    /// A directory, made if absent.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made if absent.
    FileOrCreate,
    /// A file.
    File,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

const HOST_PATH_KINDS: [(&str, HostPathKind); 8] = [
    ("", HostPathKind::Unset),
    ("BlockDevice", HostPathKind::BlockDevice),
    ("CharDevice", HostPathKind::CharDevice),
    ("Directory", HostPathKind::Directory),
    ("DirectoryOrCreate", HostPathKind::DirectoryOrCreate),
    ("File", HostPathKind::File),
    ("FileOrCreate", HostPathKind::FileOrCreate),
    ("Socket", HostPathKind::Socket),
];
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
/// `SIGTERM`.
const TERMINATE: i32 = 15;

/// Fill in the defaults and check every rule.
///
/// # Errors
/// All violations, each with its path.
pub fn admit(pod: Pod) -> Result<AdmittedPod, Faults> {
    let mut faults = Faults::default();
    let name = pod.metadata.name.unwrap_or_default();
    if name.is_empty() {
        faults.required("metadata.name", "name or generateName is required");
    } else if !is_subdomain(&name) {
        faults.invalid("metadata.name", name.as_str(), NAME_RULE);
    }
    let namespace = pod.metadata.namespace.unwrap_or_else(|| "default".to_owned());
    if !is_label(&namespace) {
        faults.invalid("metadata.namespace", namespace.as_str(), LABEL_RULE);
    }
    let restart_policy = policy(pod.spec.restart_policy.as_deref(), "spec.restartPolicy", &mut faults);
    let restart_policy = restart_policy.unwrap_or(RestartPolicy::Always);
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let grace = u64::try_from(grace).unwrap_or_else(|_negative| {
        faults.invalid("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0");
        0
    });
    if let Some(hostname) = pod.spec.hostname.as_ref().filter(|hostname| !is_label(hostname)) {
        faults.invalid("spec.hostname", hostname.as_str(), LABEL_RULE);
    }
    let hostname = pod.spec.hostname.unwrap_or_else(|| name.clone());
    let volumes = volumes(pod.spec.volumes, &mut faults);
    if pod.spec.containers.is_empty() {
        faults.required("spec.containers", "");
    }
    let mut names = Vec::new();
    let mut containers = Vec::new();
    for (n, spec) in pod.spec.containers.into_iter().enumerate() {
        let mut desk = Desk { path: format!("spec.containers[{n}]"), faults: &mut faults };
        let container = desk.container(spec, restart_policy, &volumes, &pod.metadata.annotations);
        if names.contains(&container.name) {
            faults.duplicate(&format!("spec.containers[{n}].name"), &container.name);
        }
        names.push(container.name.clone());
        containers.push(container);
    }
    faults.or(AdmittedPod {
        name,
        namespace,
        labels: pod.metadata.labels.into_iter().collect(),
        annotations: pod.metadata.annotations.into_iter().collect(),
        containers,
        volumes,
        host_network: pod.spec.host_network.unwrap_or(false),
        hostname: hostname.chars().take(63).collect(),
        restart_policy,
        termination_grace: Duration::from_secs(grace),
    })
}

impl AdmittedPod {
    /// What a supervisor is to do with it.
    #[must_use]
    pub fn plan(&self, uid: &str) -> PodPlan {
        PodPlan {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: uid.to_owned(),
            origin: Origin::Manifest,
            termination_grace: self.termination_grace,
            containers: self.containers.iter().map(AdmittedContainer::plan).collect(),
        }
    }
}

impl AdmittedContainer {
    fn plan(&self) -> ContainerPlan {
        let OfManifest { backoff, period, errors_count_as_failures } = self.extensions;
        let timed =
            |probe: &Option<ProbePlan>| probe.clone().map(|probe| ProbePlan { period: period.unwrap_or(probe.period), ..probe });
        ContainerPlan {
            name: self.name.clone(),
            image: self.image.clone(),
            restart_policy: self.restart_policy,
            startup: timed(&self.startup),
            liveness: timed(&self.liveness),
            readiness: timed(&self.readiness),
            backoff,
            errors_count_as_failures,
            stop_signal: TERMINATE,
        }
    }
}

pub(crate) fn policy(word: Option<&str>, path: &str, faults: &mut Faults) -> Option<RestartPolicy> {
    match word {
        None => None,
        Some("Always") => Some(RestartPolicy::Always),
        Some("OnFailure") => Some(RestartPolicy::OnFailure),
        Some("Never") => Some(RestartPolicy::Never),
        Some("") => {
            faults.required(path, "");
            None
        }
        Some(other) => {
            faults.unsupported(path, other, &["Always", "OnFailure", "Never"]);
            None
        }
    }
}

fn volumes(specs: Vec<VolumeSpec>, faults: &mut Faults) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (n, spec) in specs.into_iter().enumerate() {
        let path = format!("spec.volumes[{n}]");
        let name = spec.name.clone().unwrap_or_default();
        if name.is_empty() {
            faults.required(&format!("{path}.name"), "");
        } else if !is_label(&name) {
            faults.invalid(&format!("{path}.name"), name.as_str(), LABEL_RULE);
        } else if volumes.iter().any(|other| other.name == name) {
            faults.duplicate(&format!("{path}.name"), &name);
        }
        // A volume with a fault stays in the list, so that its mounts are not reported too.
        let source = volume_source(spec, &path, faults).unwrap_or(VolumeSource::EmptyDir { memory: false });
        volumes.push(Volume { name, source });
    }
    volumes
}

fn volume_source(spec: VolumeSpec, path: &str, faults: &mut Faults) -> Option<VolumeSource> {
    match (spec.empty_dir, spec.host_path) {
        (Some(_), Some(_)) => {
            faults.forbidden(&format!("{path}.hostPath"), "may not specify more than 1 volume type");
            None
        }
        (None, None) => {
            faults.required(path, "must specify a volume type");
            None
        }
        (Some(empty), None) => match empty.medium.as_deref().unwrap_or("") {
            "" => Some(VolumeSource::EmptyDir { memory: false }),
            "Memory" => Some(VolumeSource::EmptyDir { memory: true }),
            other => {
                faults.unsupported(&format!("{path}.emptyDir.medium"), other, &["", "Memory"]);
                None
            }
        },
        (None, Some(host)) => {
            let at = format!("{path}.hostPath");
            let word = host.kind.unwrap_or_default();
            let kind = HOST_PATH_KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
            if kind.is_none() {
                faults.unsupported(&format!("{at}.type"), &word, &HOST_PATH_KINDS.map(|(name, _)| name));
            }
            let host_path = host.path.unwrap_or_default();
            if host_path.is_empty() {
                faults.required(&format!("{at}.path"), "");
            } else if !host_path.starts_with('/') {
                faults.invalid(&format!("{at}.path"), host_path.as_str(), "must be an absolute path");
            } else if host_path.split('/').any(|part| part == "..") {
                faults.invalid(&format!("{at}.path"), host_path.as_str(), "must not contain '..'");
            }
            Some(VolumeSource::HostPath { path: host_path.into(), kind: kind? })
        }
    }
}

/// Where the faults of one container are noted.
struct Desk<'a> {
    path: String,
    faults: &'a mut Faults,
}

impl Desk<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn container(
        &mut self,
        spec: ContainerSpec,
        pod_policy: RestartPolicy,
        volumes: &[Volume],
        annotations: &[(String, String)],
    ) -> AdmittedContainer {
        let name = spec.name.unwrap_or_default();
        if name.is_empty() {
            self.faults.required(&self.at("name"), "");
        } else if !is_label(&name) {
            self.faults.invalid(&self.at("name"), name.as_str(), LABEL_RULE);
        }
        let image = spec.image.unwrap_or_default();
        if image.trim().is_empty() {
            self.faults.required(&self.at("image"), "");
        } else if image.trim() != image {
            self.faults.invalid(&self.at("image"), image.as_str(), "must not have leading or trailing whitespace");
        }
        match spec.image_pull_policy.as_deref() {
            None | Some("Always" | "IfNotPresent" | "Never") => {}
            Some(other) => self.faults.unsupported(&self.at("imagePullPolicy"), other, &["Always", "IfNotPresent", "Never"]),
        }
        let env = self.env(spec.env);
        let lookup = |name: &str| env.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let expanded = |words: Vec<String>| -> Vec<String> { words.iter().map(|word| expand(word, lookup)).collect() };
        let probe = |kind, spec: Option<ProbeSpec>, faults: &mut Faults, path: &str| {
            spec.map(|spec| {
                let field = format!("{path}.{}Probe", ProbeKind::word(kind));
                probe_plan(kind, spec, &field, faults, lookup)
            })
        };
        let own = policy(spec.restart_policy.as_deref(), &self.at("restartPolicy"), self.faults);
        let (startup, liveness, readiness) = (
            probe(ProbeKind::Startup, spec.startup_probe, self.faults, &self.path),
            probe(ProbeKind::Liveness, spec.liveness_probe, self.faults, &self.path),
            probe(ProbeKind::Readiness, spec.readiness_probe, self.faults, &self.path),
        );
        let (command, args) = (expanded(spec.command), expanded(spec.args));
        AdmittedContainer {
            extensions: annotation::of_manifest(&name, annotations, self.faults),
            name,
            image,
            command,
            args,
            working_dir: spec.working_dir,
            ports: self.ports(spec.ports),
            mounts: self.mounts(spec.volume_mounts, volumes),
            env,
            restart_policy: own.unwrap_or(pod_policy),
            startup,
            liveness,
            readiness,
        }
    }

    /// Values may refer to variables that are already defined.
    fn env(&mut self, specs: Vec<crate::pod::EnvVar>) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        for (n, spec) in specs.into_iter().enumerate() {
            let path = self.at(&format!("env[{n}].name"));
            let name = spec.name.unwrap_or_default();
            if name.is_empty() {
                self.faults.required(&path, "");
            } else if !name.chars().all(|c| c.is_ascii_graphic() && c != '=') {
                let rule = "environment variable names must be printable ASCII characters other than '='";
                self.faults.invalid(&path, name.as_str(), rule);
            }
            let lookup = |wanted: &str| env.iter().rev().find(|(other, _)| other == wanted).map(|(_, value)| value.clone());
            let value = expand(&spec.value.unwrap_or_default(), lookup);
            env.push((name, value));
        }
        env
    }

    fn ports(&mut self, specs: Vec<crate::pod::ContainerPort>) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for (n, spec) in specs.into_iter().enumerate() {
            let path = self.at(&format!("ports[{n}]"));
            let number = match spec.container_port {
                None => {
                    self.faults.required(&format!("{path}.containerPort"), "");
                    0
                }
                Some(number) => u16::try_from(number).ok().filter(|number| *number > 0).unwrap_or_else(|| {
                    self.faults.invalid(&format!("{path}.containerPort"), number, "must be between 1 and 65535, inclusive");
                    0
                }),
            };
            let protocol = spec.protocol.unwrap_or_else(|| "TCP".to_owned());
            if !["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) {
                self.faults.unsupported(&format!("{path}.protocol"), &protocol, &["SCTP", "TCP", "UDP"]);
            }
            if let Some(name) = &spec.name {
                self.port_name(name, &format!("{path}.name"), &ports);
            }
            ports.push(Port { name: spec.name, port: number, protocol });
        }
        ports
    }

    fn port_name(&mut self, name: &str, path: &str, before: &[Port]) {
        let only = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let rules = [
            (name.len() > 15, "must be no more than 15 characters"),
            (!name.chars().all(only), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
            (!name.chars().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
            (name.contains("--"), "must not contain consecutive hyphens"),
            (name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen"),
        ];
        for (_, rule) in rules.into_iter().filter(|(broken, _)| *broken) {
            self.faults.invalid(path, name, rule);
        }
        if before.iter().any(|port| port.name.as_deref() == Some(name)) {
            self.faults.duplicate(path, name);
        }
    }

    fn mounts(&mut self, specs: Vec<crate::pod::VolumeMount>, volumes: &[Volume]) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::new();
        for (n, spec) in specs.into_iter().enumerate() {
            let at = self.at(&format!("volumeMounts[{n}]"));
            let volume = spec.name.unwrap_or_default();
            if volume.is_empty() {
                self.faults.required(&format!("{at}.name"), "");
            } else if !volumes.iter().any(|other| other.name == volume) {
                self.faults.not_found(&format!("{at}.name"), &volume);
            }
            let path = spec.mount_path.unwrap_or_default();
            if path.is_empty() {
                self.faults.required(&format!("{at}.mountPath"), "");
            } else if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                self.faults.invalid(&format!("{at}.mountPath"), path.as_str(), "must be an absolute path without '..'");
            } else if mounts.iter().any(|other| other.path == path) {
                self.faults.invalid(&format!("{at}.mountPath"), path.as_str(), "must be unique");
            }
            mounts.push(Mount { volume, path, read_only: spec.read_only.unwrap_or(false) });
        }
        mounts
    }
}

/// A probe as meant. Zeroes are defaults, as Kubernetes' defaulting has it; a probe with faults comes out with something harmless.
pub(crate) fn probe_plan(
    kind: ProbeKind,
    spec: ProbeSpec,
    path: &str,
    faults: &mut Faults,
    lookup: impl Fn(&str) -> Option<String>,
) -> ProbePlan {
    let command = handler(&spec, path, faults).unwrap_or_default();
    let mut number = |field: &str, value: Option<i32>, default: u32| -> u32 {
        match value.unwrap_or(0) {
            0 => default,
            value => u32::try_from(value).unwrap_or_else(|_negative| {
                faults.invalid(&format!("{path}.{field}"), value, "must be greater than or equal to 0");
                default
            }),
        }
    };
    let initial_delay = number("initialDelaySeconds", spec.initial_delay_seconds, 0);
    let timeout = number("timeoutSeconds", spec.timeout_seconds, 1);
    let period = number("periodSeconds", spec.period_seconds, 10);
    let success_threshold = number("successThreshold", spec.success_threshold, 1);
    let failure_threshold = number("failureThreshold", spec.failure_threshold, 3);
    if kind != ProbeKind::Readiness && success_threshold != 1 {
        faults.invalid(&format!("{path}.successThreshold"), success_threshold, "must be 1");
    }
    let termination_grace = spec.termination_grace_period_seconds.and_then(|seconds| {
        let at = format!("{path}.terminationGracePeriodSeconds");
        match (kind, u64::try_from(seconds)) {
            (ProbeKind::Readiness, _) => faults.invalid(&at, seconds, "must not be set for readinessProbes"),
            (ProbeKind::Startup | ProbeKind::Liveness, Ok(seconds @ 1..)) => return Some(Duration::from_secs(seconds)),
            (ProbeKind::Startup | ProbeKind::Liveness, Ok(0) | Err(_)) => faults.invalid(&at, seconds, "must be greater than 0"),
        }
        None
    });
    ProbePlan {
        handler: ProbeHandler::Exec { command: command.iter().map(|word| expand(word, &lookup)).collect() },
        initial_delay: Duration::from_secs(initial_delay.into()),
        period: Duration::from_secs(period.into()),
        timeout: Duration::from_secs(timeout.into()),
        success_threshold,
        failure_threshold,
        termination_grace,
    }
}

fn handler(spec: &ProbeSpec, path: &str, faults: &mut Faults) -> Option<Vec<String>> {
    // Examined in this order; the first is the handler, every further one is too many.
    let given = spec.exec.iter().map(|_| "exec").chain(spec.other_handlers.iter().copied());
    for extra in given.skip(1) {
        faults.forbidden(&format!("{path}.{extra}"), "may not specify more than 1 handler type");
    }
    match (&spec.exec, spec.other_handlers.first()) {
        (Some(command), _) if command.is_empty() => faults.required(&format!("{path}.exec.command"), ""),
        (Some(command), _) => return Some(command.clone()),
        (None, Some(other)) => {
            faults.add(&format!("{path}.{other}"), FaultKind::NotSupported, None, "use an exec probe");
        }
        (None, None) => faults.required(path, "must specify a handler type"),
    }
    None
}

/// RFC 1123 label: at most 63 characters. The rule for namespaces.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123 subdomain: labels of any length joined by dots, 253 characters in all. The rule for names of pods.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let part = |part: &str| !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= 253 && text.split('.').all(part)
}
