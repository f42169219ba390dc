//! A container's resources put into force: when it is made, and when they are updated.
//!
//! ```text
//! create   directories → devices, cpuset (before init is there) → init made and joined → everything else → start
//! update   what is asked, completed by what was in force → files, device rules → resources.json
//! ```
//! Limits are written when init waits to be started: what makes a container is not throttled, counted or killed by them, and
//! no process of the container has run yet.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::dbus::Value;
use super::device_rules::{self, Verdicts};
use super::resources::Version;
use super::setting::{self, Setting};
use super::systemd::{self, Placeholder, Wishes};
use super::{Cgroup, HierarchyKind, device_program, resources};
use crate::atomic_file;
use crate::rootless;

/// Resources whose settings are known to make sense.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    settings: Vec<Setting>,
    devices: Option<Vec<device_rules::Rule>>,
    /// Properties that annotations ask systemd for.
    annotated: Vec<(String, Value)>,
}

impl Limits {
    /// Of a new container; an error names everything that is wrong. One without any rule about devices gets the usual ones. In a user
    /// namespace there are none: the kernel lets nobody there set them, and nobody make a device.
    pub(crate) fn of_new(resources: &LinuxResources, cgroup: &Cgroup) -> anyhow::Result<Self> {
        let written = device_rules::rules(resources.devices().as_deref().unwrap_or_default())?;
        let devices = (!rootless::in_user_namespace()).then_some(written);
        Ok(Self { devices, ..Self::of_update(resources, cgroup)? })
    }

    /// Of a container without a cgroup: none.
    pub(crate) fn of_absent(resources: &LinuxResources) -> anyhow::Result<Self> {
        let asked = resources::plan(resources, &|_controller| Some(Version::V2))?;
        let fields: Vec<&str> = asked.iter().map(|setting| setting.field.as_str()).collect();
        anyhow::ensure!(
            fields.is_empty(),
            "{}: a limit needs a cgroup, and this user may not write the cgroup file system: name a cgroup in linux.cgroupsPath that was \
             handed over to the user, or run hshim as root",
            fields.join(", ")
        );
        Ok(Self::default())
    }

    /// Of an update; device rules only if there are some.
    pub(crate) fn of_update(resources: &LinuxResources, cgroup: &Cgroup) -> anyhow::Result<Self> {
        let settings = resources::plan(resources, &|controller| cgroup.version_of(controller))?;
        let devices = resources.devices().as_deref().map(|written: &[LinuxDeviceCgroup]| device_rules::rules(written));
        let limits = Self { settings, devices: devices.transpose()?, annotated: Vec::new() };
        limits.check_devices(cgroup)?;
        Ok(limits)
    }

    /// With what annotations ask systemd for.
    pub(crate) fn annotated(self, annotations: &HashMap<String, String>) -> anyhow::Result<Self> {
        Ok(Self { annotated: systemd::annotated_properties(annotations)?, ..self })
    }

    /// Makes the cgroup of a container of this name, with limits that systemd knows of; what is returned is kept until init has joined.
    pub(crate) fn create_cgroup(&self, cgroup: &Cgroup, id: &str) -> anyhow::Result<Option<Placeholder>> {
        // Others than these would count and hinder what makes the container.
        let settings = self.early();
        let description = format!("hshim container {id}");
        let devices = self.devices.as_deref();
        let placeholder = cgroup.create(&Wishes { description, settings: &settings, devices, annotated: &self.annotated })?;
        lift_pids(cgroup);
        self.write_before_join(cgroup)?;
        Ok(placeholder)
    }

    /// Before anything is written: what v1 cannot express.
    fn check_devices(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        match &self.devices {
            Some(rules) if cgroup.is_v1() => Verdicts::of(rules).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// What has to be in force before a process joins. The directories are there.
    fn write_before_join(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        // Beside v1 controllers the unified hierarchy is touched only by who asks for something there.
        let wanted = |name: &str| self.settings.iter().any(|setting| setting.controller == name);
        if cgroup.is_v1() {
            cgroup.enable_controllers(wanted);
        }
        self.write_devices(cgroup)?;
        setting::write_all(cgroup, &self.early())
    }

    /// The rest, when init waits to be started.
    pub(crate) fn write_before_start(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        self.check_memory(cgroup)?;
        let late = self.late();
        cgroup.tell_systemd(&Wishes { settings: &late, ..Wishes::default() })?;
        setting::write_all(cgroup, &late)
    }

    /// Everything, to a container that lives. Device rules last: they replace each other in one step, and their failure
    /// takes nothing back.
    pub(crate) fn write_update(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        cgroup.tell_systemd(&Wishes { settings: &self.settings, devices: self.devices.as_deref(), ..Wishes::default() })?;
        setting::write_all(cgroup, &self.settings)?;
        self.write_devices(cgroup).map_err(|error| {
            let changed: Vec<&str> = self.settings.iter().map(|setting| setting.field.as_str()).collect();
            if changed.is_empty() {
                error
            } else {
                error.context(format!("{} changed, but not the device rules", changed.join(", ")))
            }
        })
    }

    fn early(&self) -> Vec<Setting> {
        self.settings.iter().filter(|setting| setting.controller == "cpuset").cloned().collect()
    }

    fn late(&self) -> Vec<Setting> {
        self.settings.iter().filter(|setting| setting.controller != "cpuset").cloned().collect()
    }

    /// On cgroup v2 the kernel kills who is above a new limit; on v1 it refuses the limit.
    pub(crate) fn check_memory(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        let limit = self.settings.iter().flat_map(|setting| &setting.candidates).find(|(file, _)| file == "memory.max");
        let Some(limit) = limit.and_then(|(_file, value)| value.parse::<u64>().ok()) else { return Ok(()) };
        let Some(dir) = cgroup.dir_of("memory") else { return Ok(()) };
        let used = fs::read_to_string(dir.join("memory.current")).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
        anyhow::ensure!(
            used.is_none_or(|used| used <= limit),
            "linux.resources.memory.limit: {limit} bytes are less than the {} that are in use",
            used.unwrap_or_default()
        );
        Ok(())
    }

    fn write_devices(&self, cgroup: &Cgroup) -> anyhow::Result<()> {
        let Some(rules) = &self.devices else { return Ok(()) };
        if let Some(dir) = cgroup.dirs.iter().find(|dir| dir.options.iter().any(|option| option == "devices")) {
            return write_v1_devices(cgroup, &dir.path, &Verdicts::of(rules)?);
        }
        match cgroup.of_kind(HierarchyKind::Unified) {
            Some(unified) => device_program::attach(&unified.path, rules),
            None => anyhow::bail!(
                "linux.resources.devices: this machine has neither the devices controller of cgroup v1 nor cgroup v2"
            ),
        }
    }
}

/// The cgroup of an earlier life still has its limit of processes, which would count those that make the next one.
fn lift_pids(cgroup: &Cgroup) {
    let Some(dir) = cgroup.dir_of("pids") else { return };
    let file = dir.join("pids.max");
    match setting::write_file(&file, "max") {
        Err(error) if error.kind() != ErrorKind::NotFound => log::debug!("lift {}: {error}", file.display()),
        Ok(()) | Err(_) => {}
    }
}

/// There is a moment in which less is allowed than before and after; nobody in the cgroup may run in it.
fn write_v1_devices(cgroup: &Cgroup, dir: &Path, verdicts: &Verdicts) -> anyhow::Result<()> {
    let thaws = !cgroup.is_frozen() && !cgroup.processes().is_empty();
    if thaws {
        cgroup.freeze().context("stop the container while its device rules change")?;
    }
    let written = write_verdicts(dir, verdicts);
    if thaws {
        cgroup.thaw()?;
    }
    written
}

fn write_verdicts(dir: &Path, verdicts: &Verdicts) -> anyhow::Result<()> {
    let (default, exceptions) =
        if verdicts.allows_all { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    let write = |file: &str, rule: &str| {
        let file = dir.join(file);
        fs::write(&file, rule).with_context(|| format!("linux.resources.devices: write {rule:?} to {}", file.display()))
    };
    write(default, "a")?;
    verdicts.exceptions.iter().try_for_each(|rule| write(exceptions, &rule.to_string()))
}

/// The resources that are in force, of a container that was updated; none when it never was.
pub(crate) fn load(dir: &Path) -> anyhow::Result<Option<LinuxResources>> {
    let file = dir.join("resources.json");
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("understand {}", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Notes what is in force, for the next update.
pub(crate) fn store(dir: &Path, resources: &LinuxResources) -> anyhow::Result<()> {
    let text = serde_json::to_vec(resources).context("write resources as JSON")?;
    atomic_file::write(&dir.join("resources.json"), &text).context("note what is in force")
}
