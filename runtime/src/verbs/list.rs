//! `list`: all containers below the root.

use std::path::Path;

use anyhow::Context;
use nix::unistd::{Uid, User, geteuid};

use crate::cli::{Globals, ListArgs, TableOrJson};
use crate::container::Container;
use crate::container_id::ContainerId;
use crate::table::Table;

use super::state::Shown;

/// Performs `list`.
pub(crate) fn list(args: &ListArgs, globals: &Globals) -> anyhow::Result<()> {
    let ids = Shown::ids(&globals.root)?;
    if args.quiet {
        return super::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let shown: Vec<Shown> = ids.iter().filter_map(|id| listed(&globals.root, id)).collect();
    match args.format {
        // runc prints null for none; an empty list is what a reader expects of one.
        TableOrJson::Json => super::print(&format!("{}\n", serde_json::to_string(&shown).context("write the list as JSON")?)),
        TableOrJson::Table => super::print(&table(&shown)),
    }
}

/// None when it was deleted meanwhile.
fn listed(root: &Path, id: &ContainerId) -> Option<Shown> {
    let shown = Shown::open(root, id).inspect_err(|error| log::debug!("{id}: {error:#}")).ok()?;
    let owner = Container::open(root, id).map_or_else(|_error| geteuid(), |container| Uid::from_raw(container.state.owner));
    let user = User::from_uid(owner).ok().flatten();
    Some(Shown { owner: user.map_or_else(|| format!("#{owner}"), |user| user.name), ..shown })
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
