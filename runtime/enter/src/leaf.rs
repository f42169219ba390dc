//! The end of everything in the leaf. On v2 that is one write. v1 has no such write: the leaf is frozen, because nothing that stands
//! still can fork past the walk, each member is killed, and the deaths happen when it is thawed.

use crate::block::Block;
use crate::kernel::{call, write};
use crate::wire::{fd, flag};

/// How often a v1 leaf is asked whether all of it stands still, a millisecond apart.
const FREEZE_TRIES: u32 = 200;
/// How often it is frozen and walked when something would not stand still.
const WALKS: u32 = 3;

/// Kill whatever is in the leaf.
pub(crate) fn kill_leaf(block: &Block) {
    let flags = block.header().flags;
    if flags & flag::LEAF_KILL != 0 {
        write(block.fd(fd::LEAF_KILL), b"1");
    } else if flags & flag::LEAF != 0 {
        let leaf = block.fd(fd::LEAF);
        for _ in 0..WALKS {
            if walk(leaf) {
                break;
            }
        }
    }
}

/// Freeze, kill, thaw; true when nothing can have escaped.
fn walk(leaf: i32) -> bool {
    write_state(leaf, b"FROZEN");
    let frozen = await_frozen(leaf);
    kill_members(leaf);
    write_state(leaf, b"THAWED");
    frozen
}

/// The state says FREEZING until the last member stands still.
fn await_frozen(leaf: i32) -> bool {
    for _ in 0..FREEZE_TRIES {
        if is_frozen(leaf) {
            return true;
        }
        let millisecond = [0_i64, 1_000_000];
        call!(libc::SYS_nanosleep, millisecond.as_ptr(), 0);
    }
    false
}

fn is_frozen(leaf: i32) -> bool {
    let file = open(leaf, c"freezer.state", libc::O_RDONLY);
    let mut text = [0_u8; 16];
    let length = call!(libc::SYS_read, file, text.as_mut_ptr(), text.len());
    call!(libc::SYS_close, file);
    length > 0 && text.starts_with(b"FROZEN")
}

fn write_state(leaf: i32, state: &[u8]) {
    let file = open(leaf, c"freezer.state", libc::O_WRONLY);
    write(file, state);
    call!(libc::SYS_close, file);
}

fn kill_members(leaf: i32) {
    let file = open(leaf, c"cgroup.procs", libc::O_RDONLY);
    let mut text = [0_u8; 4096];
    let mut pid = 0_usize;
    loop {
        let length = call!(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        if length <= 0 {
            break;
        }
        for byte in &text[..length as usize] {
            if *byte == b'\n' {
                kill(pid);
                pid = 0;
            } else {
                pid = pid * 10 + usize::from(byte.wrapping_sub(b'0'));
            }
        }
    }
    call!(libc::SYS_close, file);
}

/// 0 stands for a process outside this one's pid namespace, and means something else to kill(2).
fn kill(pid: usize) {
    if pid > 0 {
        call!(libc::SYS_kill, pid, libc::SIGKILL);
    }
}

/// A descriptor, or a negative number, which every call on it refuses.
fn open(leaf: i32, name: &core::ffi::CStr, mode: i32) -> i32 {
    call!(libc::SYS_openat, leaf, name.as_ptr(), mode | libc::O_CLOEXEC, 0) as i32
}
