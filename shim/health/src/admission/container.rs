//! A container of a pod: its own fields and its environment; ports, mounts and probes have files of their own.

use super::mount::Mount;
use super::name::{LABEL_RULE, is_label};
use super::policy;
use super::port::Port;
use super::probe::probe_plan;
use super::volume::Volume;
use crate::annotation::{self, OfManifest};
use crate::expansion::expand;
use crate::faults::Faults;
use crate::plan::{ContainerPlan, ProbeKind, ProbePlan, RestartPolicy};
use crate::pod::{ContainerSpec, EnvVar, ProbeSpec};

/// `SIGTERM`.
const TERMINATE: i32 = 15;

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

impl AdmittedContainer {
    pub(super) fn plan(&self) -> ContainerPlan {
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

/// Where the faults of one container are noted.
pub(super) struct Desk<'a> {
    pub(super) path: String,
    pub(super) faults: &'a mut Faults,
}

impl Desk<'_> {
    pub(super) fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    pub(super) fn container(
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
    fn env(&mut self, specs: Vec<EnvVar>) -> Vec<(String, String)> {
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
}
