//! `hshim-enter BASE`: steps into a running container and executes one command there.
//!
//! All that it needs comes through descriptors from BASE on ([`wire::fd`]); one [`wire::Record`] goes back. It allocates nothing,
//! formats nothing, and shares no memory with its caller. Every line of it is about system calls, so it speaks to the kernel
//! directly.
//!
//! ```text
//!  exec     A ─ joins ─ clones C as its caller's own child ─ reports C's process id ─ ends
//!  probe    A ─ joins ─ clones B ─ waits for B, or the time ─ kills the leaf ─ reports
//!           B (in the container's pid namespace, subreaper, powerless) ─ clones C into the leaf ─ reaps until nobody is left
//!  both     C ─ puts everything in force ─ executes
//! ```
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "all of it is system calls: style.md, Unsafe"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "arguments of system calls are words; a panic is impossible to report here and aborts"
)]
#![allow(dead_code, unreachable_pub, reason = "wire is shared with the library, which uses other parts of it")]

mod block;
mod command;
mod kernel;
mod leaf;
mod probe;
mod wire;

use block::Block;
use command::{Refusal, become_command};
use kernel::{CloneArgs, call, clone3, exit, prctl, write};
use wire::{Header, Record, fd, flag, kind, step};

// musl's own start code, memcpy and the like; nothing else of it is called.
#[link(name = "c")]
unsafe extern "C" {}

/// core is compiled to unwind and names this; with panic = "abort" it is never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}

/// Stack of a child: `execute` keeps two paths on it.
#[repr(align(16))]
struct Stack([u8; Self::SIZE]);

impl Stack {
    const SIZE: usize = 64 * 1024;
}

static mut COMMAND_STACK: Stack = Stack([0; Stack::SIZE]);

/// Arguments of the command's first function, and the place for its refusal.
struct CommandStart<'a> {
    block: &'a Block,
    host_proc: i32,
    refusal: Refusal,
}

#[unsafe(no_mangle)]
extern "C" fn main(argc: i32, argv: *const *const libc::c_char) -> i32 {
    let base = if argc > 1 { unsafe { core::ffi::CStr::from_ptr(*argv.add(1)) }.to_bytes() } else { b"3" };
    let base = base.iter().fold(0, |number, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')));
    let Some(block) = Block::map(base) else {
        report((base + fd::REPORT) as i32, refused(Refusal { step: step::DESCRIPTION, errno: libc::EINVAL }, 0));
        return 1;
    };
    let record = if block.header().flags & flag::PROBE != 0 { probe::run(&block) } else { exec(&block) };
    report(block.fd(fd::REPORT), record);
    0
}

fn report(to: i32, record: Record) {
    let bytes = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(&record).cast(), size_of::<Record>()) };
    write(to, bytes);
}

/// What a refusal is to the caller: not entered, or not executed.
fn refused(refusal: Refusal, pid: i32) -> Record {
    if refusal.step == step::EXEC {
        Record { kind: kind::COULD_NOT_EXEC, value: pid, errno: refusal.errno, leftovers: 0 }
    } else {
        Record { kind: kind::COULD_NOT_ENTER, value: refusal.step, errno: refusal.errno, leftovers: pid as u32 }
    }
}

/// A failure as a refusal of this step.
fn check(step: i32, answer: kernel::Answer) -> Result<kernel::Answer, Refusal> {
    if answer < 0 { Err(Refusal { step, errno: -(answer as i32) }) } else { Ok(answer) }
}

/// The exec shape.
fn exec(block: &Block) -> Record {
    match start_command(block) {
        Ok((pid, None)) => Record { kind: kind::RUNNING, value: pid, ..Record::default() },
        Ok((pid, Some(refusal))) => refused(refusal, pid),
        Err(refusal) => refused(refusal, 0),
    }
}

fn start_command(block: &Block) -> Result<(i32, Option<Refusal>), Refusal> {
    let host_proc = prepare(block)?;
    join_v1(block)?;
    join_namespaces(block)?;
    clone_command(block, host_proc, libc::CLONE_PARENT as u64, 0)
}

/// What must be done while the host's file system is still in sight.
fn prepare(block: &Block) -> Result<i32, Refusal> {
    let header: &Header = block.header();
    // It was executed by the number of a descriptor, which would be its name in `ps`.
    prctl(libc::PR_SET_NAME, c"hshim-enter".as_ptr() as usize, 0);
    // The caller's C library keeps these three to itself and cannot reset them for us.
    for signal in 32..=34 {
        let default = [0_usize; 4];
        call!(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, 8);
    }
    call!(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, core::ptr::from_ref(&0_i32));
    if header.first_processors != 0 {
        let mask = block.at(header.first_processors_at);
        check(step::FIRST_PROCESSORS, call!(libc::SYS_sched_setaffinity, 0, header.first_processors, mask))?;
    }
    if header.oom_score_adj != wire::NO_OOM_SCORE_ADJ {
        set_oom_score_adj(header.oom_score_adj)?;
    }
    if header.label_at == 0 {
        return Ok(-1);
    }
    let proc = call!(libc::SYS_open, c"/proc".as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC, 0);
    check(step::PROC, proc).map(|fd| fd as i32)
}

/// Lowering it takes CAP_SYS_RESOURCE; without that the caller's value is kept, as it is for the container's init.
fn set_oom_score_adj(value: i32) -> Result<(), Refusal> {
    let file = call!(libc::SYS_open, c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC, 0);
    let file = check(step::OOM_SCORE_ADJ, file)? as i32;
    let mut text = [0_u8; 8];
    let answer = write(file, decimal(value, &mut text));
    call!(libc::SYS_close, file);
    if answer == -(libc::EACCES as isize) { Ok(()) } else { check(step::OOM_SCORE_ADJ, answer).map(|_| ()) }
}

/// `value` between −9999999 and 9999999 in decimal.
fn decimal(value: i32, text: &mut [u8; 8]) -> &[u8] {
    let mut at = text.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 || at == 1 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        text[at] = b'-';
    }
    &text[at..]
}

/// Into the container's v1 cgroups. `0` is the writing thread itself: the kernel takes no lock that waits for all processors.
fn join_v1(block: &Block) -> Result<(), Refusal> {
    for n in 0..block.header().v1_tasks {
        check(step::CGROUP, write(block.fd(fd::V1_TASKS + n), b"0"))?;
    }
    Ok(())
}

fn join_namespaces(block: &Block) -> Result<(), Refusal> {
    let namespaces = block.header().namespaces;
    if namespaces != 0 {
        check(step::NAMESPACES, call!(libc::SYS_setns, block.fd(fd::TARGET), namespaces))?;
    }
    Ok(())
}

/// Clone the command, into the leaf if that is of v2. Its process id as this process sees it, and why it could not execute.
fn clone_command(block: &Block, host_proc: i32, flags: u64, exit_signal: u64) -> Result<(i32, Option<Refusal>), Refusal> {
    const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut start = CommandStart { block, host_proc, refusal: Refusal { step: 0, errno: 0 } };
    let mut args = CloneArgs {
        flags: flags | (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLEAR_SIGHAND,
        exit_signal,
        stack: (&raw mut COMMAND_STACK) as u64,
        stack_size: Stack::SIZE as u64,
        ..CloneArgs::default()
    };
    let whole = flag::LEAF | flag::LEAF_KILL;
    if block.header().flags & whole == whole {
        args.flags |= INTO_CGROUP;
        args.cgroup = block.fd(fd::LEAF) as u64;
    }
    let start_at = &raw mut start;
    let pid = unsafe { clone3(&args, command_main, start_at as usize) };
    let pid = check(step::CLONE, pid)? as i32;
    // The clone suspended this process until the command executed or gave up, so its word is final.
    let refusal = unsafe { core::ptr::read_volatile(&raw const (*start_at).refusal) };
    Ok((pid, (refusal.step != 0).then_some(refusal)))
}

extern "C" fn command_main(argument: usize) -> ! {
    let start = argument as *mut CommandStart<'_>;
    let (block, host_proc) = unsafe { ((*start).block, (*start).host_proc) };
    let refusal = become_command(block, host_proc);
    unsafe { core::ptr::write_volatile(&raw mut (*start).refusal, refusal) };
    exit(127)
}
