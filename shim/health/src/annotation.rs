//! Health asked for by annotations of an OCI bundle: `hshim.dev/…`, the value being the Kubernetes object as JSON.
//!
//! A key may name the container in its prefix, `web.hshim.dev/livenessProbe`; of a bundle only the bare form or its own name counts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::admission::{policy, probe_plan};
use crate::faults::{FaultKind, Faults};
use crate::fields::{Fields, below};
use crate::plan::{BackoffPlan, ContainerPlan, Origin, PodPlan, ProbeKind, ProbePlan, RestartBudget, RestartPolicy};
use crate::pod::read_probe;
use crate::restart_owner::RestartOwner;

pub(crate) const PREFIX: &str = "hshim.dev/";
const KNOWN: [&str; 7] = [
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "backoff",
    "supervision",
];
/// No health: what hshim itself writes into a container's state, and what presets look at.
const OTHERS: [&str; 3] = ["phase", "labels", "excludePresets"];
const TERMINATE: i32 = 15;
const GRACE: Duration = Duration::from_secs(30);

/// The plan that the annotations of bundle `id` ask for; none when they ask for nothing.
///
/// # Errors
/// Every unknown `hshim.dev/` key, every value that is not JSON, every fault in it, with the annotation's name in the path.
pub fn plan(id: &str, annotations: &BTreeMap<String, String>) -> Result<Option<PodPlan>, Faults> {
    Ok(read(id, annotations, Host::Alone)?.map(|asked| asked.plan))
}

/// The same for a container of containerd: restarts are quick and bounded, and may be left to the kubelet.
///
/// # Errors
/// As [`plan`].
pub fn task(name: &str, annotations: &BTreeMap<String, String>) -> Result<Option<Task>, Faults> {
    read(name, annotations, Host::Containerd)
}

/// What the annotations of a container of containerd ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// To be supervised so.
    pub plan: PodPlan,
    /// Who restarts it.
    pub restart_owner: RestartOwner,
    /// A file in the container that exists exactly while the container is ready.
    pub status_file: Option<String>,
}

/// Who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// A bundle.
    Alone,
    /// containerd, and perhaps a kubelet.
    Containerd,
}

impl Host {
    const fn backoff(self) -> BackoffPlan {
        match self {
            Self::Alone => BackoffPlan::KUBERNETES,
            Self::Containerd => BackoffPlan::CONTAINERD,
        }
    }
}

/// What a manifest asks for in annotations, because Kubernetes has no fields for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfManifest {
    /// `hshim.dev/backoff`, and the budget of `hshim.dev/supervision`.
    pub backoff: BackoffPlan,
    /// Of all its probes.
    pub period: Option<Duration>,
    /// As in [`ContainerPlan`].
    pub errors_count_as_failures: bool,
}

/// The same for one container of a manifest: `hshim.dev/backoff` and `hshim.dev/supervision`, over them the keys with its name. The other
/// keys are there for containerd; a manifest has fields for what they say.
pub(crate) fn of_manifest(name: &str, annotations: &[(String, String)], faults: &mut Faults) -> OfManifest {
    let mut asked = BTreeMap::new();
    for prefix in [PREFIX.to_owned(), format!("{name}.{PREFIX}")] {
        for field in ["backoff", "supervision"] {
            let key = format!("{prefix}{field}");
            if let Some((_, value)) = annotations.iter().find(|(other, _)| *other == key) {
                asked.insert(field, (format!("metadata.annotations[{key}]"), value.as_str()));
            }
        }
    }
    let mut found = Faults::default();
    let mut reader = AnnotationReader { asked, faults: &mut found, host: Host::Alone };
    let Extensions { period, errors_count_as_failures, budget, .. } = reader.supervision();
    let backoff = BackoffPlan { budget, ..reader.backoff() };
    // What is wrong for every container is said once.
    for fault in found.0 {
        if !faults.0.contains(&fault) {
            faults.0.push(fault);
        }
    }
    OfManifest { backoff, period, errors_count_as_failures }
}

fn read(id: &str, annotations: &BTreeMap<String, String>, host: Host) -> Result<Option<Task>, Faults> {
    let mut faults = Faults::default();
    let asked = collect(id, annotations, &mut faults);
    if asked.is_empty() {
        return faults.or(None);
    }
    let mut reader = AnnotationReader { asked, faults: &mut faults, host };
    let supervision = reader.supervision();
    let mut probe = |kind| reader.probe(kind, &supervision);
    let (startup, liveness, readiness) = (probe(ProbeKind::Startup), probe(ProbeKind::Liveness), probe(ProbeKind::Readiness));
    let container = ContainerPlan {
        name: id.to_owned(),
        image: String::new(),
        restart_policy: reader.restart_policy(),
        startup,
        liveness,
        readiness,
        backoff: BackoffPlan { budget: supervision.budget.or(host.backoff().budget), ..reader.backoff() },
        errors_count_as_failures: supervision.errors_count_as_failures,
        stop_signal: TERMINATE,
    };
    let plan = PodPlan {
        name: id.to_owned(),
        namespace: "default".to_owned(),
        uid: id.to_owned(),
        origin: Origin::Bundle,
        termination_grace: reader.grace(),
        containers: vec![container],
    };
    let Extensions { restart_owner, status_file, .. } = supervision;
    faults.or(Some(Task { plan, restart_owner, status_file }))
}

/// The annotations that are about this container, by their names without prefix.
fn collect<'a>(id: &str, annotations: &'a BTreeMap<String, String>, faults: &mut Faults) -> BTreeMap<&'a str, (String, &'a str)> {
    let own_prefix = format!("{id}.{PREFIX}");
    let mut asked = BTreeMap::new();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(&own_prefix)) else { continue };
        let path = format!("annotations[\"{key}\"]");
        if OTHERS.contains(&name) {
            continue;
        }
        if KNOWN.contains(&name) {
            asked.insert(name, (path, value.as_str()));
        } else {
            faults.add(&path, FaultKind::Unknown, None, &format!("known are {PREFIX}{{{}}}", KNOWN.join(",")));
        }
    }
    asked
}

/// hshim's own extensions.
#[derive(Clone, Default)]
struct Extensions {
    period: Option<Duration>,
    errors_count_as_failures: bool,
    budget: Option<RestartBudget>,
    restart_owner: RestartOwner,
    status_file: Option<String>,
}

struct AnnotationReader<'a, 'f> {
    asked: BTreeMap<&'a str, (String, &'a str)>,
    faults: &'f mut Faults,
    host: Host,
}

impl AnnotationReader<'_, '_> {
    /// The value of an annotation as JSON, and its path.
    fn json(&mut self, name: &str) -> Option<(Value, String)> {
        let (path, text) = self.asked.get(name)?;
        match serde_json::from_str(text) {
            Ok(value) => Some((value, path.clone())),
            Err(error) => {
                self.faults.add(path, FaultKind::Invalid, None, &format!("must be JSON: {error}"));
                None
            }
        }
    }

    fn probe(&mut self, kind: ProbeKind, extensions: &Extensions) -> Option<ProbePlan> {
        let (value, path) = self.json(&format!("{}Probe", kind.word()))?;
        let spec = read_probe(&value, &path, self.faults)?;
        let plan = probe_plan(kind, spec, &path, self.faults, |_| None);
        Some(ProbePlan { period: extensions.period.unwrap_or(plan.period), ..plan })
    }

    /// Written bare, as in a manifest, or as a JSON string.
    fn restart_policy(&mut self) -> RestartPolicy {
        let Some((path, text)) = self.asked.get("restartPolicy") else { return RestartPolicy::AfterProbeKill };
        let word = text.trim().trim_matches('"');
        policy(Some(word), path, self.faults).unwrap_or(RestartPolicy::Never)
    }

    fn grace(&mut self) -> Duration {
        let Some((value, path)) = self.json("terminationGracePeriodSeconds") else { return GRACE };
        let Some(seconds) = value.as_u64() else {
            self.faults.invalid(&path, value, "must be a whole number of seconds, 0 or more");
            return GRACE;
        };
        Duration::from_secs(seconds)
    }

    fn backoff(&mut self) -> BackoffPlan {
        let standard = self.host.backoff();
        let Some((value, path)) = self.json("backoff") else { return standard };
        let Some(mut fields) = Fields::open(&value, &path, self.faults) else { return standard };
        let mut time = |name, default| milliseconds(&mut fields, name, self.faults).unwrap_or(default);
        let backoff = BackoffPlan {
            initial: time("initialMilliseconds", standard.initial),
            cap: time("capMilliseconds", standard.cap),
            reset_after: time("resetAfterMilliseconds", standard.reset_after),
            budget: standard.budget,
        };
        fields.finish(self.faults);
        if backoff.cap < backoff.initial {
            let cap = backoff.cap.as_millis().to_string();
            let detail = "must not be less than initialMilliseconds";
            self.faults.add(&below(&path, "capMilliseconds"), FaultKind::Invalid, Some(cap), detail);
        }
        backoff
    }

    fn supervision(&mut self) -> Extensions {
        let Some((value, path)) = self.json("supervision") else { return Extensions::default() };
        let Some(mut fields) = Fields::open(&value, &path, self.faults) else { return Extensions::default() };
        let mut extensions = Extensions {
            period: milliseconds(&mut fields, "periodMilliseconds", self.faults),
            errors_count_as_failures: fields.boolean("errorsCountAsFailures", self.faults).unwrap_or(false),
            budget: fields.nested("restartBudget", self.faults, budget),
            ..Extensions::default()
        };
        match self.host {
            // Nobody else is there who could restart.
            Host::Alone => fields.refuse(&["restartOwner", "statusFile"]),
            Host::Containerd => {
                extensions.restart_owner = restart_owner(&mut fields, self.faults);
                extensions.status_file = status_file(&mut fields, self.faults);
            }
        }
        fields.finish(self.faults);
        extensions
    }
}

fn restart_owner(fields: &mut Fields<'_>, faults: &mut Faults) -> RestartOwner {
    match fields.string("restartOwner", faults).as_deref() {
        None | Some("shim") => RestartOwner::Shim,
        Some("kubelet") => RestartOwner::Kubelet,
        Some("auto") => RestartOwner::Auto,
        Some(other) => {
            faults.invalid(&fields.path_of("restartOwner"), other, "must be shim, kubelet or auto");
            RestartOwner::Shim
        }
    }
}

fn status_file(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<String> {
    let path = fields.string("statusFile", faults)?;
    if !path.starts_with('/') || path.ends_with('/') || path.split('/').any(|part| part == "..") {
        let detail = "must be the absolute path of a file in the container, without ..";
        faults.invalid(&fields.path_of("statusFile"), path.as_str(), detail);
    }
    Some(path)
}

fn budget(value: &Value, path: &str, faults: &mut Faults) -> Option<RestartBudget> {
    let mut fields = Fields::open(value, path, faults)?;
    let restarts = fields.int32("restarts", faults);
    let within = milliseconds(&mut fields, "withinMilliseconds", faults);
    for (name, missing) in [("restarts", restarts.is_none()), ("withinMilliseconds", within.is_none())] {
        if missing {
            faults.add(&fields.path_of(name), FaultKind::Required, None, "");
        }
    }
    if let Some(negative @ ..0) = restarts {
        faults.invalid(&fields.path_of("restarts"), negative, "must be 0 or more");
    }
    fields.finish(faults);
    Some(RestartBudget { restarts: u32::try_from(restarts?).unwrap_or_default(), within: within? })
}

fn milliseconds(fields: &mut Fields<'_>, name: &'static str, faults: &mut Faults) -> Option<Duration> {
    let count = fields.int64(name, faults)?;
    match u64::try_from(count) {
        Ok(count @ 1..) => Some(Duration::from_millis(count)),
        Ok(0) | Err(_) => {
            faults.invalid(&fields.path_of(name), count, "must be greater than 0");
            None
        }
    }
}
