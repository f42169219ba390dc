//! The description that the caller hands to the program: one block, laid out so that the program needs no allocation.
//!
//! The block is a memfd that the program maps privately. It begins with a [`Header`]; every `*_at` is an offset into the block.
//! Strings end in NUL. `argv_at` and `envp_at` are arrays of 8-byte slots that hold offsets, which the program turns into
//! pointers in place, with a slot of 0 behind the last. Both sides are built together, so the layout is the machine's own.

/// First word of a block.
pub const MAGIC: u32 = 0x6873_656e;
/// Layout version; the program refuses another one.
pub const VERSION: u32 = 2;
/// `umask` when the container's is kept.
pub const NO_UMASK: u32 = u32::MAX;
/// `personality`, `io_priority` and `memory_policy` when the caller's is kept.
pub const KEPT: u32 = u32::MAX;
/// `oom_score_adj` when the caller's is kept.
pub const NO_OOM_SCORE_ADJ: i32 = i32::MIN;

/// Descriptors beside the standard ones, counted from the base (3 + preserved descriptors).
pub mod fd {
    /// The block.
    pub const DESCRIPTION: u32 = 0;
    /// pidfd of the container's init.
    pub const TARGET: u32 = 1;
    /// Report pipe, for writing.
    pub const REPORT: u32 = 2;
    /// Directory of the leaf cgroup, if [`super::flag::LEAF`].
    pub const LEAF: u32 = 3;
    /// Its `cgroup.kill`, if [`super::flag::LEAF_KILL`].
    pub const LEAF_KILL: u32 = 4;
    /// The first of `v1_tasks` files of the container's v1 cgroups.
    pub const V1_TASKS: u32 = 5;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The probe shape; else the exec shape.
    pub const PROBE: u32 = 1;
    /// There is a leaf cgroup.
    pub const LEAF: u32 = 1 << 1;
    /// The leaf is of cgroup v2 and can be killed by one write.
    pub const LEAF_KILL: u32 = 1 << 2;
    /// `no_new_privs`.
    pub const NO_NEW_PRIVS: u32 = 1 << 3;
    /// Standard input is the controlling terminal.
    pub const TERMINAL: u32 = 1 << 4;
    /// The reaper must not share memory with the outer process: something in the container may be able to trace it.
    pub const OWN_MEMORY: u32 = 1 << 5;
}

/// Capability sets as bit masks (capabilities(7)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// May be gained by exec at most.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept over exec of a file with inheritable capabilities.
    pub inheritable: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over exec of an ordinary file.
    pub ambient: u64,
}

/// One resource limit (getrlimit(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Keeps the layout free of holes.
    pub reserved: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// What the block begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes in all.
    pub length: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `CLONE_NEW*` bits of the namespaces to join.
    pub namespaces: u32,
    /// In the container's user namespace.
    pub uid: u32,
    /// In the container's user namespace.
    pub gid: u32,
    /// [`NO_UMASK`] or a mode mask.
    pub umask: u32,
    /// [`NO_OOM_SCORE_ADJ`] or a value.
    pub oom_score_adj: i32,
    /// Of a probe.
    pub timeout_milliseconds: u32,
    /// Supplementary groups, u32 each.
    pub groups_at: u32,
    /// How many.
    pub groups: u32,
    /// [`Rlimit`] each.
    pub rlimits_at: u32,
    /// How many.
    pub rlimits: u32,
    /// `struct sock_filter` each; no filter if 0 of them.
    pub filter_at: u32,
    /// How many.
    pub filter_length: u32,
    /// Flags of seccomp(2).
    pub filter_flags: u32,
    /// `exec LABEL` for /proc/self/attr; 0: none.
    pub label_at: u32,
    /// Working directory.
    pub cwd_at: u32,
    /// Slots.
    pub argv_at: u32,
    /// How many arguments.
    pub argc: u32,
    /// Slots.
    pub envp_at: u32,
    /// How many variables.
    pub envc: u32,
    /// Value of PATH for the search of a command without a slash.
    pub path_at: u32,
    /// How many descriptors [`fd::V1_TASKS`] begins.
    pub v1_tasks: u32,
    /// Descriptors from 3 on that the command keeps.
    pub preserved: u32,
    /// [`KEPT`] or a personality(2).
    pub personality: u32,
    /// [`KEPT`] or class and level as ioprio_set(2) takes them.
    pub io_priority: u32,
    /// A [`SchedulerAttributes`]; 0: the caller's is kept.
    pub scheduler_at: u32,
    /// Bit mask of processors before the step into the cgroup.
    pub first_processors_at: u32,
    /// Bytes of it; 0: the caller's are kept.
    pub first_processors: u32,
    /// The same after that step.
    pub processors_at: u32,
    /// Bytes of it.
    pub processors: u32,
    /// [`KEPT`] or mode and flags of set_mempolicy(2).
    pub memory_policy: u32,
    /// Bit mask of its nodes.
    pub nodes_at: u32,
    /// Bytes of it.
    pub nodes: u32,
    /// Sets.
    pub capabilities: Capabilities,
}

/// `struct sched_attr` of its first version (sched_setattr(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// Its size in bytes.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Of ordinary policies, -20 to 19.
    pub nice: i32,
    /// Of real-time policies.
    pub priority: u32,
    /// Of SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// Of SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// Of SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

/// Kinds of [`Record`].
pub mod kind {
    /// Exec: it runs; `value` is its process id.
    pub const RUNNING: u32 = 1;
    /// `value` is the step, `errno` what it answered.
    pub const COULD_NOT_ENTER: u32 = 2;
    /// `errno` of execve; exec: `value` is the process id to reap, else 0.
    pub const COULD_NOT_EXEC: u32 = 3;
    /// `value` is the exit code.
    pub const EXITED: u32 = 4;
    /// `value` is the signal.
    pub const SIGNALED: u32 = 5;
    /// The time was over; everything of it is dead.
    pub const TIMED_OUT: u32 = 6;
    /// The reaper was killed from inside.
    pub const REAPER_KILLED: u32 = 7;
}

/// What the program reports, once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// [`kind`].
    pub kind: u32,
    /// Depends on the kind.
    pub value: i32,
    /// Depends on the kind.
    pub errno: i32,
    /// 1 when processes were left and had to be killed.
    pub leftovers: u32,
}

/// Steps into a container, for the report of a failure. 1 to 15 are the outer process', the rest the command's.
pub mod step {
    /// The block is not one of ours.
    pub const DESCRIPTION: i32 = 1;
    /// Write /proc/self/oom_score_adj.
    pub const OOM_SCORE_ADJ: i32 = 2;
    /// Open the host's /proc, for the label.
    pub const PROC: i32 = 3;
    /// Write a v1 `tasks` file.
    pub const CGROUP: i32 = 4;
    /// setns(2).
    pub const NAMESPACES: i32 = 5;
    /// Map shared memory.
    pub const MEMORY: i32 = 6;
    /// Clone the reaper or the command.
    pub const CLONE: i32 = 7;
    /// Become subreaper.
    pub const SUBREAPER: i32 = 8;
    /// sched_setaffinity(2) before the cgroup.
    pub const FIRST_PROCESSORS: i32 = 9;
    /// Join the v1 leaf.
    pub const LEAF: i32 = 16;
    /// setsid(2).
    pub const SESSION: i32 = 17;
    /// Make the terminal the controlling one.
    pub const TERMINAL: i32 = 18;
    /// close_range(2).
    pub const DESCRIPTORS: i32 = 19;
    /// prlimit(2).
    pub const RLIMITS: i32 = 20;
    /// Write the label.
    pub const LABEL: i32 = 21;
    /// seccomp(2).
    pub const SECCOMP: i32 = 22;
    /// Drop the bounding set.
    pub const BOUNDING: i32 = 23;
    /// setgroups(2).
    pub const GROUPS: i32 = 24;
    /// setresgid(2).
    pub const GID: i32 = 25;
    /// setresuid(2).
    pub const UID: i32 = 26;
    /// capset(2).
    pub const CAPABILITIES: i32 = 27;
    /// Raise ambient capabilities.
    pub const AMBIENT: i32 = 28;
    /// chdir(2).
    pub const DIRECTORY: i32 = 29;
    /// The working directory is outside the container's root.
    pub const DIRECTORY_OUTSIDE: i32 = 30;
    /// `no_new_privs`.
    pub const NO_NEW_PRIVS: i32 = 31;
    /// execve(2).
    pub const EXEC: i32 = 32;
    /// sched_setaffinity(2) in the cgroup.
    pub const PROCESSORS: i32 = 33;
    /// sched_setattr(2).
    pub const SCHEDULER: i32 = 34;
    /// ioprio_set(2).
    pub const IO_PRIORITY: i32 = 35;
    /// set_mempolicy(2).
    pub const MEMORY_POLICY: i32 = 36;
    /// personality(2).
    pub const PERSONALITY: i32 = 37;
}
