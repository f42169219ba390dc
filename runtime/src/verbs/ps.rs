//! `ps`: the processes of a container, as ps(1) of the host shows them.

use std::process::Command;

use anyhow::Context;

use crate::cli::{Globals, PsArgs, TableOrJson};
use crate::container::Container;

/// Performs `ps`.
pub(crate) fn ps(args: &PsArgs, globals: &Globals) -> anyhow::Result<()> {
    let container = Container::open(&globals.root, &args.id.parse()?)?;
    let pids = container.processes()?;
    if args.format == TableOrJson::Json {
        return super::print(&format!("{}\n", serde_json::to_string(&pids).context("write the list as JSON")?));
    }
    let options: Vec<&str> =
        if args.options.is_empty() { vec!["-ef"] } else { args.options.iter().map(String::as_str).collect() };
    let output = Command::new("ps").args(&options).output().context("run ps(1): install procps, or use --format json")?;
    anyhow::ensure!(output.status.success(), "ps {}: {}", options.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    super::print(&of_these(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// The heading and the lines whose PID is one of `pids`.
fn of_these(output: &str, pids: &[i32]) -> anyhow::Result<String> {
    let mut lines = output.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.context("ps: its output has no PID column: add pid to the options")?;
    let is_theirs =
        |line: &&str| line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid));
    Ok(std::iter::once(heading).chain(lines.filter(is_theirs)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let output = "UID   PID  PPID CMD\nroot    1     0 init\nroot   71     1 sleep 71\n";
        assert_eq!(of_these(output, &[71]).unwrap(), "UID   PID  PPID CMD\nroot   71     1 sleep 71\n");
        assert!(of_these("USER COMMAND\n", &[1]).is_err());
    }
}
