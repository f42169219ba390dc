//! Whether a bundle is supervised, and the beginning of its supervision: `<root>/bundles/ID` and a shim over it.
//!
//! ```text
//! annotations ─▶ plan ─▶ mkdir bundles/ID, lock ─▶ supervision.json ─▶ shim ─▶ hshim create --supervise never
//!                                                                      ready ◀─┘
//! ```
//! The directory is what makes an id a supervised one: it is made first, and removed last. This process holds its lock while it
//! begins, so that nobody takes a beginning for the remains of a shim that is gone.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::annotation;
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::plan::PodPlan;
use hshim_health::record::{Launch, RuntimeCommand, Stdio, Supervision, VERSION};

use crate::atomic_file;
use crate::bundle::Bundle;
use crate::bundle_presets;
use crate::cli::{BundleArgs, Globals, Supervise};
use crate::container_id::ContainerId;
use crate::container_lock::ContainerLock;
use crate::rootless::Privilege;
use crate::sealed_executable;
use crate::shim_process::{self, Launched, Launching};
use crate::supervised_bundle::is_asked_by_shim;

/// Makes the shim end as the container finally did, for a caller that waits for the process of the pid file.
const ENDS_WITH_CONTAINER: &str = "--ends-with-container";

/// The plan for a bundle that is to be supervised; none when it is not.
pub(crate) fn plan(args: &BundleArgs, id: &ContainerId, bundle: &Bundle) -> anyhow::Result<Option<PodPlan>> {
    if args.supervise == Supervise::Never || is_asked_by_shim() {
        return Ok(None);
    }
    let annotations = bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect();
    let config = bundle.dir.join("config.json");
    let asked = annotation::plan(id.as_str(), &annotations).map_err(|faults| {
        let worded: Vec<String> = faults.0.iter().map(|fault| bundle_presets::blamed(bundle, fault)).collect();
        anyhow::anyhow!("{}: {}", config.display(), worded.join("\n"))
    })?;
    let Some(plan) = asked else {
        anyhow::ensure!(
            args.supervise != Supervise::Always,
            "--supervise=always: {} asks for no health: annotate it with hshim.dev/livenessProbe or another of hshim.dev/…",
            config.display()
        );
        return Ok(None);
    };
    if args.supervise == Supervise::Auto && args.pid_file.is_some() {
        log::warn!(
            "{id}: health is asked for and is off, because the caller waits for the container itself (--pid-file): \
             --supervise=always turns it on, the pid file then names the supervisor"
        );
        return Ok(None);
    }
    refuse_unsupported(args, bundle)?;
    Ok(Some(PodPlan { uid: random_uuid()?, ..plan }))
}

/// What cannot be given to each life of a container anew.
fn refuse_unsupported(args: &BundleArgs, bundle: &Bundle) -> anyhow::Result<()> {
    anyhow::ensure!(
        Privilege::own() != Privilege::User,
        "hshim.dev/…: supervision takes root: create the container with --supervise=never, or as root"
    );
    let terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    anyhow::ensure!(
        !terminal,
        "process.terminal: a supervised container cannot have a terminal, because it ends with the life that it was made for: \
         set it to false, or create the container with --supervise=never"
    );
    anyhow::ensure!(
        args.console_socket.is_none(),
        "--console-socket: cannot be used when process.terminal is not set, and a supervised container cannot have a terminal"
    );
    anyhow::ensure!(
        args.preserve_fds == 0,
        "--preserve-fds: a supervised container gets standard input, output and error in every life, and no other descriptors: \
         leave the flag out, or create the container with --supervise=never"
    );
    Ok(())
}

/// Creates a supervised container. The answer names its shim. Nothing is left when it fails.
pub(crate) fn begin(plan: PodPlan, args: &BundleArgs, bundle: &Bundle, globals: &Globals) -> anyhow::Result<Launched> {
    let root = absolute(&globals.root)?;
    let id = plan.name.clone();
    let dir = SupervisionDir(layout::bundle_dir(&root, &id));
    make_dir(&dir, &id)?;
    let begun = bundle_presets::keep(bundle, &dir).and_then(|()| launch(&dir, record(plan, args, bundle, globals)?, args));
    begun.inspect_err(|_error| match std::fs::remove_dir_all(&dir.0) {
        Err(error) if error.kind() != ErrorKind::NotFound => log::warn!("remove {}: {error}", dir.0.display()),
        // The shim has cleared it away itself, or has never been.
        Ok(()) | Err(_) => {}
    })
}

fn launch(dir: &SupervisionDir, record: Supervision, args: &BundleArgs) -> anyhow::Result<Launched> {
    let lock = ContainerLock::create(&dir.0)?;
    // After our directory was made: of two who begin at once, each sees the other's or is seen by it.
    let container = layout::container_dir(&record.root, &record.plan.name);
    anyhow::ensure!(
        !container.exists(),
        "container with given ID already exists: {}: choose another name, or delete that one (hshim delete)",
        record.plan.name
    );
    let text = serde_json::to_vec(&record).context("write supervision.json as JSON")?;
    atomic_file::write(&dir.supervision(), &text).with_context(|| format!("write {}", dir.supervision().display()))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let flags: &[&str] = if args.pid_file.is_some() { &[ENDS_WITH_CONTAINER] } else { &[] };
    let stdio = Some([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    let launched = shim_process::launch(dir, &Launching { stdio, flags, ..Launching::default() })?;
    drop(lock);
    Ok(launched)
}

fn make_dir(dir: &SupervisionDir, id: &str) -> anyhow::Result<()> {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    if let Some(parent) = dir.0.parent() {
        private.recursive(true).create(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    private.recursive(false).create(&dir.0).or_else(|error| {
        anyhow::ensure!(
            error.kind() != ErrorKind::AlreadyExists,
            "container with given ID already exists: {id}: choose another name, or delete that one (hshim delete)"
        );
        Err(error).with_context(|| format!("create {}", dir.0.display()))
    })
}

fn record(plan: PodPlan, args: &BundleArgs, bundle: &Bundle, globals: &Globals) -> anyhow::Result<Supervision> {
    let root = absolute(&globals.root)?;
    let flags = [(args.no_pivot, "--no-pivot"), (args.no_new_keyring, "--no-new-keyring")];
    let launch = Launch { id: plan.name.clone(), bundle: bundle.dir.clone(), rootfs: None, stdio: Stdio::Inherited };
    Ok(Supervision {
        version: VERSION,
        plan,
        runtime: RuntimeCommand {
            path: sealed_executable::path(),
            is_hshim: true,
            systemd_cgroup: globals.uses_systemd(),
            root: root.clone(),
            create_flags: flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned()).collect(),
        },
        root,
        data: absolute(&globals.data)?,
        launches: vec![launch],
    })
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn random_uuid() -> anyhow::Result<String> {
    let file = "/proc/sys/kernel/random/uuid";
    let uuid = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(uuid.trim_end().to_owned())
}
