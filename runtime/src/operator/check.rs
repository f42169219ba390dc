//! `check`, and the part of `apply` that it is: manifests understood and admitted, all faults at once.

use hshim_health::admission::{AdmittedPod, admit};
use hshim_health::faults::{Fault, FaultKind, Faults};
use hshim_health::pod::decode_what_can_be;

use super::cli::CheckArgs;
use super::manifest_file::{self, Complaints, Document};
use super::pod_name::PodName;
use super::preset_files::PresetFiles;
use crate::cli::Globals;
use crate::verbs::print;

/// Performs `check`.
pub(crate) fn check(args: &CheckArgs, globals: &Globals) -> anyhow::Result<()> {
    let presets = PresetFiles::load(&globals.presets_dir, &args.presets.preset)?;
    if args.filename.is_empty() {
        return print(&presets.names().map(|name| format!("podpreset/{name} is valid\n")).collect::<String>());
    }
    let documents = manifest_file::read_all(&args.filename)?;
    let mut complaints = Complaints::default();
    let documents = presets.merge_into(documents, None, &mut complaints);
    let pods = admit_all(documents, None, &mut complaints);
    complaints.none()?;
    print(&pods.iter().map(|(_, pod)| format!("pod/{} is valid\n", pod.name)).collect::<String>())
}

/// The pods of the documents that have no fault; the others' faults are complaints.
pub(crate) fn admit_all(
    documents: Vec<Document>,
    namespace: Option<&str>,
    complaints: &mut Complaints,
) -> Vec<(Document, AdmittedPod)> {
    let mut pods: Vec<(Document, AdmittedPod)> = Vec::new();
    for document in documents {
        match admitted(&document, namespace) {
            Ok(pod) => {
                if let Some(fault) = misplaced(&pod, namespace, &pods) {
                    complaints.add(&document, &fault);
                }
                pods.push((document, pod));
            }
            Err(faults) => complaints.add_all(&document, &faults),
        }
    }
    pods
}

/// Rules are tried even when a field could not be read: all faults are told at once.
fn admitted(document: &Document, namespace: Option<&str>) -> Result<AdmittedPod, Faults> {
    let (pod, faults) = decode_what_can_be(&document.value);
    let Some(mut pod) = pod else { return Err(faults) };
    if let (None, Some(wanted)) = (&pod.metadata.namespace, namespace) {
        pod.metadata.namespace = Some(wanted.to_owned());
    }
    match admit(pod) {
        Ok(pod) => faults.or(pod),
        Err(broken) => Err(faults.and_then(broken)),
    }
}

/// In another namespace than the command line says, or there already.
fn misplaced(pod: &AdmittedPod, namespace: Option<&str>, others: &[(Document, AdmittedPod)]) -> Option<Fault> {
    let fault = |path: &str, kind, value: &str, detail: String| Fault {
        path: path.to_owned(),
        kind,
        value: Some(format!("{value:?}")),
        detail,
    };
    if let Some(wanted) = namespace.filter(|wanted| *wanted != pod.namespace) {
        let detail = format!("does not match --namespace {wanted}");
        return Some(fault("metadata.namespace", FaultKind::Invalid, &pod.namespace, detail));
    }
    let is_same = |other: &AdmittedPod| name(other) == name(pod);
    let first = others.iter().find(|(_, other)| is_same(other)).map(|(document, _)| document)?;
    let detail = format!("{}:{} has it already", first.file, first.line("metadata.name"));
    Some(fault("metadata.name", FaultKind::Duplicate, &pod.name, detail))
}

/// Of an admitted pod.
pub(crate) fn name(pod: &AdmittedPod) -> PodName {
    PodName { namespace: pod.namespace.clone(), name: pod.name.clone() }
}
