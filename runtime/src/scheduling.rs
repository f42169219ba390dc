//! How the kernel runs the processes of a container: scheduler, I/O priority, processors, memory policy, personality.
//!
//! Of the first process libcontainer sets them (the processors are of further ones only), of every further one hshim-enter does.

use anyhow::Context;
use hshim_enter::{MemoryPolicy, SchedulerAttributes, Scheduling};
use libcontainer::oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxMemoryPolicy, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};

use crate::number_set::bit_mask;

/// Execution domains of linux/personality.h.
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;

/// Of a process object. The memory policy is the container's ([`memory_policy`]).
pub(crate) fn of_process(process: &Process) -> anyhow::Result<Scheduling> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let mask = |list: Option<&String>, name: &str| {
        list.map(|list| bit_mask(list)).transpose().with_context(|| format!("process.execCPUAffinity.{name}"))
    };
    Ok(Scheduling {
        scheduler: process.scheduler().as_ref().map(scheduler),
        io_priority: process.io_priority().as_ref().map(|wanted| io_priority(wanted.class(), wanted.priority())).transpose()?,
        first_processors: mask(affinity.and_then(|affinity| affinity.initial().as_ref()), "initial")?.unwrap_or_default(),
        processors: mask(affinity.and_then(|affinity| affinity.cpu_affinity_final().as_ref()), "final")?.unwrap_or_default(),
        memory_policy: None,
    })
}

/// What a process object does not say of these is as the container has it.
pub(crate) fn or_of_container(written: Scheduling, process: &Process, own: Scheduling) -> Scheduling {
    let (first_processors, processors) = match process.exec_cpu_affinity() {
        Some(_) => (written.first_processors, written.processors),
        None => (own.first_processors, own.processors),
    };
    Scheduling {
        scheduler: written.scheduler.or(own.scheduler),
        io_priority: written.io_priority.or(own.io_priority),
        first_processors,
        processors,
        memory_policy: own.memory_policy,
    }
}

/// Of all processes of a container.
pub(crate) fn personality(linux: &Linux) -> Option<u32> {
    linux.personality().as_ref().map(|personality| match personality.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}

/// Of all processes of a container.
pub(crate) fn memory_policy(written: &LinuxMemoryPolicy) -> anyhow::Result<MemoryPolicy> {
    let mode = match written.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = written.flags().iter().flatten().map(|flag| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    });
    let nodes = written.nodes().as_deref().map(bit_mask).transpose().context("linux.memoryPolicy.nodes")?.unwrap_or_default();
    Ok(MemoryPolicy { mode: flags.fold(mode, |mode, flag: u32| mode | flag), nodes })
}

/// What is wrong with a memory policy, without a look at the nodes of this machine (set_mempolicy(2)).
pub(crate) fn memory_policy_fault(written: &LinuxMemoryPolicy) -> Option<String> {
    let policy = match memory_policy(written) {
        Ok(policy) => policy,
        Err(error) => return Some(format!("{error:#}")),
    };
    let mode = written.mode();
    let has = |flag: MemoryPolicyFlagType| written.flags().iter().flatten().any(|written| *written == flag);
    let takes_none = matches!(mode, MemoryPolicyModeType::MpolDefault | MemoryPolicyModeType::MpolLocal);
    let has_flags = written.flags().as_ref().is_some_and(|flags| !flags.is_empty());
    let fault = if takes_none && (!policy.nodes.is_empty() || has_flags) {
        format!("{mode} takes neither nodes nor flags")
    } else if !takes_none && mode != MemoryPolicyModeType::MpolPreferred && policy.nodes.is_empty() {
        format!("{mode} needs nodes")
    } else if has(MemoryPolicyFlagType::MpolFStaticNodes) && has(MemoryPolicyFlagType::MpolFRelativeNodes) {
        "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".to_owned()
    } else if has(MemoryPolicyFlagType::MpolFNumaBalancing) && mode != MemoryPolicyModeType::MpolBind {
        "MPOL_F_NUMA_BALANCING is for MPOL_BIND only".to_owned()
    } else {
        return None;
    };
    Some(format!("linux.memoryPolicy: {fault}"))
}

fn scheduler(written: &Scheduler) -> SchedulerAttributes {
    let policy = match *written.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = written.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    SchedulerAttributes {
        size: u32::try_from(size_of::<SchedulerAttributes>()).unwrap_or_default(),
        policy,
        flags: flags.fold(0, |all, flag: u64| all | flag),
        nice: written.nice().unwrap_or_default(),
        priority: written.priority().unwrap_or_default().cast_unsigned(),
        runtime: written.runtime().unwrap_or_default(),
        deadline: written.deadline().unwrap_or_default(),
        period: written.period().unwrap_or_default(),
    }
}

/// Class above bit 13, level below (ioprio_set(2)).
fn io_priority(class: IOPriorityClass, level: i64) -> anyhow::Result<u32> {
    let class = match class {
        IOPriorityClass::IoprioClassRt => 1_u32,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level =
        u32::try_from(level).ok().filter(|level| *level < 8).context("process.ioPriority.priority: is not from 0 to 7")?;
    Ok(class << 13 | level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(extra: serde_json::Value) -> Process {
        let mut all = serde_json::json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_process_object_says_what_it_says_and_the_rest_is_the_containers() {
        let own = of_process(&process(serde_json::json!({
            "scheduler": {"policy": "SCHED_BATCH", "nice": 3}, "execCPUAffinity": {"initial": "0", "final": "1"}
        })))
        .unwrap();
        assert_eq!((own.scheduler.unwrap().policy, own.first_processors[0], own.processors[0]), (3, 1, 2));
        let plain = process(serde_json::json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 1}}));
        let both = or_of_container(of_process(&plain).unwrap(), &plain, own.clone());
        assert_eq!((both.scheduler, both.io_priority, both.processors.len()), (own.scheduler, Some(3 << 13 | 1), 8));
        let other = process(serde_json::json!({"execCPUAffinity": {"initial": "1"}}));
        let both = or_of_container(of_process(&other).unwrap(), &other, own);
        assert_eq!((both.first_processors[0], both.processors.len()), (2, 0));
    }

    #[test]
    fn a_memory_policy_that_the_kernel_could_not_mean_is_a_fault() {
        let fault = |policy: serde_json::Value| memory_policy_fault(&serde_json::from_value(policy).unwrap());
        for fine in [
            serde_json::json!({"mode": "MPOL_BIND", "nodes": "0"}),
            serde_json::json!({"mode": "MPOL_PREFERRED"}),
            serde_json::json!({"mode": "MPOL_LOCAL"}),
            serde_json::json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]}),
        ] {
            assert_eq!(fault(fine.clone()), None, "{fine}");
        }
        for wrong in [
            serde_json::json!({"mode": "MPOL_BIND"}),
            serde_json::json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
            serde_json::json!({"mode": "MPOL_BIND", "nodes": "x"}),
            serde_json::json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            serde_json::json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
        ] {
            assert!(fault(wrong.clone()).is_some(), "{wrong}");
        }
    }
}
