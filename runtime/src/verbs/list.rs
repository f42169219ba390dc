//! `list`: all containers below the root.

use anyhow::Context;
use nix::unistd::{Uid, User};

use crate::cli::{Globals, ListArgs, TableOrJson};
use crate::container::Container;
use crate::table::Table;

use super::state::Shown;

/// Performs `list`.
pub(crate) fn list(args: &ListArgs, globals: &Globals) -> anyhow::Result<()> {
    let containers = Container::all(&globals.root)?;
    if args.quiet {
        return super::print(&containers.iter().map(|container| format!("{}\n", container.state.id)).collect::<String>());
    }
    let shown = containers.iter().map(listed).collect::<anyhow::Result<Vec<_>>>()?;
    match args.format {
        // runc prints null for none; an empty list is what a reader expects of one.
        TableOrJson::Json => super::print(&format!("{}\n", serde_json::to_string(&shown).context("write the list as JSON")?)),
        TableOrJson::Table => super::print(&table(&shown)),
    }
}

fn listed(container: &Container) -> anyhow::Result<Shown> {
    let user = User::from_uid(Uid::from_raw(container.state.owner)).ok().flatten();
    let owner = user.map_or_else(|| format!("#{}", container.state.owner), |user| user.name);
    Ok(Shown { owner, ..Shown::of(container)? })
}

fn table(shown: &[Shown]) -> String {
    let mut table = Table::new(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for row in shown {
        table.row([
            row.id.clone(),
            row.pid.to_string(),
            row.status.clone(),
            row.bundle.display().to_string(),
            row.created.to_string(),
            row.owner.clone(),
        ]);
    }
    table.to_string()
}
