//! The command's last steps before it is itself: everything that must hold when it executes is put in force here, in the one
//! order in which each step is still allowed.

use crate::block::Block;
use crate::kernel::{Answer, call, prctl, write};
use crate::wire::{KEPT, NO_UMASK, Rlimit, fd, flag, step};

/// A step that was refused.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) step: i32,
    pub(crate) errno: i32,
}

const SECCOMP_SET_MODE_FILTER: usize = 1;
const HIGHEST_CAPABILITY: u32 = 63;

fn check(step: i32, answer: Answer) -> Result<Answer, Refusal> {
    if answer < 0 { Err(Refusal { step, errno: -(answer as i32) }) } else { Ok(answer) }
}

/// Put everything in force and execute. Only a refusal returns.
pub(crate) fn become_command(block: &Block, host_proc: i32) -> Refusal {
    match prepare(block, host_proc) {
        Ok(()) => execute(block),
        Err(refusal) => refusal,
    }
}

fn prepare(block: &Block, host_proc: i32) -> Result<(), Refusal> {
    let header = block.header();
    join_v1_leaf(block)?;
    check(step::SESSION, call!(libc::SYS_setsid))?;
    if header.flags & flag::TERMINAL != 0 {
        check(step::TERMINAL, call!(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0))?;
    }
    set_label(block, host_proc)?;
    check(step::DESCRIPTORS, call!(libc::SYS_close_range, 3 + header.preserved, u32::MAX, 0))?;
    set_rlimits(block)?;
    set_scheduling(block)?;
    // As root of the container first: the user may not be allowed to walk the way, only to be there.
    let early = change_directory(block);
    let no_new_privs = header.flags & flag::NO_NEW_PRIVS != 0;
    if !no_new_privs {
        // An unprivileged process may not load a filter, so it comes before the privileges go.
        load_filter(block)?;
    }
    drop_privileges(block)?;
    if header.umask != NO_UMASK {
        call!(libc::SYS_umask, header.umask);
    }
    if early.is_err() {
        change_directory(block)?;
    }
    if no_new_privs {
        check(step::NO_NEW_PRIVS, prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0))?;
        load_filter(block)?;
    }
    Ok(())
}

fn join_v1_leaf(block: &Block) -> Result<(), Refusal> {
    let flags = block.header().flags;
    if flags & flag::LEAF == 0 || flags & flag::LEAF_KILL != 0 {
        return Ok(());
    }
    let tasks = call!(libc::SYS_openat, block.fd(fd::LEAF), c"tasks".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC, 0);
    check(step::LEAF, tasks)?;
    check(step::LEAF, write(tasks as i32, b"0"))?;
    Ok(())
}

fn set_label(block: &Block, host_proc: i32) -> Result<(), Refusal> {
    let Some(label) = block.string(block.header().label_at) else { return Ok(()) };
    let path = c"self/attr/exec";
    let file = check(step::LABEL, call!(libc::SYS_openat, host_proc, path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC, 0))?;
    check(step::LABEL, write(file as i32, label.to_bytes()))?;
    Ok(())
}

/// How the kernel is to run it.
fn set_scheduling(block: &Block) -> Result<(), Refusal> {
    const WHO_PROCESS: i32 = 1;
    let header = block.header();
    if header.processors != 0 {
        let mask = block.at(header.processors_at);
        check(step::PROCESSORS, call!(libc::SYS_sched_setaffinity, 0, header.processors, mask))?;
    }
    if header.scheduler_at != 0 {
        check(step::SCHEDULER, call!(libc::SYS_sched_setattr, 0, block.at(header.scheduler_at), 0))?;
    }
    if header.io_priority != KEPT {
        check(step::IO_PRIORITY, call!(libc::SYS_ioprio_set, WHO_PROCESS, 0, header.io_priority))?;
    }
    if header.memory_policy != KEPT {
        // The kernel looks at one bit less than it is told.
        let (mask, bits) = (block.at(header.nodes_at), header.nodes * 8 + 1);
        check(step::MEMORY_POLICY, call!(libc::SYS_set_mempolicy, header.memory_policy, mask, bits))?;
    }
    if header.personality != KEPT {
        check(step::PERSONALITY, call!(libc::SYS_personality, header.personality))?;
    }
    Ok(())
}

fn set_rlimits(block: &Block) -> Result<(), Refusal> {
    for limit in block.rlimits() {
        let mut wanted = [limit.soft, limit.hard];
        let answer = call!(libc::SYS_prlimit64, 0, limit.resource, wanted.as_ptr(), 0);
        if answer == -(libc::EPERM as isize) {
            // Without CAP_SYS_RESOURCE a hard limit cannot be raised: stay at what there is.
            clamp(limit, &mut wanted)?;
            check(step::RLIMITS, call!(libc::SYS_prlimit64, 0, limit.resource, wanted.as_ptr(), 0))?;
        } else {
            check(step::RLIMITS, answer)?;
        }
    }
    Ok(())
}

fn clamp(limit: &Rlimit, wanted: &mut [u64; 2]) -> Result<(), Refusal> {
    let mut now = [0_u64; 2];
    check(step::RLIMITS, call!(libc::SYS_prlimit64, 0, limit.resource, 0, now.as_mut_ptr()))?;
    wanted[1] = wanted[1].min(now[1]);
    wanted[0] = wanted[0].min(wanted[1]);
    Ok(())
}

fn load_filter(block: &Block) -> Result<(), Refusal> {
    let header = block.header();
    if header.filter_length == 0 {
        return Ok(());
    }
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u8,
    }
    let program = Program { length: header.filter_length as u16, filter: block.at(header.filter_at) };
    let program = core::ptr::from_ref(&program);
    check(step::SECCOMP, call!(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, header.filter_flags, program))?;
    Ok(())
}

fn drop_privileges(block: &Block) -> Result<(), Refusal> {
    let header = block.header();
    for capability in 0..=HIGHEST_CAPABILITY {
        if header.capabilities.bounding >> capability & 1 == 1 {
            continue;
        }
        // EINVAL: the kernel does not know it. EPERM: no CAP_SETPCAP, so look whether it is set at all.
        let answer = prctl(libc::PR_CAPBSET_DROP, capability as usize, 0);
        if answer == -(libc::EINVAL as isize) {
            break;
        }
        if answer < 0 && prctl(libc::PR_CAPBSET_READ, capability as usize, 0) != 0 {
            check(step::BOUNDING, answer)?;
        }
    }
    prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    change_user(block)?;
    prctl(libc::PR_SET_KEEPCAPS, 0, 0);
    set_capabilities(block)
}

/// Groups, then gid, then uid: each needs what the next one takes.
pub(crate) fn change_user(block: &Block) -> Result<(), Refusal> {
    let header = block.header();
    let answer = call!(libc::SYS_setgroups, header.groups, block.at(header.groups_at));
    // A user namespace may forbid setgroups; then there are no groups to drop either.
    if header.groups > 0 || answer != -(libc::EPERM as isize) {
        check(step::GROUPS, answer)?;
    }
    check(step::GID, call!(libc::SYS_setresgid, header.gid, header.gid, header.gid))?;
    check(step::UID, call!(libc::SYS_setresuid, header.uid, header.uid, header.uid))?;
    Ok(())
}

fn set_capabilities(block: &Block) -> Result<(), Refusal> {
    let sets = &block.header().capabilities;
    capset(sets.effective, sets.permitted, sets.inheritable)?;
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0);
    for capability in 0..=HIGHEST_CAPABILITY {
        if sets.ambient >> capability & 1 == 1 {
            let answer = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize, capability as usize);
            check(step::AMBIENT, answer)?;
        }
    }
    Ok(())
}

/// capset(2), version 3: low words, then high words.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Refusal> {
    let header = [0x2008_0522_u32, 0];
    let low_high = |set: u64| [set as u32, (set >> 32) as u32];
    let (e, p, i) = (low_high(effective), low_high(permitted), low_high(inheritable));
    let data = [e[0], p[0], i[0], e[1], p[1], i[1]];
    check(step::CAPABILITIES, call!(libc::SYS_capset, header.as_ptr(), data.as_ptr()))?;
    Ok(())
}

/// chdir, and look where that was: a directory descriptor that leaked into the container must not be a way out
/// (CVE-2024-21626).
fn change_directory(block: &Block) -> Result<(), Refusal> {
    let cwd = block.at(block.header().cwd_at);
    check(step::DIRECTORY, call!(libc::SYS_chdir, cwd))?;
    let mut path = [0_u8; 4096];
    check(step::DIRECTORY_OUTSIDE, call!(libc::SYS_getcwd, path.as_mut_ptr(), path.len()))?;
    if path[0] != b'/' {
        return Err(Refusal { step: step::DIRECTORY_OUTSIDE, errno: libc::ENOENT });
    }
    Ok(())
}

fn execute(block: &Block) -> Refusal {
    let header = block.header();
    let (argv, envp) = (block.at(header.argv_at), block.at(header.envp_at));
    let run = |path: *const u8| -> i32 { -(call!(libc::SYS_execve, path, argv, envp) as i32) };
    let refused = |errno| Refusal { step: step::EXEC, errno };
    let Some(command) = block.argument(0) else { return refused(libc::ENOENT) };
    let name = command.to_bytes();
    if name.is_empty() {
        return refused(libc::ENOENT);
    }
    if name.contains(&b'/') {
        return refused(run(command.as_ptr().cast()));
    }
    let path = block.string(header.path_at).map_or(&b""[..], core::ffi::CStr::to_bytes);
    let mut errno = libc::ENOENT;
    for directory in path.split(|byte| *byte == b':') {
        let mut candidate = [0_u8; 4096];
        if join(directory, name, &mut candidate) {
            match run(candidate.as_ptr()) {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => errno = libc::EACCES,
                other => return refused(other),
            }
        }
    }
    refused(errno)
}

/// `directory/name` and a NUL, if it fits. An empty directory is the working directory.
fn join(directory: &[u8], name: &[u8], into: &mut [u8; 4096]) -> bool {
    let directory = if directory.is_empty() { b"." } else { directory };
    let length = directory.len() + 1 + name.len();
    if length >= into.len() {
        return false;
    }
    into[..directory.len()].copy_from_slice(directory);
    into[directory.len()] = b'/';
    into[directory.len() + 1..length].copy_from_slice(name);
    true
}
