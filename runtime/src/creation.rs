//! The making of a container, and its undoing when it fails half-way.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::layout;
use jiff::Timestamp;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

use crate::atomic_file;
use crate::bundle::Bundle;
use crate::cgroup::birth::{self, Birth, Born};
use crate::cgroup::membership::Membership;
use crate::cgroup::{Cgroup, Driver};
use crate::cli::{BundleArgs, Globals};
use crate::console;
use crate::container_id::ContainerId;
use crate::container_lock::ContainerLock;
use crate::container_view;
use crate::hooks;
use crate::identity;
use crate::init_executor::{InitExecutor, StartHooks};
use crate::init_process::ProcessIdentity;
use crate::late_mounts::has_new_namespace;
use crate::libcontainer_builder::{InitBuilder, Parent, hook_state};
use crate::loopback;
use crate::rlimit;
use crate::rootless;
use crate::rootless_cgroup;
use crate::sealed_executable;
use crate::seccomp::SeccompCache;
use crate::session_keyring;
use crate::spec_normalise::{self, NormalSpec};
use crate::start_fifo::StartFifo;
use crate::state_file::{StateFile, VERSION};
use crate::supervised_bundle::SupervisedBundle;
use crate::sys;
use crate::working_directory;

/// A container to be made.
pub(crate) struct Creation {
    id: ContainerId,
    bundle: Bundle,
    root: PathBuf,
    dir: PathBuf,
    driver: Driver,
}

impl Creation {
    /// Of a container with this name from this bundle.
    pub(crate) fn new(id: ContainerId, bundle: Bundle, globals: &Globals) -> anyhow::Result<Self> {
        let driver = rootless_cgroup::driver(&bundle.spec, globals)?;
        Ok(Self { dir: layout::container_dir(&globals.root, id.as_str()), root: globals.root.clone(), id, bundle, driver })
    }

    /// Makes it and returns the process id of its init, which is this process' child. Nothing is left when it fails.
    pub(crate) fn create(self, args: &BundleArgs, console: Option<BorrowedFd<'_>>) -> anyhow::Result<i32> {
        sealed_executable::require_sealed()?;
        if self.driver == Driver::Absent {
            rootless_cgroup::hide_controllers()?;
        }
        let normal = spec_normalise::normalise(&self.bundle, &self.id, self.driver)?;
        self.make_dir()?;
        let created = ContainerLock::create(&self.dir).and_then(|lock| {
            let cgroup = normal.cgroup.clone();
            self.refuse_supervised()?;
            refuse_strangers(&cgroup, &normal.cgroup_path)?;
            let pid = self.fill(normal, args, console).inspect_err(|_error| undo_processes(&cgroup))?;
            drop(lock);
            Ok(pid)
        });
        created.inspect_err(|_error| {
            if let Err(error) = fs::remove_dir_all(&self.dir) {
                log::warn!("remove {} after a failed create: {error}", self.dir.display());
            }
        })
    }

    fn make_dir(&self) -> anyhow::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        let parent = self.root.join("containers");
        match private.create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done.or_else(|error| self.refuse_dir(error)),
        }
        private.recursive(true).create(&parent).with_context(|| format!("create {}", parent.display()))?;
        private.recursive(false).create(&self.dir).or_else(|error| self.refuse_dir(error))
    }

    fn refuse_dir(&self, error: std::io::Error) -> anyhow::Result<()> {
        anyhow::ensure!(
            error.kind() != ErrorKind::AlreadyExists,
            "container with given ID already exists: {}: choose another name, or delete that one (hshim delete)",
            self.id
        );
        Err(error).with_context(|| format!("create {}", self.dir.display()))
    }

    /// The name belongs to a supervised container, even between two of its lives. Asked once our directory is there: of two
    /// who begin at once, each sees the other's or is seen by it.
    fn refuse_supervised(&self) -> anyhow::Result<()> {
        match SupervisedBundle::find(&self.root, &self.id) {
            Some(_) => self.refuse_dir(ErrorKind::AlreadyExists.into()),
            None => Ok(()),
        }
    }

    fn fill(&self, normal: NormalSpec, args: &BundleArgs, console: Option<BorrowedFd<'_>>) -> anyhow::Result<i32> {
        let NormalSpec { mut spec, cgroup_path, cgroup, limits, seccomp, rlimits, late_mounts } = normal;
        let mut state = self.state(&cgroup, args);
        // Before anything that a killed create could leave behind: `delete` finds it by this.
        state.store(&self.dir)?;
        atomic_file::write(&self.dir.join("config.json"), &self.bundle.config).context("keep a copy of config.json")?;
        let cache = SeccompCache::below(&self.root);
        let identity = identity::of_process(&self.bundle.spec, &self.bundle.rootfs, &cache)?;
        identity::store(&identity, &layout::enter_identity(&self.root, self.id.as_str()))?;
        // The same filter as of every further process, where it is for hshim to load.
        let filter = seccomp.and(identity.seccomp);
        let placeholder = limits.create_cgroup(&cgroup, self.id.as_str())?;
        let process = self.bundle.spec.process().as_ref();
        let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
        let hooks = self.take_start_hooks(&mut spec);
        let late_files = late_mounts.late_files(&self.bundle.rootfs, &mut spec);
        let executor =
            InitExecutor::new(StartFifo::create(&self.dir)?, filter, rlimits.clone(), env, hooks).with_late(late_files);
        let builder = InitBuilder {
            id: &self.id,
            dir: &self.dir,
            bundle: &self.bundle.dir,
            rootfs: &self.bundle.rootfs,
            spec,
            cgroup_path,
            parent: Parent::Here,
            oom_score_adj: process.and_then(|process| process.oom_score_adj()),
            console,
            preserve_fds: args.preserve_fds,
            has_own_pid_namespace: state.has_own_pid_namespace,
            no_pivot: args.no_pivot,
        };
        if !args.no_new_keyring {
            session_keyring::join(self.id.as_str())?;
        }
        working_directory::make(&builder.spec, &self.bundle.rootfs)?;
        log::debug!("create {}: bundle {}, cgroup {}", self.id, self.bundle.dir.display(), builder.cgroup_path.display());
        let (born, membership) = make_init(&cgroup, builder, executor)?;
        let pid = born.init;
        rootless_cgroup::require_member(&cgroup, pid)?;
        drop(placeholder);
        // It waits for `start`, and is this process' child: its id is nobody else's.
        let init = sys::pidfd_open(pid).context("open the init process")?;
        late_mounts.perform(init.as_fd())?;
        loopback::bring_up(&self.bundle.spec, init.as_fd())?;
        if let Some(process) = process.filter(|_| console.is_some()) {
            console::furnish(pid, process)?;
        }
        container_view::verify(&self.bundle.spec, pid)?;
        rlimit::raise(&rlimits, pid)?;
        // What made init is not to be counted or killed by the limits.
        drop(born);
        limits.write_before_start(&cgroup)?;
        state.init = Some(ProcessIdentity::of(pid).with_context(|| format!("identify the init process {pid}"))?);
        state.store(&self.dir)?;
        if let Some(membership) = membership {
            membership.keep();
        }
        Ok(pid)
    }

    /// libcontainer would tell the startContainer hooks that the container is being created.
    fn take_start_hooks(&self, spec: &mut Spec) -> Option<StartHooks> {
        let hooks = spec.hooks_mut().as_mut()?;
        let start = hooks.start_container().clone().filter(|hooks| !hooks.is_empty())?;
        hooks.set_start_container(None);
        let annotations = self.bundle.spec.annotations().clone().unwrap_or_default();
        Some(StartHooks::new(start, hook_state(self.id.as_str(), self.bundle.spec.version(), &self.bundle.dir, annotations)))
    }

    fn state(&self, cgroup: &Cgroup, args: &BundleArgs) -> StateFile {
        let annotations: BTreeMap<String, String> =
            self.bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect();
        StateFile {
            version: VERSION,
            oci_version: self.bundle.spec.version().clone(),
            id: self.id.to_string(),
            bundle: self.bundle.dir.clone(),
            rootfs: self.bundle.rootfs.clone(),
            created: Timestamp::now(),
            owner: rootless::owner(),
            annotations,
            has_own_keyring: !args.no_new_keyring,
            cgroup: cgroup.clone(),
            has_own_pid_namespace: has_new_namespace(&self.bundle.spec, LinuxNamespaceType::Pid),
            init: None,
        }
    }
}

/// Makes the init process in its cgroup; it is a child of this process, which may have to be there as well.
fn make_init(cgroup: &Cgroup, builder: InitBuilder<'_>, executor: InitExecutor) -> anyhow::Result<(Born, Option<Membership>)> {
    if !hooks::run_before_init(&builder.spec) {
        match cgroup.fork_inside()? {
            Some(Birth::Maker(report)) => report.end(builder.build_for_parent(executor)),
            Some(Birth::Parent(maker)) => {
                if let Some(born) = maker.init()? {
                    return Ok((born, None));
                }
                log::debug!("{}: whoever is born in the cgroup is killed: init is moved there", builder.id);
            }
            None => {}
        }
    }
    let membership = cgroup.join_what_libcontainer_leaves_out()?;
    Ok((Born::alone(builder.build(executor)?), Some(membership)))
}

/// Processes that share the cgroup would be killed with the container.
fn refuse_strangers(cgroup: &Cgroup, path: &Path) -> anyhow::Result<()> {
    let strangers = cgroup.processes();
    anyhow::ensure!(
        strangers.is_empty(),
        "linux.cgroupsPath: the cgroup {} is in use by the processes {strangers:?}: every container needs its own",
        path.display()
    );
    Ok(())
}

/// Ends what a failed create has cloned (they wait for messages that nobody will send), and removes the cgroups.
fn undo_processes(cgroup: &Cgroup) {
    for child in birth::children() {
        if kill(child, Signal::SIGKILL).is_ok() {
            waitpid(child, None).ok();
        }
    }
    if let Err(error) = cgroup.remove() {
        log::warn!("after a failed create: {error:#}");
    }
}
