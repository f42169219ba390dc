//! `apply`: all manifests are checked before the first pod is made.

use anyhow::Context;

use super::check::{admit_all, name};
use super::cli::ApplyArgs;
use super::image::store::{Access, Store};
use super::manifest_file::{self, Complaints};
use super::node;
use super::pod_making::{Maker, Outcome};
use super::prepared_pod::PreparedPod;
use super::preset_files::PresetFiles;
use super::programs;
use crate::cli::Globals;
use crate::shim_process;
use crate::verbs::print;

/// Performs `apply`.
pub(crate) fn apply(args: &ApplyArgs, globals: &Globals) -> anyhow::Result<()> {
    let presets = PresetFiles::load(&globals.presets_dir, &args.presets.preset)?;
    let documents = manifest_file::read_all(&args.filename)?;
    let mut complaints = Complaints::default();
    let documents = presets.merge_into(documents, args.namespace.as_deref(), &mut complaints);
    let admitted = admit_all(documents, args.namespace.as_deref(), &mut complaints);
    complaints.none()?;
    node::require_for_pods()?;
    let globals = absolute(globals)?;
    let store = Store::below(&globals.data);
    // Until the pods are written down: what they need must not be removed meanwhile.
    let lock = store.lock(Access::Use)?;
    let mut pods = Vec::new();
    for (document, pod) in admitted {
        match PreparedPod::prepare(&document, pod, &store)? {
            Ok(pod) => pods.push(pod),
            Err(faults) => complaints.add_all(&document, &faults),
        }
    }
    complaints.none()?;
    shim_process::program()?;
    let maker = Maker { runtime: programs::runtime(args.runtime.as_deref(), &globals.root)?, globals: &globals };
    for pod in &pods {
        let name = name(&pod.pod);
        let line = match maker.make(pod).with_context(|| name.to_string())? {
            Outcome::Created => "created",
            Outcome::Unchanged => "unchanged",
        };
        print(&format!("{name} {line}\n"))?;
    }
    drop(lock);
    Ok(())
}

/// The shim has another working directory.
fn absolute(globals: &Globals) -> anyhow::Result<Globals> {
    let absolute = |path: &std::path::Path| std::path::absolute(path).with_context(|| format!("find {}", path.display()));
    Ok(Globals { root: absolute(&globals.root)?, data: absolute(&globals.data)?, ..globals.clone() })
}
