//! `start`: one shim for a container or its pod, and its address on standard output. Nothing else may be printed: containerd reads
//! both streams together.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hshim_health::layout;

use super::flags::Flags;
use super::parameters::Parameters;
use super::socket::{self, Bound};
use crate::cgroup_mounts;
use crate::children::Children;
use crate::spawn;

/// Starts a shim, or finds the pod's.
pub(super) fn start(flags: &Flags) -> io::Result<()> {
    let parameters = Parameters::read(flags)?;
    let bundle = std::env::current_dir()?;
    let socket = socket::path(&parameters.socket_dir, flags, &bundle)?;
    let address = format!("unix://{}", socket.display());
    match socket::bind(&socket)? {
        Bound::Served => write_address(&bundle, &address)?,
        Bound::New(listener) => {
            let begun = write_address(&bundle, &address).and_then(|()| launch(flags, &parameters, &socket, &listener));
            if begun.is_err() {
                drop(fs::remove_file(&socket));
                drop(fs::remove_file(bundle.join("address")));
            }
            begun?;
        }
    }
    super::say(&parameters.reply(&address))
}

/// containerd 1.6 and 1.7 find the shim by it after a restart of theirs.
fn write_address(bundle: &Path, address: &str) -> io::Result<()> {
    let draft = bundle.join(".address");
    fs::write(&draft, address)?;
    fs::rename(&draft, bundle.join("address"))
}

/// The server inherits nothing but the listener: containerd waits until everybody has closed our standard output.
fn launch(flags: &Flags, parameters: &Parameters, socket: &Path, listener: &UnixListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _context = runtime.enter();
    let null = spawn::null()?;
    let mut args: Vec<OsString> =
        vec!["-namespace".into(), flags.namespace.clone().into(), "-id".into(), flags.id.clone().into()];
    args.extend(["-address".into(), parameters.address.grpc.clone().into()]);
    if let Some(binary) = &parameters.address.binary {
        args.extend(["-publish-binary".into(), binary.into()]);
    }
    if parameters.debug {
        args.push("-debug".into());
    }
    let variable = |name: &str, value: &str| CString::new(format!("{name}={value}")).map_err(io::Error::other);
    let mut environment = vec![variable("HSHIM_SOCKET", &socket.to_string_lossy())?];
    environment.push(variable("PATH", &std::env::var("PATH").unwrap_or_else(|_unset| "/usr/sbin:/usr/bin:/sbin:/bin".into()))?);
    if let Some(ttrpc) = &parameters.address.ttrpc {
        environment.push(variable("TTRPC_ADDRESS", ttrpc)?);
    }
    if let Ok(presets) = std::env::var(layout::PRESETS_VARIABLE) {
        environment.push(variable(layout::PRESETS_VARIABLE, &presets)?);
    }
    listener.set_nonblocking(true)?;
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), listener.as_fd()];
    let exe = fs::read_link("/proc/self/exe")?;
    let child = spawn::spawn_with(&Arc::new(Children::default()), &exe, &args, &fds, &environment)?;
    let settled = settle(child.pid(), parameters);
    if settled.is_err() {
        child.signal(libc::SIGKILL)?;
    }
    settled
}

fn settle(pid: u32, parameters: &Parameters) -> io::Result<()> {
    adjust_oom_score(pid)?;
    if parameters.shim_cgroup.is_empty() {
        return Ok(());
    }
    for hierarchy in cgroup_mounts::hierarchies() {
        let directory: PathBuf = hierarchy.mount.join(parameters.shim_cgroup.trim_start_matches('/'));
        // Where the options' cgroup does not exist the shim stays where it is, as containerd's own does.
        if directory.is_dir() {
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        }
    }
    Ok(())
}

/// One more than containerd's, so that the kernel takes the shim first.
fn adjust_oom_score(pid: u32) -> io::Result<()> {
    let parent = nix::unistd::getppid();
    let Ok(text) = fs::read_to_string(format!("/proc/{parent}/oom_score_adj")) else { return Ok(()) };
    let score = text.trim().parse::<i32>().unwrap_or(0).saturating_add(1).min(1000);
    match fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        // Without the capability it can only be raised; then it stays as it was inherited.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}
