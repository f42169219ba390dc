//! `get pods`: what there is, as a table, as objects, once or whenever it changes.

use std::collections::BTreeMap;
use std::process::ExitCode;

use hshim_health::columns::Row;
use hshim_health::layout;
use jiff::Timestamp;
use serde_json::Value;

use super::WrongUsage;
use super::cli::{GetArgs, ObjectFormat};
use super::columns_view::{Cell, ColumnsView};
use super::pod_name::{DEFAULT_NAMESPACE, is_resource};
use super::pod_object;
use super::pod_reference::PodReference;
use super::pod_view::{Namespaces, NoSuchPod, PodView};
use super::screen::{self, Tone};
use super::watch::Watch;
use crate::cli::Globals;

/// STATUS words that mean that all is well, or on its way.
const CALM: [&str; 6] = ["Running", "Completed", "Succeeded", "Pending", "ContainerCreating", "Terminating"];

/// Performs `get`.
pub(crate) fn get(args: &GetArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::new(args)?;
    if args.watch { watch(args, &wanted, globals) } else { once(args, &wanted, globals) }
}

/// Which pods.
struct Wanted {
    namespaces: Namespaces,
    /// None when all are.
    names: Vec<PodReference>,
}

impl Wanted {
    fn new(args: &GetArgs) -> Result<Self, WrongUsage> {
        if let Some(kind) = args.resources.first().filter(|word| !word.contains('/') && !is_resource(word)) {
            return Err(WrongUsage(format!("{kind:?} is no kind of resource: get pods, get pod NAME, get pod/NAME")));
        }
        let names = PodReference::parse_all(&args.resources).map_err(|error| WrongUsage(error.to_string()))?;
        if let Some(other) = names.iter().find(|name| !matches!(name, PodReference::Pod(_))) {
            return Err(WrongUsage(format!("{other} is no pod; \"hshim list\" and \"hshim state\" show bundles")));
        }
        if args.all_namespaces && !names.is_empty() {
            return Err(WrongUsage("a pod cannot be named across all namespaces: give its --namespace".to_owned()));
        }
        let namespace = args.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let namespaces = if args.all_namespaces { Namespaces::All } else { Namespaces::One(namespace) };
        Ok(Self { namespaces, names })
    }

    fn has(&self, pod: &PodView) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| matches!(name, PodReference::Pod(name) if name == pod.name()))
    }

    fn read(&self, globals: &Globals) -> anyhow::Result<Vec<PodView>> {
        let mut pods = PodView::all(&globals.root, &self.namespaces)?;
        pods.retain(|pod| self.has(pod));
        Ok(pods)
    }

    /// The names that no pod has.
    fn missing(&self, pods: &[PodView]) -> Vec<NoSuchPod> {
        let Namespaces::One(namespace) = &self.namespaces else { return Vec::new() };
        let is_there = |name: &PodReference| pods.iter().any(|pod| *name == PodReference::Pod(pod.name().to_owned()));
        self.names.iter().filter(|name| !is_there(name)).map(|name| NoSuchPod::new(name, namespace)).collect()
    }
}

fn once(args: &GetArgs, wanted: &Wanted, globals: &Globals) -> anyhow::Result<ExitCode> {
    let pods = wanted.read(globals)?;
    let missing = wanted.missing(&pods);
    if pods.is_empty() && missing.is_empty() && matches!(args.output, None | Some(ObjectFormat::Wide)) {
        screen::remark(&match &wanted.namespaces {
            Namespaces::All => "No resources found".to_owned(),
            Namespaces::One(namespace) => format!("No resources found in {namespace} namespace."),
        });
        return Ok(ExitCode::SUCCESS);
    }
    let mut printer = Printer::new(args);
    let text = match args.output {
        // Who named one pod gets one object.
        Some(ObjectFormat::Json | ObjectFormat::Yaml) if wanted.names.len() != 1 => printer.list(&pods)?,
        _ => printer.print(&pods)?,
    };
    screen::put(text.as_bytes())?;
    for error in &missing {
        crate::logging::report(&error.to_string());
    }
    Ok(ExitCode::from(u8::from(!missing.is_empty())))
}

/// What a user would notice of a pod: a change of anything else prints no line.
type Noticed = (String, String, u64, Option<String>);

fn watch(args: &GetArgs, wanted: &Wanted, globals: &Globals) -> anyhow::Result<ExitCode> {
    let watch = Watch::new()?;
    let pods_dir = layout::pods_dir(&globals.root);
    let mut printer = Printer::new(args);
    let mut known: BTreeMap<FullName, Noticed> = BTreeMap::new();
    let mut last: BTreeMap<FullName, PodView> = BTreeMap::new();
    loop {
        watch.own_directory(&pods_dir)?;
        // Watched first and read then: what changes in between is looked at once more.
        for entry in std::fs::read_dir(&pods_dir)?.flatten() {
            watch.directory(&entry.path())?;
        }
        let mut pods = wanted.read(globals)?;
        pods.retain(|pod| !pod.is_passing());
        let is_there = |name: &FullName| pods.iter().any(|pod| full_name(pod) == *name) || exists(globals, name);
        known.retain(|name, _| is_there(name));
        // As kubectl does, a pod that is gone is shown once more as it was.
        let (there, gone) = last.into_iter().partition::<BTreeMap<_, _>, _>(|(name, _)| is_there(name));
        last = there;
        let changed: Vec<&PodView> = pods.iter().filter(|pod| note(&mut known, pod, args.output)).collect();
        screen::put(printer.print(gone.values().chain(changed))?.as_bytes())?;
        watch.wait(pods.iter().filter_map(|pod| pod.shim.as_ref()))?;
        last.extend(pods.into_iter().map(|pod| (full_name(&pod), pod)));
    }
}

/// Namespace and name.
type FullName = (String, String);

fn full_name(pod: &PodView) -> FullName {
    let (namespace, name) = pod.full_name();
    (namespace.to_owned(), name.to_owned())
}

fn exists(globals: &Globals, (namespace, name): &FullName) -> bool {
    layout::pod_dir(&globals.root, namespace, name).exists()
}

/// True if there is something new to see.
fn note(known: &mut BTreeMap<FullName, Noticed>, pod: &PodView, output: Option<ObjectFormat>) -> bool {
    let Row { ready, status, .. } = pod.row(Timestamp::now());
    let containers = pod.status.iter().flat_map(|status| &status.containers);
    let restarts = containers.map(|container| u64::from(container.restart_count)).sum();
    // Objects are shown with everything that is in them.
    let whole = matches!(output, Some(ObjectFormat::Json | ObjectFormat::Yaml)).then(|| format!("{:?}", pod.status));
    let noticed = (ready, status, restarts, whole);
    let before = known.insert(full_name(pod), noticed.clone());
    before.as_ref() != Some(&noticed)
}

/// Prints pods in the form that was asked for.
struct Printer {
    output: Option<ObjectFormat>,
    with_namespace: bool,
    is_watching: bool,
    table: ColumnsView,
}

impl Printer {
    fn new(args: &GetArgs) -> Self {
        let wide = args.output == Some(ObjectFormat::Wide);
        let namespace = args.all_namespaces.then_some("NAMESPACE").into_iter();
        let further: &[&str] = if wide { &["IP", "NODE", "NOMINATED NODE", "READINESS GATES"] } else { &[] };
        let heading: Vec<&str> =
            namespace.chain(["NAME", "READY", "STATUS", "RESTARTS", "AGE"]).chain(further.iter().copied()).collect();
        let heading = (!args.no_headers).then_some(heading.as_slice());
        let table = ColumnsView::new(heading, screen::has_colours());
        Self { output: args.output, with_namespace: args.all_namespaces, is_watching: args.watch, table }
    }

    fn print<'a>(&mut self, pods: impl IntoIterator<Item = &'a PodView>) -> anyhow::Result<String> {
        let pods = pods.into_iter();
        match self.output {
            None | Some(ObjectFormat::Wide) => {
                let rows = pods.map(|pod| self.row(pod)).collect();
                Ok(self.table.print(rows))
            }
            Some(ObjectFormat::Name) => Ok(pods.map(|pod| format!("pod/{}\n", pod.name())).collect()),
            Some(ObjectFormat::Json) if self.is_watching => pods.map(|pod| Ok(format!("{}\n", pod_object::pod(pod)?))).collect(),
            Some(ObjectFormat::Json) => pods.map(|pod| pod_object::pretty(&pod_object::pod(pod)?)).collect(),
            Some(ObjectFormat::Yaml) => {
                let documents: Vec<String> =
                    pods.map(|pod| pod_object::yaml(&pod_object::pod(pod)?)).collect::<anyhow::Result<_>>()?;
                let begin = if self.is_watching { "---\n" } else { "" };
                Ok(documents.iter().map(|document| format!("{begin}{document}")).collect())
            }
        }
    }

    /// All as one document.
    fn list(&self, pods: &[PodView]) -> anyhow::Result<String> {
        let objects: Vec<Value> = pods.iter().map(pod_object::pod).collect::<anyhow::Result<_>>()?;
        let list = pod_object::list(objects);
        if self.output == Some(ObjectFormat::Yaml) { pod_object::yaml(&list) } else { pod_object::pretty(&list) }
    }

    fn row(&self, pod: &PodView) -> Vec<Cell> {
        let Row { ready, status, restarts, age } = pod.row(Timestamp::now());
        let tone = if CALM.contains(&status.as_str()) { Tone::Plain } else { Tone::Alarming };
        let namespace = self.with_namespace.then(|| Cell::from(pod.full_name().0));
        let mut row: Vec<Cell> = namespace.into_iter().collect();
        row.extend([pod.name().into(), ready.into(), Cell::toned(status, tone), restarts.into(), age.into()]);
        if self.output == Some(ObjectFormat::Wide) {
            row.extend(["<none>".into(), node_name().into(), "<none>".into(), "<none>".into()]);
        }
        row
    }
}

/// What this machine is called.
pub(crate) fn node_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "<unknown>".to_owned())
}
