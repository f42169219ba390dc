//! Resource limits by their OCI names, and how a container's are set.

use anyhow::Context;
use libcontainer::oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use nix::sys::resource::{Resource, getrlimit};

use crate::sys;

/// Raises hard limits of a waiting init process, which it could not do itself in its own user namespace. It sets the limits before it
/// executes its command; libcontainer, which would set them before it builds the container, could not live with some.
pub(crate) fn raise(limits: &[PosixRlimit], pid: i32) -> anyhow::Result<()> {
    for limit in limits {
        let resource = resource(limit.typ());
        let (soft, hard) = getrlimit(resource).context("read the limits")?;
        if limit.hard() > hard {
            sys::prlimit(pid, resource, soft, limit.hard())
                .with_context(|| format!("process.rlimits: raise {} to {}", limit.typ(), limit.hard()))?;
        }
    }
    Ok(())
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
