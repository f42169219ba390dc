//! Making a container: everything that Create asks for, or nothing.
//!
//! ```text
//! options, bundle, annotations read ─▶ root file system ─▶ streams ─▶ runtime create ─▶ written down ─▶ owner
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hshim_health::Supervisor;
use hshim_health::annotation;
use hshim_health::input::RunNumber;
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::plan::{BackoffPlan, ContainerPlan, Origin, PodPlan, RestartPolicy};
use hshim_health::record::{Launch, RuntimeCommand, Stdio, Supervision, VERSION};
use hshim_health::restart_owner::RestartOwner;
use tokio::sync::mpsc;

use super::cgroups::TaskCgroups;
use super::error::TaskError;
use super::events::{TaskCreate, TaskIo};
use super::health::Health;
use super::messages::CreateTaskRequest;
use super::mounts;
use super::namespaces::JoinedNamespaces;
use super::options::Options;
use super::owner::{Asked, ONLY, Owner, Task};
use super::presets;
use super::record::{self, TaskRecord};
use super::shared::Shared;
use crate::bundle_spec::BundleSpec;
use crate::clock;
use crate::output::Owner as StreamOwner;
use crate::pod::Pod;
use crate::records::{self, Records};
use crate::spawn::InheritedStdio;
use crate::start::{self, Before};
use crate::streams::{Holder, Purpose, Streams, Wanted};

const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";
const POD_NAME: &str = "io.kubernetes.cri.sandbox-name";
const POD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
const POD_UID: &str = "io.kubernetes.cri.sandbox-uid";
const STOP_SIGNALS: [&str; 2] = ["io.containerd.image.config.stop-signal", "org.opencontainers.image.stopSignal"];

/// What is decided before anything is done.
struct Design {
    request: CreateTaskRequest,
    bundle: PathBuf,
    spec: BundleSpec,
    options: Options,
    runtime: RuntimeCommand,
    plan: PodPlan,
    asked: Option<(RestartOwner, Option<String>)>,
}

/// Creates a container; its owner answers `calls` from then on. The process id is the answer.
pub(super) async fn create(
    request: CreateTaskRequest,
    shared: &Arc<Shared>,
    calls: mpsc::UnboundedReceiver<Asked>,
) -> Result<(u32, Owner), TaskError> {
    presets::merge(&request, shared).await?;
    let design = Design::new(request, &shared.namespace)?;
    let rootfs = design.bundle.join("rootfs");
    mounts::mount_all(&design.request.rootfs, &rootfs).await?;
    let dir = SupervisionDir(layout::bundle_dir(&design.runtime.root, &design.request.id));
    let created = design.build(shared, &dir, calls).await;
    if created.is_err() {
        if let Err(error) = mounts::unmount_below(&rootfs).await {
            log::error!("{error}");
        }
        record::forget(&design.bundle, &dir.0);
    }
    created
}

impl Design {
    fn new(request: CreateTaskRequest, namespace: &str) -> Result<Self, TaskError> {
        if !request.checkpoint.is_empty() {
            return Err(TaskError::Unimplemented("containers cannot be restored from a checkpoint".to_owned()));
        }
        let bundle = PathBuf::from(&request.bundle);
        if !bundle.is_absolute() {
            return Err(TaskError::InvalidArgument(format!("the bundle {:?} is not an absolute path", request.bundle)));
        }
        let options = Options::parse(request.options.as_ref())?;
        let spec = BundleSpec::load(&bundle).map_err(|error| TaskError::InvalidArgument(error.to_string()))?;
        let runtime = options.runtime(namespace, spec.has_systemd_cgroup())?;
        let asked = asked_for(&request.id, &spec.annotations)?;
        let plan = asked.as_ref().map_or_else(|| unsupervised(&request.id), |asked| asked.plan.clone());
        let asked = asked.map(|asked| (asked.restart_owner, asked.status_file));
        Ok(Self { request, bundle, spec, options, runtime, plan, asked })
    }

    fn wanted(&self) -> Wanted {
        let CreateTaskRequest { stdin, stdout, stderr, terminal, .. } = self.request.clone();
        Wanted { stdin, stdout, stderr, terminal }
    }

    async fn build(
        &self,
        shared: &Arc<Shared>,
        dir: &SupervisionDir,
        calls: mpsc::UnboundedReceiver<Asked>,
    ) -> Result<(u32, Owner), TaskError> {
        let id = self.request.id.as_str();
        std::fs::create_dir_all(&dir.0).map_err(|error| TaskError::Failed(format!("make {}: {error}", dir.0.display())))?;
        let streams = self.open_streams(shared).await?;
        let pod = self.pod(shared, dir, &streams)?;
        // Written before there is anything to clean up.
        let (files, shim) = (dir.0.clone(), std::process::id());
        let mut record = TaskRecord { runtime: self.runtime.clone(), process: None, files, shim };
        record.save(&self.bundle)?;
        let init = start::create(&pod, ONLY, RunNumber(0), Before::Nothing).await?;
        let pid = init.child.pid();
        record.process = Some(init.identity.clone());
        record.save(&self.bundle)?;
        let health = self.health(dir)?.map(|mut health| {
            health.remember_process(record.process.clone());
            health
        });
        let task = Task {
            id: id.to_owned(),
            bundle: self.bundle.clone(),
            wanted: self.wanted(),
            shared: Arc::clone(shared),
            pod: Arc::new(pod),
            streams: Arc::new(streams),
            cgroups: TaskCgroups::of(pid),
            stop_signal: self.stop_signal(),
            joined: JoinedNamespaces::of(&self.spec),
        };
        let restart_owner = self.asked.as_ref().map_or(RestartOwner::Shim, |(owner, _)| *owner);
        let agent = *shared.agent.watch().borrow();
        let supervisor = Supervisor::new(self.plan.clone(), clock::now()).beside(agent, restart_owner);
        let owner = Owner::new(task, supervisor, health, init, calls)?;
        self.publish(shared, pid);
        Ok((pid, owner))
    }

    async fn open_streams(&self, shared: &Arc<Shared>) -> Result<Streams, TaskError> {
        let StreamOwner { uid, gid } = self.spec.owner();
        let Options { io_uid, io_gid, .. } = self.options;
        let owner = StreamOwner { uid: if io_uid == 0 { uid } else { io_uid }, gid: if io_gid == 0 { gid } else { io_gid } };
        let (namespace, children) = (shared.namespace.as_str(), &shared.children);
        let purpose = Purpose { holder: Holder::Init, owner, namespace, id: &self.request.id, children };
        Ok(Streams::open(&self.wanted(), &purpose).await?)
    }

    fn pod(&self, shared: &Arc<Shared>, dir: &SupervisionDir, streams: &Streams) -> Result<Pod, TaskError> {
        let mut runtime = self.runtime.clone();
        if let Some(socket) = streams.console_socket() {
            runtime.create_flags.extend(["--console-socket".to_owned(), socket.to_string_lossy().into_owned()]);
        }
        let id = self.request.id.clone();
        let launch = Launch { id, bundle: self.bundle.clone(), rootfs: None, stdio: Stdio::Inherited };
        let root = runtime.root.clone();
        let plan = self.plan.clone();
        let supervision = Supervision { version: VERSION, plan, runtime, data: root.clone(), root, launches: vec![launch] };
        records::replace(&dir.supervision(), &supervision)?;
        let stdio = InheritedStdio::new(streams.stdio()?);
        Ok(Pod::of_task(supervision, dir.clone(), Arc::clone(&shared.children), stdio)?)
    }

    fn health(&self, dir: &SupervisionDir) -> Result<Option<Health>, TaskError> {
        let Some((_, status_file)) = self.asked.clone() else { return Ok(None) };
        Ok(Some(Health::new(Records::open(dir.clone())?, status_file)))
    }

    fn stop_signal(&self) -> Option<i32> {
        STOP_SIGNALS.iter().find_map(|key| signal_number(self.spec.annotations.get(*key)?))
    }

    fn publish(&self, shared: &Shared, pid: u32) {
        let CreateTaskRequest { id, bundle, rootfs, stdin, stdout, stderr, terminal, .. } = self.request.clone();
        let io = Some(TaskIo { stdin, stdout, stderr, terminal });
        shared.events.publish(TaskCreate { container_id: id, bundle, rootfs, io, checkpoint: String::new(), pid });
    }
}

/// The health that the annotations ask for; a pause container is never supervised.
fn asked_for(id: &str, annotations: &BTreeMap<String, String>) -> Result<Option<annotation::Task>, TaskError> {
    if is_sandbox(annotations) {
        return Ok(None);
    }
    let value = |key: &str| annotations.get(key).filter(|value| !value.is_empty());
    let name = value(CONTAINER_NAME).filter(|name| !name.contains(['/', '\0']) && !name.starts_with('.'));
    let name = name.map_or(id, String::as_str);
    let asked = annotation::task(name, annotations).map_err(|faults| TaskError::InvalidArgument(faults.to_string()))?;
    Ok(asked.map(|mut asked| {
        for (key, field) in
            [(POD_NAME, &mut asked.plan.name), (POD_NAMESPACE, &mut asked.plan.namespace), (POD_UID, &mut asked.plan.uid)]
        {
            if let Some(value) = value(key) {
                field.clone_from(value);
            }
        }
        asked
    }))
}

/// A pause container.
pub(super) fn is_sandbox(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(CONTAINER_TYPE).is_some_and(|kind| kind == "sandbox")
}

fn unsupervised(id: &str) -> PodPlan {
    let container = ContainerPlan {
        name: id.to_owned(),
        image: String::new(),
        restart_policy: RestartPolicy::Never,
        startup: None,
        liveness: None,
        readiness: None,
        backoff: BackoffPlan::CONTAINERD,
        errors_count_as_failures: false,
        stop_signal: libc::SIGTERM,
    };
    PodPlan {
        name: id.to_owned(),
        namespace: "default".to_owned(),
        uid: id.to_owned(),
        origin: Origin::Bundle,
        termination_grace: std::time::Duration::from_secs(30),
        containers: vec![container],
    }
}

/// `SIGQUIT`, `QUIT` or `3`.
fn signal_number(text: &str) -> Option<i32> {
    let name = text.trim().to_uppercase();
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const PROBE: &str = r#"{"exec":{"command":["true"]}}"#;

    #[test]
    fn only_the_container_that_is_named_is_supervised_and_a_sandbox_never() {
        let pod = annotations(&[("web.hshim.dev/livenessProbe", PROBE), (CONTAINER_NAME, "web"), (POD_NAME, "shop")]);
        let asked = asked_for("0123", &pod).unwrap().unwrap();
        assert_eq!((asked.plan.name.as_str(), asked.plan.containers[0].name.as_str()), ("shop", "web"));
        let other = annotations(&[("web.hshim.dev/livenessProbe", PROBE), (CONTAINER_NAME, "db")]);
        assert_eq!(asked_for("0123", &other).unwrap(), None);
        let pause = annotations(&[("hshim.dev/livenessProbe", PROBE), (CONTAINER_TYPE, "sandbox")]);
        assert_eq!(asked_for("0123", &pause).unwrap(), None);
    }

    #[test]
    fn a_fault_names_annotation_and_field() {
        let typo = annotations(&[("hshim.dev/livenessProbe", r#"{"exec":{"command":["true"]},"periodSecond":1}"#)]);
        let error = asked_for("c", &typo).unwrap_err();
        assert!(matches!(error, TaskError::InvalidArgument(_)));
        assert!(error.to_string().contains("annotations[\"hshim.dev/livenessProbe\"].periodSecond"), "{error}");
    }

    #[test]
    fn stop_signals_are_read_in_each_spelling() {
        assert_eq!(
            ["SIGQUIT", "quit", "3", "SIGWINCH", "nonsense", "99"].map(signal_number),
            [Some(3), Some(3), Some(3), Some(28), None, None]
        );
    }
}
