//! `events`: what happened to pods, once or as it happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use hshim_health::columns::{elapsed, human_duration};
use hshim_health::event::EventKind;
use hshim_health::layout;
use hshim_health::record::EventLine;
use jiff::Timestamp;
use serde_json::Value;

use super::cli::{EventFormat, EventsArgs};
use super::columns_view::{Cell, ColumnsView};
use super::pod_name::DEFAULT_NAMESPACE;
use super::pod_object;
use super::pod_reference::PodReference;
use super::pod_view::{Namespaces, PodView};
use super::screen::{self, Tone};
use super::watch::Watch;
use crate::cli::Globals;

/// Performs `events`.
pub(crate) fn events(args: &EventsArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::new(args);
    if args.watch {
        return watch(args, &wanted, globals);
    }
    let pods = wanted.read(globals, Missing::IsAnError)?;
    let events = gather(&pods, |_, _| true)?;
    if events.is_empty() && args.output.is_none() {
        screen::remark(&wanted.nothing());
    }
    let mut printer = Printer::new(args);
    screen::put(printer.once(&events)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// How long ago, and how often since when: `3s (x4 over 20s)`.
pub(crate) fn age(event: &EventLine, now: Timestamp) -> String {
    let since = |time| human_duration(elapsed(time, now));
    match event.count {
        0 | 1 => since(event.last),
        count => format!("{} (x{count} over {})", since(event.last), since(event.first)),
    }
}

/// Whose events.
struct Wanted {
    namespaces: Namespaces,
    pod: Option<PodReference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsAwaited,
}

impl Wanted {
    fn new(args: &EventsArgs) -> Self {
        let namespace = args.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let namespaces = if args.all_namespaces { Namespaces::All } else { Namespaces::One(namespace) };
        Self { namespaces, pod: args.pod.clone() }
    }

    fn read(&self, globals: &Globals, missing: Missing) -> anyhow::Result<Vec<PodView>> {
        match (&self.pod, &self.namespaces) {
            (Some(pod), Namespaces::One(namespace)) => match missing {
                Missing::IsAnError => Ok(vec![PodView::open(&globals.root, namespace, pod)?]),
                Missing::IsAwaited => Ok(PodView::read(pod.dir(&globals.root, namespace))?.into_iter().collect()),
            },
            (_, namespaces) => PodView::all(&globals.root, namespaces),
        }
    }

    /// The directory in which a new pod would appear.
    fn parent(&self, globals: &Globals) -> PathBuf {
        match &self.pod {
            Some(PodReference::Bundle(_)) => globals.root.join("bundles"),
            Some(PodReference::Pod(_)) | None => layout::pods_dir(&globals.root),
        }
    }

    fn nothing(&self) -> String {
        match (&self.pod, &self.namespaces) {
            (Some(pod), _) => format!("No events found for {pod}."),
            (None, Namespaces::One(namespace)) => format!("No events found in {namespace} namespace."),
            (None, Namespaces::All) => "No events found.".to_owned(),
        }
    }
}

/// The events of these pods that are wanted, in the order of their last times.
fn gather(
    pods: &[PodView],
    mut is_wanted: impl FnMut(&PodView, &EventLine) -> bool,
) -> anyhow::Result<Vec<(&PodView, EventLine)>> {
    let mut events = Vec::new();
    for pod in pods {
        events.extend(pod.events()?.into_iter().filter(|event| is_wanted(pod, event)).map(|event| (pod, event)));
    }
    events.sort_by_key(|(_, event)| (event.last, event.id));
    Ok(events)
}

fn watch(args: &EventsArgs, wanted: &Wanted, globals: &Globals) -> anyhow::Result<ExitCode> {
    // To watch a pod that is not there is a mistake; one that goes may come again.
    wanted.read(globals, Missing::IsAnError)?;
    let watch = Watch::new()?;
    let mut printer = Printer::new(args);
    let mut seen: BTreeMap<(String, u64), u32> = BTreeMap::new();
    loop {
        let parent = wanted.parent(globals);
        watch.own_directory(&parent)?;
        for entry in std::fs::read_dir(&parent)?.flatten() {
            watch.directory(&entry.path())?;
        }
        let pods = wanted.read(globals, Missing::IsAwaited)?;
        let new = gather(&pods, |pod, event| {
            let series = (pod.supervision.plan.uid.clone(), event.id);
            seen.insert(series, event.count) != Some(event.count)
        })?;
        screen::put(printer.stream(&new)?.as_bytes())?;
        watch.wait([])?;
    }
}

struct Printer {
    output: Option<EventFormat>,
    with_namespace: bool,
    table: ColumnsView,
}

impl Printer {
    fn new(args: &EventsArgs) -> Self {
        let namespace = args.all_namespaces.then_some("NAMESPACE").into_iter();
        let heading: Vec<&str> = namespace.chain(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]).collect();
        let heading = (!args.no_headers).then_some(heading.as_slice());
        let table = ColumnsView::new(heading, screen::has_colours());
        Self { output: args.output, with_namespace: args.all_namespaces, table }
    }

    /// Everything as one document.
    fn once(&mut self, events: &[(&PodView, EventLine)]) -> anyhow::Result<String> {
        let objects = || pod_object::list(objects(events));
        match self.output {
            None => Ok(self.rows(events)),
            Some(EventFormat::Json) => pod_object::pretty(&objects()),
            Some(EventFormat::Yaml) => pod_object::yaml(&objects()),
        }
    }

    /// One document for each.
    fn stream(&mut self, events: &[(&PodView, EventLine)]) -> anyhow::Result<String> {
        match self.output {
            None => Ok(self.rows(events)),
            Some(EventFormat::Json) => Ok(objects(events).iter().map(|event| format!("{event}\n")).collect()),
            Some(EventFormat::Yaml) => {
                objects(events).iter().map(|event| Ok(format!("---\n{}", pod_object::yaml(event)?))).collect()
            }
        }
    }

    fn rows(&mut self, events: &[(&PodView, EventLine)]) -> String {
        let now = Timestamp::now();
        let with_namespace = self.with_namespace;
        let row = |(pod, event): &(&PodView, EventLine)| {
            let tone = if event.kind == EventKind::Warning { Tone::Alarming } else { Tone::Plain };
            let mut row: Vec<Cell> = with_namespace.then(|| Cell::from(pod.full_name().0)).into_iter().collect();
            row.push(age(event, now).into());
            row.push(Cell::toned(format!("{:?}", event.kind), tone));
            row.push(format!("{:?}", event.reason).into());
            row.push(format!("{}/{}", kind_word(pod), pod.name()).into());
            row.push(event.message.clone().into());
            row
        };
        self.table.print(events.iter().map(row).collect())
    }
}

fn objects(events: &[(&PodView, EventLine)]) -> Vec<Value> {
    events.iter().map(|(pod, event)| pod_object::event(pod, event)).collect()
}

fn kind_word(pod: &PodView) -> &'static str {
    match pod.supervision.plan.origin {
        hshim_health::plan::Origin::Manifest => "Pod",
        hshim_health::plan::Origin::Bundle => "Bundle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_repeats_says_how_often_since_when() {
        let line = r#"{"id":1,"type":"Warning","reason":"Unhealthy","message":"m","container":null,"count":9,"first":"2026-11-28T10:00:00Z","last":"2026-11-28T10:15:50Z"}"#;
        let mut event: EventLine = serde_json::from_str(line).unwrap();
        let now = "2026-11-28T10:16:00Z".parse().unwrap();
        assert_eq!(age(&event, now), "10s (x9 over 16m)");
        event.count = 1;
        assert_eq!(age(&event, now), "10s");
    }
}
