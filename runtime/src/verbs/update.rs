//! `update`: new resource limits for a container that lives.
//!
//! What is asked is completed by what is in force (a new swap limit means nothing without the memory limit), planned as a
//! whole, and only then written. A value that is zero or empty asks for nothing, as with runc.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::cgroup::limits::{self, Limits};
use crate::cli::{Globals, UpdateArgs};
use crate::container::Container;
use crate::status::Status;

use super::{refuse_unsupported, require_cgroup};

/// More than this is no resources object.
const LARGEST: u64 = 1 << 20;

/// Performs `update`.
pub(crate) fn update(args: &UpdateArgs, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let asked = match &args.resources {
        Some(file) => read(file)?,
        None => of_flags(args)?,
    };
    let container = Container::open_locked(&globals.root, &args.id.parse()?)?;
    require_cgroup(&container)?;
    match container.status()? {
        Status::Created | Status::Running | Status::Paused => apply(&container, asked),
        Status::Creating | Status::Stopped => anyhow::bail!("container not running: {}", args.id),
    }
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let mut text = String::new();
    let done = if file == Path::new("-") {
        stdin().take(LARGEST).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
    };
    done.with_context(|| format!("--resources: read {name}"))?;
    let asked: Value = serde_json::from_str(&text).with_context(|| format!("--resources: understand {name}"))?;
    anyhow::ensure!(asked.is_object(), "--resources: {name} is not a JSON object");
    // Every type is checked here, so that what is merged later can only be right.
    serde_json::from_value::<LinuxResources>(asked.clone()).with_context(|| format!("--resources: understand {name}"))?;
    Ok(asked)
}

fn of_flags(args: &UpdateArgs) -> anyhow::Result<Value> {
    anyhow::ensure!(
        args.l3_cache_schema.is_none() && args.mem_bw_schema.is_none(),
        "--l3-cache-schema, --mem-bw-schema: Intel RDT is not supported"
    );
    Ok(json!({
        "memory": {"limit": args.memory, "reservation": args.memory_reservation, "swap": args.memory_swap},
        "cpu": {
            "shares": args.cpu_share, "quota": args.cpu_quota, "period": args.cpu_period, "burst": args.cpu_burst,
            "idle": args.cpu_idle, "realtimeRuntime": args.cpu_rt_runtime, "realtimePeriod": args.cpu_rt_period,
            "cpus": args.cpuset_cpus, "mems": args.cpuset_mems
        },
        "blockIO": {"weight": args.blkio_weight},
        "pids": {"limit": args.pids_limit}
    }))
}

fn apply(container: &Container, asked: Value) -> anyhow::Result<()> {
    let in_force = match limits::load(&container.dir)? {
        Some(updated) => updated,
        None => container.spec()?.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default(),
    };
    let in_force = serde_json::to_value(in_force).context("write resources as JSON")?;
    let Merged { touched, whole } = merge(in_force, asked);
    if touched.is_empty() {
        return Ok(());
    }
    let read = |value: Value| serde_json::from_value::<LinuxResources>(value).context("the resources that would be in force");
    let cgroup = &container.state.cgroup;
    let touched = read(Value::Object(touched))?;
    let limits = Limits::of_update(&touched, cgroup)?;
    if touched.memory().as_ref().is_some_and(|memory| memory.check_before_update() == Some(true)) {
        limits.check_memory(cgroup)?;
    }
    limits.write_update(cgroup)?;
    limits::store(&container.dir, &read(Value::Object(whole))?)
}

/// What comes of an update.
struct Merged {
    /// The sections that are asked for, completed.
    touched: Map<String, Value>,
    /// All sections.
    whole: Map<String, Value>,
}

fn merge(in_force: Value, asked: Value) -> Merged {
    let object = |value: Value| if let Value::Object(map) = value { map } else { Map::new() };
    let (mut whole, mut touched) = (object(in_force), Map::new());
    for (section, asked) in object(asked).into_iter().filter_map(|(section, value)| Some((section, prune(value)?))) {
        let asked = unlimited_swap_too(&section, asked);
        let merged = match (whole.remove(&section), asked) {
            (Some(Value::Object(mut old)), Value::Object(new)) => {
                old.extend(new);
                Value::Object(old)
            }
            (_, new) => new,
        };
        touched.insert(section.clone(), merged.clone());
        whole.insert(section, merged);
    }
    Merged { touched, whole }
}

/// Without what is null, zero or empty: Go's callers write it for what they do not ask for. `idle` and `burst` have a zero
/// that means something.
fn prune(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Number(number) if number.as_i64() == Some(0) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(list) if list.is_empty() => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(key, value)| match key.as_str() {
                "idle" | "burst" if value.is_number() => Some((key, value)),
                _ => Some((key, prune(value)?)),
            });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        kept @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Some(kept),
    }
}

/// A swap limit cannot stay when memory has none any more.
fn unlimited_swap_too(section: &str, mut asked: Value) -> Value {
    if let (true, Value::Object(memory)) = (section == "memory", &mut asked)
        && memory.get("limit") == Some(&json!(-1))
        && !memory.contains_key("swap")
    {
        memory.insert("swap".to_owned(), json!(-1));
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_completed_by_what_is_in_force() {
        let in_force = json!({"memory": {"limit": 100, "swap": 200}, "pids": {"limit": 5}});
        for (asked, touched) in [
            (json!({"memory": {"swap": 300, "limit": 0}}), json!({"memory": {"limit": 100, "swap": 300}})),
            (json!({"memory": {"limit": -1}}), json!({"memory": {"limit": -1, "swap": -1}})),
            (json!({"cpu": {"shares": 0, "idle": 0, "cpus": ""}}), json!({"cpu": {"idle": 0}})),
            (json!({"cpu": {"shares": 0, "cpus": ""}, "pids": {}, "blockIO": null}), json!({})),
            (json!({"unified": {"memory.high": "0"}}), json!({"unified": {"memory.high": "0"}})),
        ] {
            let merged = merge(in_force.clone(), asked.clone());
            assert_eq!(Value::Object(merged.touched), touched, "{asked}");
            assert_eq!(merged.whole["pids"], json!({"limit": 5}), "{asked}");
        }
    }
}
