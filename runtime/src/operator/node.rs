//! What this machine must have before a pod can be made on it.

use std::path::Path;

use crate::cgroup::Cgroup;

/// Says in one line what is missing.
pub(crate) fn require_for_pods() -> anyhow::Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "pods need root: namespaces, mounts and cgroups are made for them; run hshim with sudo"
    );
    Cgroup::locate(Path::new("/hshim"))?;
    Ok(())
}
