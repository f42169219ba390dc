//! The hooks that run after libcontainer has done its part: poststart and poststop, in the runtime's namespaces; and the environment
//! of all, which is the runtime's or the container's where the specification has none, as with runc.

use std::collections::HashMap;
use std::fmt;

use libcontainer::container::ContainerStatus;
use libcontainer::hooks::run_hooks;
use libcontainer::oci_spec::runtime::{Hook, Spec};

use crate::container::Container;
use crate::libcontainer_builder::hook_state;

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// After the command was executed.
    Poststart,
    /// After the container was deleted.
    Poststop,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        })
    }
}

/// Whether libcontainer has hooks to run while it makes init, in the runtime's namespaces and cgroup.
pub(crate) fn run_before_init(spec: &Spec) -> bool {
    let some = |hooks: &Option<Vec<Hook>>| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
    #[allow(deprecated, reason = "prestart is, and still has to be run")]
    spec.hooks().as_ref().is_some_and(|hooks| some(hooks.prestart()) || some(hooks.create_runtime()))
}

/// Writes out the environment of hooks that have none. Those of startContainer get the container's in any case.
pub(crate) fn write_out_environment(spec: &mut Spec) {
    if spec.hooks().is_none() {
        return;
    }
    let own: Vec<String> = environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let containers = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
    let Some(hooks) = spec.hooks_mut() else { return };
    #[allow(deprecated, reason = "it is deprecated in the specification, and honoured")]
    for hook in hooks.prestart_mut().iter_mut().flatten() {
        hook.set_env(hook.env().clone().or_else(|| Some(own.clone())));
    }
    for hook in hooks.create_runtime_mut().iter_mut().flatten() {
        hook.set_env(hook.env().clone().or_else(|| Some(own.clone())));
    }
    for hook in hooks.create_container_mut().iter_mut().flatten() {
        hook.set_env(hook.env().clone().or_else(|| Some(containers.clone())));
    }
}

/// Of this process; a variable that is no text is left out.
fn environment() -> HashMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Runs the hooks after a start, up to the first that fails: the specification wants the container ended then.
pub(crate) fn run_poststart(container: &Container) -> anyhow::Result<()> {
    run(container, Stage::Poststart, Err)
}

/// Runs the hooks after a deletion. The specification wants a failed one to be logged, and the others to run.
pub(crate) fn run_poststop(container: &Container) {
    let warn = |error: anyhow::Error| {
        log::warn!("{error:#}");
        Ok(())
    };
    if let Err(error) = run(container, Stage::Poststop, warn) {
        log::warn!("hooks of {}: {error:#}", container.state.id);
    }
}

fn run(container: &Container, stage: Stage, on_failure: impl Fn(anyhow::Error) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let spec = container.spec()?;
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let (hooks, status) = match stage {
        Stage::Poststart => (hooks.poststart(), ContainerStatus::Running),
        Stage::Poststop => (hooks.poststop(), ContainerStatus::Stopped),
    };
    let annotations = container.state.annotations.clone().into_iter().collect();
    let facts = &container.state;
    let mut state = hook_state(&facts.id, &facts.oci_version, &facts.bundle, annotations);
    state.status = status;
    state.pid = container.state.init.as_ref().filter(|_| stage == Stage::Poststart).map(|init| init.pid);
    for hook in hooks.iter().flatten() {
        if let Err(error) = run_hooks(Some(&vec![hook.clone()]), Some(&state), None, None, Some(&environment())) {
            on_failure(anyhow::anyhow!("{stage} hook {}: {error}", hook.path().display()))?;
        }
    }
    Ok(())
}
