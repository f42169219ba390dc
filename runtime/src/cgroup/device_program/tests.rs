//! The program is interpreted here and compared with the rules read directly.

use super::*;
use crate::cgroup::device_rules::{MKNOD, READ, WRITE};

/// What the rules say about one access, by their definition: for each kind of access the last rule that speaks of it decides.
fn by_definition(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
        let speaks = |rule: &&Rule| {
            (rule.kind == Kind::All || rule.kind == kind)
                && rule.major.is_none_or(|wanted| wanted == major)
                && rule.minor.is_none_or(|wanted| wanted == minor)
                && rule.access & bit != 0
        };
        rules.iter().rev().find(speaks).is_some_and(|rule| rule.allows)
    })
}

fn interpret(program: &[u8], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let kind = if kind == Kind::Block { BLOCK } else { CHARACTER };
    let context = [kind | (u32::from(access) << 16), major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0_usize;
    loop {
        let code = &program[at * 8..at * 8 + 8];
        let (to, from) = (usize::from(code[1] & 15), usize::from(code[1] >> 4));
        let offset = i16::from_ne_bytes([code[2], code[3]]);
        let number = i64::from(i32::from_ne_bytes([code[4], code[5], code[6], code[7]])).cast_unsigned();
        at += 1;
        let jump = match code[0] {
            LOAD_WORD => {
                registers[to] = u64::from(context[usize::try_from(offset).unwrap() / 4]);
                false
            }
            MOVE_REGISTER => {
                registers[to] = registers[from];
                false
            }
            MOVE_NUMBER => {
                registers[to] = number;
                false
            }
            AND_NUMBER => {
                registers[to] &= number;
                false
            }
            SHIFT_RIGHT => {
                registers[to] >>= number;
                false
            }
            JUMP_IF_EQUAL => registers[to] == number,
            JUMP_IF_NOT_EQUAL => registers[to] != number,
            EXIT => return registers[0] == 1,
            other => panic!("{other:#x} is not an instruction of ours"),
        };
        if jump {
            at += usize::try_from(offset).unwrap();
        }
    }
}

/// Small numbers from a seed; the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn number(&mut self) -> Option<u32> {
        u32::try_from(self.below(4)).ok().filter(|number| *number != 3)
    }

    fn rule(&mut self) -> Rule {
        let kind = [Kind::All, Kind::Block, Kind::Character, Kind::Character][usize::try_from(self.below(4)).unwrap()];
        let allows = self.below(2) == 0;
        match kind {
            Kind::All => Rule { allows, kind, major: None, minor: None, access: 7 },
            Kind::Block | Kind::Character => {
                let access = u8::try_from(1 + self.below(7)).unwrap();
                Rule { allows, kind, major: self.number(), minor: self.number(), access }
            }
        }
    }
}

#[test]
fn the_program_decides_as_the_rules_say() {
    let mut draw = Draw(7);
    for _ in 0..300 {
        let rules: Vec<Rule> = (0..draw.below(8)).map(|_| draw.rule()).collect();
        let program = program(&rules);
        for kind in [Kind::Block, Kind::Character] {
            for (major, minor, access) in (0..3).flat_map(|a| (0..3).flat_map(move |b| (1..8).map(move |c| (a, b, c)))) {
                let expected = by_definition(&rules, kind, major, minor, access);
                assert_eq!(
                    interpret(&program, kind, major, minor, access),
                    expected,
                    "{rules:?} {kind:?} {major}:{minor} {access}"
                );
            }
        }
    }
}
