//! `explain`: which preset gave which field, as it was written down when the pod was made.

use std::process::ExitCode;

use super::cli::OnePodArgs;
use super::manifest_file::Elsewhere;
use super::{one_pod, pod_records, screen};
use crate::cli::Globals;
use crate::table::Table;

/// Performs `explain`.
pub(crate) fn explain(args: &OnePodArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (reference, pod) = one_pod(&args.pod, args.namespace.as_deref(), globals)?;
    let parts: Vec<Elsewhere> = pod_records::json(&pod.dir.presets())?.unwrap_or_default();
    let text = match parts.as_slice() {
        [] => format!("No preset gave {reference} anything.\n"),
        parts => table(["FIELD", "SOURCE", "PLACE"], "", parts),
    };
    screen::put(screen::harmless(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each part; `before` stands before the name of its field.
pub(super) fn table(heading: [&str; 3], before: &str, parts: &[Elsewhere]) -> String {
    let mut table = Table::new(&heading);
    for part in parts {
        table.row([format!("{before}{}", part.path), part.whose.clone(), format!("{}: {}", part.place, part.path_there)]);
    }
    table.to_string()
}
