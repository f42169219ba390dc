//! The OCI runtime that runs a pod's containers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use hshim_health::record::RuntimeCommand;

use crate::sealed_executable;

/// The runtime: this program, or what `--runtime` says. Its state of containers is below `root`.
pub(crate) fn runtime(chosen: Option<&Path>, root: &Path) -> anyhow::Result<RuntimeCommand> {
    let (path, is_hshim) = match chosen {
        None => (sealed_executable::path(), true),
        Some(chosen) => {
            let path = if chosen.components().count() == 1 { in_path(chosen.as_os_str()) } else { fs::canonicalize(chosen).ok() };
            let path = path.filter(|path| is_executable(path));
            let path = path.with_context(|| format!("--runtime {}: there is no such program", chosen.display()))?;
            let is_hshim = is_hshim(&path)?;
            (path, is_hshim)
        }
    };
    let name = path.file_name().unwrap_or_default();
    let root = if is_hshim { root.to_owned() } else { root.join("runtimes").join(name) };
    Ok(RuntimeCommand { path, is_hshim, systemd_cgroup: false, root, create_flags: Vec::new() })
}

fn is_hshim(path: &Path) -> anyhow::Result<bool> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.with_context(|| format!("run {} --version", path.display()))?;
    Ok(output.stdout.starts_with(b"hshim "))
}

fn in_path(name: &OsStr) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_absolute() && is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
