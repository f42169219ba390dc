//! What all tasks of a shim share and none changes: the pod's records and the means to act on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hshim_health::layout::SupervisionDir;
use hshim_health::plan::{ContainerIndex, ContainerPlan};
use hshim_health::record::{Launch, Stdio, Supervision};

use crate::children::Children;
use crate::output::Output;
use crate::probe::Prober;
use crate::runtime_command::Runtime;
use crate::spawn::InheritedStdio;

/// The pod of this process.
#[derive(Debug)]
pub(crate) struct Pod {
    /// As written by whoever started the shim.
    pub(crate) supervision: Supervision,
    /// Its directory.
    pub(crate) dir: SupervisionDir,
    /// Who waits for children.
    pub(crate) children: Arc<Children>,
    /// The OCI runtime.
    pub(crate) runtime: Runtime,
    /// Who makes the probes.
    pub(crate) prober: Prober,
    /// Of each container that has a log.
    pub(crate) outputs: Vec<Option<Output>>,
    /// What the caller of a bundle handed over, until its last life has ended: only then may a reader see the end.
    inherited: Mutex<Option<Arc<InheritedStdio>>>,
}

impl Pod {
    /// Makes the directories and FIFOs of the containers.
    pub(crate) fn open(
        supervision: Supervision,
        dir: SupervisionDir,
        inherited: Option<InheritedStdio>,
    ) -> std::io::Result<Self> {
        let children = Arc::new(Children::default());
        let runtime = Runtime::new(supervision.runtime.clone(), Arc::clone(&children));
        let mut outputs = Vec::new();
        for (plan, launch) in supervision.plan.containers.iter().zip(&supervision.launches) {
            let files = dir.container(&plan.name);
            std::fs::create_dir_all(&files)?;
            outputs.push(match &launch.stdio {
                Stdio::CriLog { directory } => Some(Output::open(&files, directory)?),
                Stdio::Inherited => None,
            });
        }
        let prober = Prober::new(Arc::clone(&children));
        let inherited = Mutex::new(inherited.map(Arc::new));
        Ok(Self { supervision, dir, children, runtime, prober, outputs, inherited })
    }

    /// One container of containerd, whose streams its client made. `children` is shared by all containers of the shim.
    pub(crate) fn of_task(
        supervision: Supervision,
        dir: SupervisionDir,
        children: Arc<Children>,
        stdio: InheritedStdio,
    ) -> std::io::Result<Self> {
        let runtime = Runtime::new(supervision.runtime.clone(), Arc::clone(&children));
        for plan in &supervision.plan.containers {
            std::fs::create_dir_all(dir.container(&plan.name))?;
        }
        let prober = Prober::new(Arc::clone(&children));
        let outputs = supervision.plan.containers.iter().map(|_| None).collect();
        let inherited = Mutex::new(Some(Arc::new(stdio)));
        Ok(Self { supervision, dir, children, runtime, prober, outputs, inherited })
    }

    /// What is planned and how it is launched.
    pub(crate) fn container(&self, index: ContainerIndex) -> Option<(&ContainerPlan, &Launch)> {
        Some((self.supervision.plan.containers.get(index.0)?, self.supervision.launches.get(index.0)?))
    }

    /// Its output, if it goes into a log.
    pub(crate) fn output(&self, index: ContainerIndex) -> Option<&Output> {
        self.outputs.get(index.0)?.as_ref()
    }

    /// The stdio of a bundle's next life.
    pub(crate) fn inherited(&self) -> Option<Arc<InheritedStdio>> {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There will be no further life.
    pub(crate) fn let_go_of_stdio(&self) {
        drop(self.inherited.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Directory of the shim's files about one container.
    pub(crate) fn files(&self, plan: &ContainerPlan) -> PathBuf {
        self.dir.container(&plan.name)
    }
}
