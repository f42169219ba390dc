//! Who the processes of a container are: what every process that joins it must become.
//!
//! Prepared once at `create` and kept as bytes beside the container's state, so that whoever probes it reads no spec and
//! compiles no filter.

use std::ffi::CString;

pub use crate::wire::{Capabilities, Rlimit, SchedulerAttributes};

/// Identity of a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container's user namespace.
    pub uid: u32,
    /// Group id in the container's user namespace.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The five sets.
    pub capabilities: Capabilities,
    /// prctl(2) `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// System call filter.
    pub seccomp: Option<Seccomp>,
    /// AppArmor profile to change to at exec.
    pub apparmor: Option<String>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// File mode mask; the caller's is kept when there is none.
    pub umask: Option<u32>,
    /// Working directory, absolute in the container.
    pub cwd: CString,
    /// `NAME=value` each.
    pub env: Vec<CString>,
    /// Preference of the OOM killer, −1000 to 1000 (proc(5)).
    pub oom_score_adj: Option<i32>,
    /// Execution domain (personality(2)).
    pub personality: Option<u32>,
    /// How the kernel runs it.
    pub scheduling: Scheduling,
}

/// How the kernel runs a process; what is absent is as the caller has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Policy and its parameters (sched_setattr(2)).
    pub scheduler: Option<SchedulerAttributes>,
    /// Class and level (ioprio_set(2)).
    pub io_priority: Option<u32>,
    /// Bit mask of the processors before it is in its cgroup; empty: the caller's.
    pub first_processors: Vec<u8>,
    /// Bit mask of its processors; empty: what the cgroup gives.
    pub processors: Vec<u8>,
    /// Where its memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
}

/// A memory policy (set_mempolicy(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` with `MPOL_F_*`.
    pub mode: u32,
    /// Bit mask of nodes, in whole longs.
    pub nodes: Vec<u8>,
}

/// A compiled seccomp filter (seccomp(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seccomp {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// `struct sock_filter` each, 8 bytes.
    pub program: Vec<u8>,
}

/// The bytes are not an identity that this version wrote.
#[derive(Debug, thiserror::Error)]
#[error("not an identity of this version of hshim (byte {at}): create the container again")]
pub struct DecodeError {
    /// Where reading stopped.
    at: usize,
}

const MAGIC: &[u8; 8] = b"hshimid2";
const ABSENT: u32 = u32::MAX;

impl Identity {
    /// The bytes for [`Identity::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.word(self.uid);
        out.word(self.gid);
        out.list(&self.groups, |out, group| out.word(*group));
        let sets = &self.capabilities;
        for set in [sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient] {
            out.long(set);
        }
        out.word(u32::from(self.no_new_privs));
        out.option(self.seccomp.as_ref(), |out, seccomp| {
            out.word(seccomp.flags);
            out.bytes(&seccomp.program);
        });
        out.option(self.apparmor.as_ref(), |out, label| out.bytes(label.as_bytes()));
        out.list(&self.rlimits, |out, limit| {
            out.word(limit.resource);
            out.long(limit.soft);
            out.long(limit.hard);
        });
        out.option(self.umask.as_ref(), |out, umask| out.word(*umask));
        out.bytes(self.cwd.as_bytes());
        out.list(&self.env, |out, variable| out.bytes(variable.as_bytes()));
        out.option(self.oom_score_adj.as_ref(), |out, value| out.word(value.cast_unsigned()));
        out.option(self.personality.as_ref(), |out, value| out.word(*value));
        out.scheduling(&self.scheduling);
        out.0
    }

    /// The identity that [`Identity::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else, or cut short.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader { bytes, at: 0 };
        if input.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError { at: 0 });
        }
        let identity = Self {
            uid: input.word()?,
            gid: input.word()?,
            groups: input.list(Reader::word)?,
            capabilities: Capabilities {
                bounding: input.long()?,
                effective: input.long()?,
                inheritable: input.long()?,
                permitted: input.long()?,
                ambient: input.long()?,
            },
            no_new_privs: input.word()? == 1,
            seccomp: input.option(|input| Ok(Seccomp { flags: input.word()?, program: input.bytes()?.to_vec() }))?,
            apparmor: input.option(Reader::text)?,
            rlimits: input
                .list(|input| Ok(Rlimit { resource: input.word()?, reserved: 0, soft: input.long()?, hard: input.long()? }))?,
            umask: input.option(Reader::word)?,
            cwd: input.c_string()?,
            env: input.list(Reader::c_string)?,
            oom_score_adj: input.option(Reader::word)?.map(u32::cast_signed),
            personality: input.option(Reader::word)?,
            scheduling: input.scheduling()?,
        };
        if input.at == bytes.len() { Ok(identity) } else { Err(DecodeError { at: input.at }) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_le_bytes());
    }

    fn long(&mut self, long: u64) {
        self.0.extend(long.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }

    fn scheduling(&mut self, scheduling: &Scheduling) {
        self.option(scheduling.scheduler.as_ref(), |out, attributes| {
            for word in [attributes.size, attributes.policy, attributes.nice.cast_unsigned(), attributes.priority] {
                out.word(word);
            }
            for long in [attributes.flags, attributes.runtime, attributes.deadline, attributes.period] {
                out.long(long);
            }
        });
        self.option(scheduling.io_priority.as_ref(), |out, value| out.word(*value));
        self.bytes(&scheduling.first_processors);
        self.bytes(&scheduling.processors);
        self.option(scheduling.memory_policy.as_ref(), |out, policy| {
            out.word(policy.mode);
            out.bytes(&policy.nodes);
        });
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            each(self, item);
        }
    }

    fn option<T>(&mut self, item: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match item {
            Some(item) => {
                self.word(1);
                write(self, item);
            }
            None => self.word(ABSENT),
        }
    }

    /// A length; what a process can be handed is far below 4 GiB (execve(2) allows a quarter of the stack).
    fn count(&mut self, count: usize) {
        self.word(u32::try_from(count).unwrap_or(ABSENT));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let end = at.checked_add(count).ok_or(DecodeError { at })?;
        let taken = self.bytes.get(at..end).ok_or(DecodeError { at })?;
        self.at = end;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, DecodeError> {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(word))
    }

    fn long(&mut self) -> Result<u64, DecodeError> {
        let mut long = [0; 8];
        long.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(long))
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        usize::try_from(self.word()?).map_err(|_too_large| DecodeError { at })
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.count()?;
        self.take(count)
    }

    fn scheduling(&mut self) -> Result<Scheduling, DecodeError> {
        Ok(Scheduling {
            scheduler: self.option(Self::scheduler)?,
            io_priority: self.option(Self::word)?,
            first_processors: self.bytes()?.to_vec(),
            processors: self.bytes()?.to_vec(),
            memory_policy: self.option(|input| Ok(MemoryPolicy { mode: input.word()?, nodes: input.bytes()?.to_vec() }))?,
        })
    }

    fn scheduler(&mut self) -> Result<SchedulerAttributes, DecodeError> {
        let (size, policy, nice, priority) = (self.word()?, self.word()?, self.word()?.cast_signed(), self.word()?);
        let (flags, runtime, deadline, period) = (self.long()?, self.long()?, self.long()?, self.long()?);
        Ok(SchedulerAttributes { size, policy, flags, nice, priority, runtime, deadline, period })
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let at = self.at;
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_not_text| DecodeError { at })
    }

    fn c_string(&mut self) -> Result<CString, DecodeError> {
        let at = self.at;
        CString::new(self.bytes()?).map_err(|_has_nul| DecodeError { at })
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        (0..self.count()?).map(|_| each(self)).collect()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
        let at = self.at;
        match self.word()? {
            1 => read(self).map(Some),
            ABSENT => Ok(None),
            _ => Err(DecodeError { at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Identity {
        Identity {
            uid: 1000,
            gid: 2000,
            groups: vec![1, 2, 3],
            capabilities: Capabilities { bounding: 1, effective: 2, inheritable: 3, permitted: 4, ambient: u64::MAX },
            no_new_privs: true,
            seccomp: Some(Seccomp { flags: 2, program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f] }),
            apparmor: Some("profile".to_owned()),
            rlimits: vec![Rlimit { resource: 7, reserved: 0, soft: 1024, hard: u64::MAX }],
            umask: Some(0o27),
            cwd: c"/work".to_owned(),
            env: vec![c"PATH=/bin".to_owned(), c"A=b=c".to_owned()],
            oom_score_adj: Some(-500),
            personality: Some(8),
            scheduling: Scheduling {
                scheduler: Some(SchedulerAttributes {
                    size: 48,
                    policy: 3,
                    nice: -7,
                    period: 9,
                    ..SchedulerAttributes::default()
                }),
                io_priority: Some(2 << 13),
                first_processors: vec![1],
                processors: vec![3, 1],
                memory_policy: Some(MemoryPolicy { mode: 2, nodes: vec![1; 8] }),
            },
        }
    }

    #[test]
    fn an_identity_survives_its_bytes() {
        for identity in [full(), Identity::default()] {
            assert_eq!(Identity::from_bytes(&identity.to_bytes()).unwrap(), identity);
        }
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_refused_and_never_panic() {
        let bytes = full().to_bytes();
        for length in 0..bytes.len() {
            assert!(Identity::from_bytes(&bytes[..length]).is_err(), "{length} bytes of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            // Either refused or another identity.
            assert!(Identity::from_bytes(&changed).map_or(true, |identity| identity != full()), "byte {at}");
        }
    }
}
