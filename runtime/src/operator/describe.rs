//! `describe`: everything about a pod, in the layout of `kubectl describe pod`.

use std::process::ExitCode;

use hshim_health::columns::probe_line;
use hshim_health::plan::{ContainerPlan, Origin};
use hshim_health::status::{ContainerState, ContainerStatus, Termination};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::cli::OnePodArgs;
use super::pod_view::PodView;
use super::{events, get, one_pod, screen, tab_stops};
use crate::cli::Globals;

const NONE: &str = "<none>";

/// Performs `describe`.
pub(crate) fn describe(args: &OnePodArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (_, pod) = one_pod(&args.pod, args.namespace.as_deref(), globals)?;
    let manifest = pod.manifest()?;
    let mut page = Page::default();
    head(&mut page, &pod, &manifest);
    containers(&mut page, &pod, &manifest);
    conditions(&mut page, &pod);
    volumes(&mut page, &manifest);
    happenings(&mut page, &pod)?;
    screen::put(page.aligned().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Lines with elastic tabs.
#[derive(Default)]
struct Page(String);

impl Page {
    /// `NAME:<tab>VALUE` at a depth. A value of several lines keeps to its column.
    fn field(&mut self, depth: usize, name: &str, value: &str) {
        let indent = "  ".repeat(depth);
        let shown = screen::harmless(value.trim_end()).replace('\t', " ");
        let mut lines = shown.lines();
        self.line(&format!("{indent}{name}:\t{}", lines.next().unwrap_or_default()));
        for line in lines {
            self.line(&format!("{indent}\t{line}"));
        }
    }

    /// A field without a value, before what belongs to it.
    fn section(&mut self, depth: usize, name: &str) {
        self.line(&format!("{}{name}:", "  ".repeat(depth)));
    }

    /// One item of a section as it is.
    fn item(&mut self, depth: usize, text: &str) {
        for line in screen::harmless(text.trim_end()).lines() {
            self.line(&format!("{}{}", "  ".repeat(depth), line.replace('\t', " ")));
        }
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn aligned(&self) -> String {
        tab_stops::align(&self.0)
    }
}

fn head(page: &mut Page, pod: &PodView, manifest: &Value) {
    let plan = &pod.supervision.plan;
    page.field(0, "Name", &plan.name);
    if plan.origin == Origin::Manifest {
        page.field(0, "Namespace", &plan.namespace);
    }
    page.field(0, "Node", &get::node_name());
    page.field(0, "Start Time", &time(pod.status.as_ref().map_or(pod.made_at, |status| status.started_at)));
    pairs(page, "Labels", manifest.pointer("/metadata/labels"), "=");
    pairs(page, "Annotations", manifest.pointer("/metadata/annotations"), ": ");
    let row = pod.row(Timestamp::now());
    let status = match &pod.status {
        Some(status) if pod.is_supervised() && status.stop_requested_at.is_none() => format!("{:?}", status.phase),
        Some(_) | None => row.status,
    };
    page.field(0, "Status", &status);
    if !pod.is_supervised() {
        page.field(0, "Message", "the shim is gone: nothing probes or restarts the containers; what is shown was true before");
    }
    page.field(0, "IP", "");
}

/// A map, one pair a line, the first beside the name.
fn pairs(page: &mut Page, name: &str, map: Option<&Value>, between: &str) {
    let map = map.and_then(Value::as_object).filter(|map| !map.is_empty());
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}{between}{}", text(value))).collect();
    page.field(0, name, if lines.is_empty() { NONE.to_owned() } else { lines.join("\n") }.as_str());
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn containers(page: &mut Page, pod: &PodView, manifest: &Value) {
    page.section(0, "Containers");
    for plan in &pod.supervision.plan.containers {
        let containers = manifest.pointer("/spec/containers").and_then(Value::as_array);
        let written =
            containers.into_iter().flatten().find(|container| container.get("name") == Some(&plan.name.as_str().into()));
        page.section(1, &plan.name);
        if let Some(launch) = pod.launch(&plan.name) {
            page.field(2, "Container ID", &format!("hshim://{}", launch.id));
        }
        if pod.supervision.plan.origin == Origin::Manifest {
            page.field(2, "Image", &plan.image);
            page.field(2, "Port", &ports(written));
        }
        for (name, key) in [("Command", "command"), ("Args", "args")] {
            let words = written.and_then(|container| container.get(key)).and_then(Value::as_array);
            if let Some(words) = words.filter(|words| !words.is_empty()) {
                page.section(2, name);
                words.iter().for_each(|word| page.item(3, &text(word)));
            }
        }
        if let Some(status) = pod.container(&plan.name) {
            container_status(page, status);
        }
        probes(page, plan);
        if let Some(written) = written {
            environment(page, written);
            mounts(page, written);
        }
    }
}

fn ports(written: Option<&Value>) -> String {
    let ports = written.and_then(|container| container.get("ports")).and_then(Value::as_array);
    let shown: Vec<String> = ports
        .into_iter()
        .flatten()
        .filter_map(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            Some(format!("{}/{protocol}", port.get("containerPort")?))
        })
        .collect();
    if shown.is_empty() { NONE.to_owned() } else { shown.join(", ") }
}

fn container_status(page: &mut Page, status: &ContainerStatus<Timestamp>) {
    match &status.state {
        ContainerState::Waiting { reason, message, .. } => {
            page.field(2, "State", "Waiting");
            page.field(3, "Reason", &format!("{reason:?}"));
            if let Some(message) = message {
                page.field(3, "Message", message);
            }
        }
        ContainerState::Running { started_at, paused, .. } => {
            page.field(2, "State", if *paused { "Running (paused)" } else { "Running" });
            page.field(3, "Started", &time(*started_at));
        }
        ContainerState::Terminated(ended) => termination(page, "State", ended),
    }
    if let Some(ended) = &status.last_termination {
        termination(page, "Last State", ended);
    }
    page.field(2, "Ready", if status.ready { "True" } else { "False" });
    page.field(2, "Restart Count", &status.restart_count.to_string());
}

fn termination(page: &mut Page, name: &str, ended: &Termination<Timestamp>) {
    page.field(2, name, "Terminated");
    page.field(3, "Reason", &format!("{:?}", ended.reason));
    if let Some(message) = &ended.message {
        page.field(3, "Message", message);
    }
    page.field(3, "Exit Code", &ended.exit.code.to_string());
    if let Some(signal) = ended.exit.signal {
        page.field(3, "Signal", &signal.to_string());
    }
    page.field(3, "Started", &time(ended.started_at));
    page.field(3, "Finished", &time(ended.finished_at));
}

fn probes(page: &mut Page, plan: &ContainerPlan) {
    for (name, probe) in [("Liveness", &plan.liveness), ("Readiness", &plan.readiness), ("Startup", &plan.startup)] {
        if let Some(probe) = probe {
            page.field(2, name, &probe_line(probe));
        }
    }
}

fn environment(page: &mut Page, written: &Value) {
    let variables = written.get("env").and_then(Value::as_array).filter(|env| !env.is_empty());
    let Some(variables) = variables else { return page.field(2, "Environment", NONE) };
    page.section(2, "Environment");
    for variable in variables {
        let value = variable.get("value").map(text).unwrap_or_default();
        page.field(3, &variable.get("name").map(text).unwrap_or_default(), &value);
    }
}

fn mounts(page: &mut Page, written: &Value) {
    let mounts = written.get("volumeMounts").and_then(Value::as_array).filter(|mounts| !mounts.is_empty());
    let Some(mounts) = mounts else { return page.field(2, "Mounts", NONE) };
    page.section(2, "Mounts");
    for mount in mounts {
        let part = |name: &str| mount.get(name).map(text).unwrap_or_default();
        let mode = if mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false) { "ro" } else { "rw" };
        page.item(3, &format!("{} from {} ({mode})", part("mountPath"), part("name")));
    }
}

fn conditions(page: &mut Page, pod: &PodView) {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let words = conditions.map(|condition| (condition.kind, if condition.status { "True" } else { "False" }));
    let lines: Vec<String> = words.map(|(kind, status)| format!("  {kind:?} \t{status} ")).collect();
    if !lines.is_empty() {
        page.section(0, "Conditions");
        page.line("  Type\tStatus");
        lines.iter().for_each(|line| page.line(line));
    }
}

fn volumes(page: &mut Page, manifest: &Value) {
    let volumes = manifest.pointer("/spec/volumes").and_then(Value::as_array).filter(|volumes| !volumes.is_empty());
    let Some(volumes) = volumes else { return page.field(0, "Volumes", NONE) };
    page.section(0, "Volumes");
    for volume in volumes {
        page.section(1, &volume.get("name").map(text).unwrap_or_default());
        let host_path = volume.get("hostPath");
        page.field(2, "Type", if host_path.is_some() { "HostPath" } else { "EmptyDir" });
        match host_path {
            Some(host) => page.field(2, "Path", &host.get("path").map(text).unwrap_or_default()),
            None => page.field(2, "Medium", &volume.pointer("/emptyDir/medium").map(text).unwrap_or_default()),
        }
    }
}

fn happenings(page: &mut Page, pod: &PodView) -> anyhow::Result<()> {
    let happened = pod.events()?;
    if happened.is_empty() {
        page.field(0, "Events", NONE);
        return Ok(());
    }
    page.section(0, "Events");
    page.line("  Type\tReason\tAge\tFrom\tMessage");
    page.line("  ----\t------\t----\t----\t-------");
    let (now, several) = (Timestamp::now(), pod.supervision.plan.containers.len() > 1);
    for event in happened {
        let about = event.container.as_ref().filter(|_| several).map(|name| format!("spec.containers{{{name}}}: "));
        let message = screen::harmless(event.message.trim_end()).replace('\t', " ").replace('\n', "\n  \t\t\t\t");
        page.line(&format!(
            "  {:?}\t{:?}\t{}\thshim\t{}{message}",
            event.kind,
            event.reason,
            events::age(&event, now),
            about.unwrap_or_default()
        ));
    }
    Ok(())
}

/// RFC 1123 with a numeric zone, as kubectl writes times.
fn time(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}
