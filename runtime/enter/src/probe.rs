//! The probe shape: an outer process A that times, kills and reports, and a reaper B inside the container's pid namespace.
//!
//! B is subreaper, so whatever the command leaves behind becomes B's child: when B has no child left, nothing of the probe
//! lives, and no zombie goes to a pid 1 that never reaps. B is powerless by then: no capability, the probe's user, not dumpable.
//! B may still be killed from inside by the container's root: A sees it end without a word, kills the leaf and says so.

use crate::block::Block;
use crate::command::{Refusal, capset, change_user};
use crate::kernel::{CloneArgs, call, clone3, exit, prctl, write};
use crate::leaf::kill_leaf;
use crate::wire::{Record, flag, kind, step};
use crate::{Stack, check, clone_command, join_namespaces, join_v1, prepare, refused};

static mut REAPER_STACK: Stack = Stack([0; Stack::SIZE]);

/// How long A waits for B to reap what was killed before it kills B too.
const REAP_MILLISECONDS: i64 = 5_000;
const P_ALL: usize = 0;
const P_PIDFD: usize = 3;

/// What B leaves for A, in memory that both see.
struct Shared {
    /// B has copied its arguments.
    copied: u32,
    /// Written once, last: all 0 while B has said nothing.
    record: Record,
}

struct ReaperStart<'a> {
    block: &'a Block,
    host_proc: i32,
    shared: *mut Shared,
    /// B writes here when processes are left over.
    left: i32,
}

/// Run the probe to its end.
pub(crate) fn run(block: &Block) -> Record {
    match start(block) {
        Ok((reaper, shared, left)) => watch(block, reaper, shared, left),
        Err(refusal) => refused(refusal, 0),
    }
}

fn start(block: &Block) -> Result<(i32, *mut Shared, i32), Refusal> {
    let host_proc = prepare(block)?;
    join_namespaces(block)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let shared = call!(libc::SYS_mmap, 0, 4096, protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1_i32, 0);
    let shared = check(step::MEMORY, shared)? as *mut Shared;
    let mut left = [0_i32; 2];
    check(step::MEMORY, call!(libc::SYS_pipe2, left.as_mut_ptr(), libc::O_CLOEXEC))?;
    let start = ReaperStart { block, host_proc, shared, left: left[1] };
    let mut pidfd = -1_i32;
    let shares = block.header().flags & flag::OWN_MEMORY == 0;
    let args = CloneArgs {
        flags: (if shares { libc::CLONE_VM } else { 0 } | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: (&raw mut REAPER_STACK) as u64,
        stack_size: Stack::SIZE as u64,
        ..CloneArgs::default()
    };
    let start_at = &raw const start;
    check(step::CLONE, unsafe { clone3(&args, reaper_main, start_at as usize) })?;
    // `start` lives in this frame, which B reads: B has its own copy of all it needs before A goes on.
    await_copy(shared);
    Ok((pidfd, shared, left[0]))
}

fn await_copy(shared: *mut Shared) {
    let word = unsafe { core::sync::atomic::AtomicU32::from_ptr(&raw mut (*shared).copied) };
    while word.load(core::sync::atomic::Ordering::Acquire) == 0 {
        call!(libc::SYS_sched_yield);
    }
}

fn watch(block: &Block, reaper: i32, shared: *mut Shared, left: i32) -> Record {
    let timeout = block.header().timeout_milliseconds;
    let mut until = deadline(if timeout == 0 { i64::from(u32::MAX) } else { i64::from(timeout) });
    let (mut timed_out, mut killed) = (false, false);
    loop {
        match poll(reaper, if killed { -1 } else { left }, until) {
            Woken::Reaper => break,
            Woken::Left => {}
            Woken::Time if !timed_out && !killed => timed_out = true,
            Woken::Time => {
                call!(libc::SYS_pidfd_send_signal, reaper, libc::SIGKILL, 0, 0);
            }
        }
        kill_leaf(block);
        until = deadline(REAP_MILLISECONDS);
        killed = true;
    }
    call!(libc::SYS_waitid, P_PIDFD, reaper, 0, libc::WEXITED, 0);
    let record = unsafe { core::ptr::read_volatile(&raw const (*shared).record) };
    match (timed_out, record.kind) {
        (true, _) => Record { kind: kind::TIMED_OUT, ..Record::default() },
        (false, 0) => {
            kill_leaf(block);
            Record { kind: kind::REAPER_KILLED, ..Record::default() }
        }
        (false, _) => Record { leftovers: u32::from(killed), ..record },
    }
}

enum Woken {
    Reaper,
    Left,
    Time,
}

fn now() -> i64 {
    let mut time = [0_i64; 2];
    call!(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, time.as_mut_ptr());
    time[0] * 1000 + time[1] / 1_000_000
}

fn deadline(milliseconds: i64) -> i64 {
    now() + milliseconds
}

fn poll(reaper: i32, left: i32, until: i64) -> Woken {
    loop {
        let wait = (until - now()).max(0);
        let time = [wait / 1000, wait % 1000 * 1_000_000];
        let mut fds = [
            libc::pollfd { fd: reaper, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: left, events: libc::POLLIN, revents: 0 },
        ];
        let ready = call!(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), time.as_ptr(), 0, 0);
        if fds[0].revents != 0 {
            return Woken::Reaper;
        }
        if fds[1].revents != 0 {
            return Woken::Left;
        }
        if ready == 0 && now() >= until {
            return Woken::Time;
        }
    }
}

extern "C" fn reaper_main(argument: usize) -> ! {
    let ReaperStart { block, host_proc, shared, left } = unsafe { core::ptr::read(argument as *const ReaperStart<'_>) };
    let word = unsafe { core::sync::atomic::AtomicU32::from_ptr(&raw mut (*shared).copied) };
    // A's copy of `block` lives in `main`, which does not return before B has ended.
    word.store(1, core::sync::atomic::Ordering::Release);
    let record = match reap(block, host_proc, left) {
        Ok(record) => record,
        Err(refusal) => refused(refusal, 0),
    };
    unsafe { core::ptr::write_volatile(&raw mut (*shared).record, record) };
    exit(0)
}

fn reap(block: &Block, host_proc: i32, left: i32) -> Result<Record, Refusal> {
    check(step::SUBREAPER, prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0))?;
    prctl(libc::PR_SET_NAME, c"hshim-probe".as_ptr() as usize, 0);
    prctl(libc::PR_SET_DUMPABLE, 0, 0);
    join_v1(block)?;
    let (pid, refusal) = clone_command(block, host_proc, 0, libc::SIGCHLD as u64)?;
    let powerless = become_powerless(block);
    let left = keep_only(left);
    let (status, code) = wait_for(pid);
    if let Some(refusal) = refusal {
        return Ok(refused(refusal, 0));
    }
    reap_leftovers(left);
    powerless?;
    let kind = if code == libc::CLD_EXITED { kind::EXITED } else { kind::SIGNALED };
    Ok(Record { kind, value: status, ..Record::default() })
}

/// No capability, the probe's user, out of reach of a debugger, and dead when A dies.
fn become_powerless(block: &Block) -> Result<(), Refusal> {
    change_user(block)?;
    capset(0, 0, 0)?;
    check(step::NO_NEW_PRIVS, prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0))?;
    prctl(libc::PR_SET_DUMPABLE, 0, 0);
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize, 0);
    Ok(())
}

/// Close everything but `left`, which becomes descriptor 0: the command's output must not be held open by its reaper.
fn keep_only(left: i32) -> i32 {
    call!(libc::SYS_dup3, left, 0, 0);
    call!(libc::SYS_close_range, 1, u32::MAX, 0);
    0
}

/// Reap until `pid` has ended: its status and how (`CLD_*`).
fn wait_for(pid: i32) -> (i32, i32) {
    loop {
        let (reaped, status, code) = wait(libc::WEXITED);
        if reaped == pid || reaped <= 0 {
            return (status, code);
        }
    }
}

/// Reap until there is no child; tell A if that takes killing.
fn reap_leftovers(left: i32) {
    let mut told = false;
    loop {
        let (reaped, ..) = wait(libc::WEXITED | if told { 0 } else { libc::WNOHANG });
        match reaped {
            ..0 => return,
            0 => {
                write(left, b"l");
                told = true;
            }
            _ => {}
        }
    }
}

/// Any child: its process id (0: none has ended, negative: there is none), status and code.
fn wait(options: i32) -> (i32, i32, i32) {
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let answer = call!(libc::SYS_waitid, P_ALL, 0, core::ptr::from_mut(&mut info), options, 0);
    if answer == -(libc::EINTR as isize) {
        return (i32::MAX, 0, 0);
    }
    if answer < 0 {
        return (answer as i32, 0, 0);
    }
    unsafe { (info.si_pid(), info.si_status(), info.si_code) }
}
