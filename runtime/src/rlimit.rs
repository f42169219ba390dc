//! Resource limits by their OCI names, and how a container's are set.

use anyhow::Context;
use libcontainer::oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use nix::sys::resource::Resource;

use crate::sys;

/// Sets the limits of a waiting init process, from outside: in its own user namespace it may not raise them, and libcontainer, which sets
/// them before it builds the container, would be held by them itself.
pub(crate) fn set(limits: &[PosixRlimit], pid: i32) -> anyhow::Result<()> {
    limits.iter().try_for_each(|limit| {
        sys::prlimit(pid, resource(limit.typ()), limit.soft(), limit.hard())
            .with_context(|| format!("process.rlimits: set {} to {} (at most {})", limit.typ(), limit.soft(), limit.hard()))
    })
}

/// The kernel's resource of an OCI limit.
pub(crate) fn resource(typ: PosixRlimitType) -> Resource {
    match typ {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
