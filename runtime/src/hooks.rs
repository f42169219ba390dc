//! The hooks that run after libcontainer has done its part: poststart and poststop, in the runtime's namespaces.

use libcontainer::container::ContainerStatus;
use libcontainer::hooks::run_hooks;

use crate::container::Container;
use crate::libcontainer_builder::hook_state;

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// After the command was executed.
    Poststart,
    /// After the container was deleted.
    Poststop,
}

/// Runs the hooks of a stage. The specification wants a failed one to be logged, and the others and the verb to go on.
pub(crate) fn run(container: &Container, stage: Stage) {
    let spec = match container.spec() {
        Ok(spec) => spec,
        Err(error) => return log::warn!("hooks of {}: {error:#}", container.state.id),
    };
    let Some(hooks) = spec.hooks() else { return };
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
        if let Err(error) = run_hooks(Some(&vec![hook.clone()]), Some(&state), None, None, None) {
            log::warn!("{stage:?} hook {}: {error}", hook.path().display());
        }
    }
}
