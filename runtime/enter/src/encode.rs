//! Writes the block of [`crate::wire`].

use std::ffi::{CStr, CString};

use crate::identity::Identity;
use crate::wire::{Header, KEPT, MAGIC, NO_OOM_SCORE_ADJ, NO_UMASK, SchedulerAttributes, VERSION};

/// What differs from entry to entry, beside the identity.
pub(crate) struct Entrance<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) argv: &'a [CString],
    pub(crate) flags: u32,
    pub(crate) namespaces: u32,
    pub(crate) timeout_milliseconds: u32,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) v1_tasks: u32,
    pub(crate) preserved: u32,
}

/// The block, or nothing when it would not fit its offsets (4 GiB).
pub(crate) fn encode(entrance: &Entrance<'_>) -> Option<Vec<u8>> {
    let identity = entrance.identity;
    let mut block = Block(vec![0; size_of::<Header>()]);
    let label = identity.apparmor.as_ref().and_then(|label| CString::new(format!("exec {label}")).ok());
    let filter = identity.seccomp.as_ref();
    let scheduling = &identity.scheduling;
    let nodes = scheduling.memory_policy.as_ref().map(|policy| policy.nodes.as_slice()).unwrap_or_default();
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        flags: entrance.flags,
        namespaces: entrance.namespaces,
        uid: identity.uid,
        gid: identity.gid,
        umask: identity.umask.unwrap_or(NO_UMASK),
        oom_score_adj: entrance.oom_score_adj.unwrap_or(NO_OOM_SCORE_ADJ),
        timeout_milliseconds: entrance.timeout_milliseconds,
        groups_at: block.put(identity.groups.iter().flat_map(|group| group.to_ne_bytes()))?,
        groups: u32::try_from(identity.groups.len()).ok()?,
        rlimits_at: block.put(identity.rlimits.iter().flat_map(|limit| {
            let words = [u64::from(limit.resource), limit.soft, limit.hard];
            words.into_iter().flat_map(u64::to_ne_bytes)
        }))?,
        rlimits: u32::try_from(identity.rlimits.len()).ok()?,
        filter_at: block.put(filter.into_iter().flat_map(|filter| filter.program.iter().copied()))?,
        filter_length: u32::try_from(filter.map_or(0, |filter| filter.program.len() / 8)).ok()?,
        filter_flags: filter.map_or(0, |filter| filter.flags),
        label_at: label.map_or(Some(0), |label| block.string(&label))?,
        cwd_at: block.string(&identity.cwd)?,
        argv_at: block.strings(entrance.argv)?,
        argc: u32::try_from(entrance.argv.len()).ok()?,
        envp_at: block.strings(&identity.env)?,
        envc: u32::try_from(identity.env.len()).ok()?,
        path_at: block.string(&search_path(identity))?,
        v1_tasks: entrance.v1_tasks,
        preserved: entrance.preserved,
        personality: identity.personality.unwrap_or(KEPT),
        io_priority: scheduling.io_priority.unwrap_or(KEPT),
        scheduler_at: scheduling.scheduler.map_or(Some(0), |attributes| block.put(words(&attributes)))?,
        first_processors_at: block.put(scheduling.first_processors.iter().copied())?,
        first_processors: u32::try_from(scheduling.first_processors.len()).ok()?,
        processors_at: block.put(scheduling.processors.iter().copied())?,
        processors: u32::try_from(scheduling.processors.len()).ok()?,
        memory_policy: scheduling.memory_policy.as_ref().map_or(KEPT, |policy| policy.mode),
        nodes_at: block.put(nodes.iter().copied())?,
        nodes: u32::try_from(nodes.len()).ok()?,
        capabilities: identity.capabilities,
        length: 0,
    };
    let length = u32::try_from(block.0.len()).ok()?;
    block.finish(Header { length, ..header })
}

/// `struct sched_attr` as the kernel reads it.
fn words(attributes: &SchedulerAttributes) -> impl Iterator<Item = u8> {
    let SchedulerAttributes { size, policy, flags, nice, priority, runtime, deadline, period } = *attributes;
    let low_first = |low: u32, high: u32| [low.to_ne_bytes(), high.to_ne_bytes()].concat();
    let long = |long: u64| long.to_ne_bytes().to_vec();
    [low_first(size, policy), long(flags), low_first(nice.cast_unsigned(), priority), long(runtime), long(deadline), long(period)]
        .into_iter()
        .flatten()
}

/// The value of PATH, the last one as for the command itself; execvp's default when there is none.
fn search_path(identity: &Identity) -> CString {
    let value = identity.env.iter().rev().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    value.and_then(|value| CString::new(value).ok()).unwrap_or_else(|| c"/bin:/usr/bin".to_owned())
}

struct Block(Vec<u8>);

impl Block {
    /// Append, aligned for anything.
    fn put(&mut self, bytes: impl IntoIterator<Item = u8>) -> Option<u32> {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = u32::try_from(self.0.len()).ok()?;
        self.0.extend(bytes);
        Some(at)
    }

    fn string(&mut self, string: &CStr) -> Option<u32> {
        let at = u32::try_from(self.0.len()).ok()?;
        self.0.extend(string.to_bytes_with_nul());
        Some(at)
    }

    /// An array of slots with the strings' offsets, ended by 0.
    fn strings(&mut self, strings: &[CString]) -> Option<u32> {
        let offsets = strings.iter().map(|string| self.string(string)).collect::<Option<Vec<u32>>>()?;
        self.put(offsets.into_iter().map(u64::from).chain([0]).flat_map(u64::to_ne_bytes))
    }

    fn finish(mut self, header: Header) -> Option<Vec<u8>> {
        // SAFETY: Header is repr(C) of plain integers without holes, so each of its bytes is initialised.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const header).cast::<u8>(), size_of::<Header>()) };
        self.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(self.0)
    }
}

// 36 words and 5 longs: no hole.
const _: () = assert!(size_of::<Header>() == 36 * 4 + 5 * 8);
