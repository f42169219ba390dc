//! The program that decides about devices on cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`), made of device rules.
//!
//! The kernel runs it for each mknod and open of a device by a process in the cgroup or below. It walks through the rules
//! from the last to the first with the kinds of access that are not decided yet: a rule that allows settles its kinds, a
//! rule that denies one of them ends it. What is left in the end is denied.
//!
//! ```text
//! r2 = kind of the device   r3 = access not yet decided   r4 = major   r5 = minor   r6, r0 = scratch and result
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;

use super::device_rules::{Kind, Rule};
use crate::sys;

/// One instruction, `struct bpf_insn` of `<linux/bpf.h>`: opcode, registers, offset, immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    opcode: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: u32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// `BPF_DEVCG_DEV_*`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// The program of these rules, as bytes for bpf(2).
pub(crate) fn program(rules: &[Rule]) -> Vec<u8> {
    let mut program = vec![
        // struct bpf_cgroup_dev_ctx: access_type (kind in the lower half, access in the upper), major, minor.
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        number(AND_NUMBER, KIND, 0xffff),
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        number(SHIFT_RIGHT, ACCESS, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    rules.iter().rev().for_each(|rule| program.extend(tested(rule)));
    program.extend(verdict(false));
    program.iter().flat_map(Instruction::bytes).collect()
}

/// The tests of one rule, and its verdict; a test that fails jumps past it.
fn tested(rule: &Rule) -> Vec<Instruction> {
    let verdict = if rule.allows { allow(rule.access) } else { deny(rule.access) };
    let kind = match rule.kind {
        Kind::All => None,
        Kind::Block => Some(BLOCK),
        Kind::Character => Some(CHARACTER),
    };
    let tests = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    let tests: Vec<(u8, u32)> = tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let mut code = Vec::new();
    for (index, (register, value)) in tests.iter().enumerate() {
        let past = tests.len() - index - 1 + verdict.len();
        code.push(instruction(JUMP_IF_NOT_EQUAL, *register, 0, i16::try_from(past).unwrap_or(i16::MAX), *value));
    }
    code.extend(verdict);
    code
}

/// Settles these kinds; when none is left, the access is granted.
fn allow(access: u8) -> Vec<Instruction> {
    let mut code = vec![number(AND_NUMBER, ACCESS, !u32::from(access)), instruction(JUMP_IF_NOT_EQUAL, ACCESS, 0, 2, 0)];
    code.extend(verdict(true));
    code
}

/// Ends it when one of these kinds is wanted and undecided.
fn deny(access: u8) -> Vec<Instruction> {
    let mut code = vec![
        instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0),
        number(AND_NUMBER, SCRATCH, u32::from(access)),
        instruction(JUMP_IF_EQUAL, SCRATCH, 0, 2, 0),
    ];
    code.extend(verdict(false));
    code
}

fn verdict(granted: bool) -> [Instruction; 2] {
    [number(MOVE_NUMBER, RESULT, u32::from(granted)), number(EXIT, 0, 0)]
}

fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> Instruction {
    Instruction { opcode, destination, source, offset, immediate }
}

fn number(opcode: u8, register: u8, immediate: u32) -> Instruction {
    instruction(opcode, register, 0, 0, immediate)
}

impl Instruction {
    /// The registers share one byte, the destination in its low half on little-endian machines and in its high half on others.
    fn bytes(&self) -> [u8; 8] {
        let registers = if cfg!(target_endian = "little") {
            self.destination | (self.source << 4)
        } else {
            self.source | (self.destination << 4)
        };
        let [offset_0, offset_1] = self.offset.to_ne_bytes();
        let [number_0, number_1, number_2, number_3] = self.immediate.to_ne_bytes();
        [self.opcode, registers, offset_0, offset_1, number_0, number_1, number_2, number_3]
    }
}

/// Attaches the program of these rules to a cgroup, in the place of what is attached: there is no moment without one.
pub(crate) fn attach(dir: &Path, rules: &[Rule]) -> anyhow::Result<()> {
    let cgroup = std::fs::File::open(dir).with_context(|| format!("open the cgroup {}", dir.display()))?;
    let program = sys::load_device_program(&program(rules)).context(
        "linux.resources.devices: load the program that enforces them: the kernel needs CONFIG_CGROUP_BPF, and the caller CAP_BPF or CAP_SYS_ADMIN",
    )?;
    let old = attached(&cgroup).with_context(|| format!("ask for the device programs of {}", dir.display()))?;
    let mut old = old.into_iter();
    sys::attach_device_program(cgroup.as_fd(), program.as_fd(), old.next().as_ref().map(AsFd::as_fd))
        .with_context(|| format!("linux.resources.devices: attach their program to {}", dir.display()))?;
    // More than one (somebody else's): every one has to agree, so ours alone would not decide.
    for surplus in old {
        sys::detach_device_program(cgroup.as_fd(), surplus.as_fd())
            .with_context(|| format!("detach a surplus device program from {}", dir.display()))?;
    }
    Ok(())
}

/// Programs attached to the cgroup itself. One that is gone by the time it is opened needs no replacement.
fn attached(cgroup: &std::fs::File) -> io::Result<Vec<OwnedFd>> {
    let ids = sys::device_programs(cgroup.as_fd())?;
    let opened = ids.into_iter().map(sys::open_program);
    opened.filter(|opened| !matches!(opened, Err(error) if error.raw_os_error() == Some(libc::ENOENT))).collect()
}

#[cfg(test)]
mod tests;
