//! From a manifest as written to a pod as meant: defaults filled in, every rule checked, all violations at once.
//!
//! Rules and texts: pkg/apis/core/validation and pkg/apis/core/v1/defaults.go of Kubernetes.

mod container;
mod mount;
mod name;
mod port;
mod probe;
mod volume;

use std::collections::BTreeMap;
use std::time::Duration;

pub use container::AdmittedContainer;
use container::Desk;
pub use mount::Mount;
use name::{LABEL_RULE, NAME_RULE};
pub use name::{is_label, is_subdomain};
pub use port::Port;
pub(crate) use probe::probe_plan;
use volume::volumes;
pub use volume::{HostPathKind, Volume, VolumeSource};

use crate::faults::Faults;
use crate::plan::{Origin, PodPlan, RestartPolicy};
use crate::pod::Pod;

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
