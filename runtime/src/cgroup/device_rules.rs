//! Which devices a container may use: the rules of its specification, then those that every container has.
//!
//! The last rule that speaks of a device and a kind of access decides about it; what no rule speaks of is denied. On cgroup
//! v1 the kernel keeps a default and exceptions to it ([`Verdicts`]), on cgroup v2 a program of ours looks through the rules
//! ([`super::device_program`]).

use std::fmt;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Kinds of access, as in `<linux/bpf.h>` (`BPF_DEVCG_ACC_*`).
pub(crate) const MKNOD: u8 = 1;
/// Reading.
pub(crate) const READ: u8 = 2;
/// Writing.
pub(crate) const WRITE: u8 = 4;

/// What kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Block and character devices.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Or denies.
    pub(crate) allows: bool,
    /// Of the node.
    pub(crate) kind: Kind,
    /// None: all.
    pub(crate) major: Option<u32>,
    /// None: all.
    pub(crate) minor: Option<u32>,
    /// Bits.
    pub(crate) access: u8,
}

/// What runc allows every container: making nodes (using them is another matter), the harmless devices, terminals, /dev/net/tun.
const EVERYBODYS: [Rule; 10] = [
    allowed(Kind::Character, None, None, MKNOD),
    allowed(Kind::Block, None, None, MKNOD),
    allowed(Kind::Character, Some(1), Some(3), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(1), Some(5), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(1), Some(7), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(1), Some(8), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(1), Some(9), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(5), Some(0), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(5), Some(2), MKNOD | READ | WRITE),
    allowed(Kind::Character, Some(10), Some(200), MKNOD | READ | WRITE),
];
const PSEUDOTERMINALS: Rule = allowed(Kind::Character, Some(136), None, MKNOD | READ | WRITE);

const fn allowed(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
    Rule { allows: true, kind, major, minor, access }
}

/// The rules of a container, in order. An error names the rule that is wrong.
pub(crate) fn rules(written: &[LinuxDeviceCgroup]) -> anyhow::Result<Vec<Rule>> {
    let read = written
        .iter()
        .enumerate()
        .map(|(index, rule)| read(rule).map_err(|text| anyhow::anyhow!("linux.resources.devices[{index}]: {text}")));
    let mut rules = read.collect::<anyhow::Result<Vec<Rule>>>()?;
    rules.extend(EVERYBODYS);
    rules.push(PSEUDOTERMINALS);
    Ok(rules)
}

fn read(written: &LinuxDeviceCgroup) -> Result<Rule, String> {
    let kind = match written.typ() {
        None | Some(LinuxDeviceType::A) => Kind::All,
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Character,
        Some(LinuxDeviceType::P) => return Err("a FIFO is no device".to_owned()),
    };
    if kind == Kind::All {
        // As on cgroup v1: a rule about everything says nothing else.
        return Ok(Rule { allows: written.allow(), kind, major: None, minor: None, access: MKNOD | READ | WRITE });
    }
    let major = number(written.major())?;
    let minor = number(written.minor())?;
    Ok(Rule { allows: written.allow(), kind, major, minor, access: access(written.access().as_deref().unwrap_or("rwm"))? })
}

fn number(written: Option<i64>) -> Result<Option<u32>, String> {
    match written {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_out_of_range| format!("{number} is no device number")),
    }
}

fn access(written: &str) -> Result<u8, String> {
    let bits = written.chars().map(|letter| match letter {
        'm' => Ok(MKNOD),
        'r' => Ok(READ),
        'w' => Ok(WRITE),
        other => Err(format!("access: {other:?} is none of r, w and m")),
    });
    let access = bits.collect::<Result<Vec<u8>, String>>()?.into_iter().fold(0, |all, bit| all | bit);
    if access == 0 { Err("access: is empty".to_owned()) } else { Ok(access) }
}

impl Rule {
    /// Whether everything that the other rule speaks of is spoken of here.
    fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Rule {
    /// As the files of cgroup v1 take it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::All => return f.write_str("a"),
            Kind::Block => 'b',
            Kind::Character => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String = letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect();
        write!(f, "{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// What the rules come to, as cgroup v1 keeps it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// Or everything is denied but the exceptions.
    pub(crate) allows_all: bool,
    /// All allow, or all deny.
    pub(crate) exceptions: Vec<Rule>,
}

impl Verdicts {
    /// Of rules in order.
    pub(crate) fn of(rules: &[Rule]) -> anyhow::Result<Self> {
        let mut verdicts = Self::default();
        rules.iter().try_for_each(|rule| verdicts.hear(rule))?;
        Ok(verdicts)
    }

    fn hear(&mut self, rule: &Rule) -> anyhow::Result<()> {
        if rule.kind == Kind::All {
            *self = Self { allows_all: rule.allows, exceptions: Vec::new() };
            return Ok(());
        }
        if rule.allows != self.allows_all {
            self.exceptions.push(*rule);
            return Ok(());
        }
        for exception in self.exceptions.iter_mut().filter(|exception| exception.overlaps(rule)) {
            let wanted = exception.access & rule.access;
            anyhow::ensure!(
                rule.covers(exception) || wanted == 0,
                "linux.resources.devices: cgroup v1 cannot make the exception {rule} from {exception}: write the devices one by one"
            );
            exception.access &= !rule.access;
        }
        self.exceptions.retain(|exception| exception.access != 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(json: serde_json::Value) -> anyhow::Result<Vec<Rule>> {
        rules(&serde_json::from_value::<Vec<LinuxDeviceCgroup>>(json)?)
    }

    #[test]
    fn rules_read_as_cgroup_v1_spells_them_and_end_with_everybodys() {
        let rules = read_all(serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": true, "type": "c", "major": 1, "minor": -1, "access": "mw"}
        ]))
        .unwrap();
        let text: Vec<String> = rules.iter().take(4).map(ToString::to_string).collect();
        assert_eq!(text, ["a", "b 8:* r", "c 1:* wm", "c *:* m"]);
        assert_eq!(rules.len(), 3 + EVERYBODYS.len() + 1);
    }

    #[test]
    fn a_wrong_rule_is_named() {
        for (wrong, text) in [
            (serde_json::json!({"type": "c", "access": "x"}), "linux.resources.devices[0]: access: 'x' is none of r, w and m"),
            (serde_json::json!({"type": "c", "access": ""}), "linux.resources.devices[0]: access: is empty"),
            (serde_json::json!({"type": "b", "major": -7}), "linux.resources.devices[0]: -7 is no device number"),
            (serde_json::json!({"type": "p"}), "linux.resources.devices[0]: a FIFO is no device"),
        ] {
            assert_eq!(read_all(serde_json::json!([wrong])).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn later_rules_take_from_earlier_ones() {
        let fuse = allowed(Kind::Character, Some(10), Some(229), READ | WRITE);
        let no_writing = Rule { allows: false, access: WRITE, ..fuse };
        let verdicts = Verdicts::of(&[fuse, no_writing]).unwrap();
        assert_eq!(verdicts, Verdicts { allows_all: false, exceptions: vec![Rule { access: READ, ..fuse }] });
        let all = Rule { allows: true, kind: Kind::All, major: None, minor: None, access: 7 };
        assert_eq!(Verdicts::of(&[fuse, all]).unwrap(), Verdicts { allows_all: true, exceptions: vec![] });
        assert_eq!(Verdicts::of(&[all, no_writing]).unwrap().exceptions, [no_writing]);
    }

    #[test]
    fn what_cgroup_v1_cannot_express_is_refused_and_not_weakened() {
        let every = allowed(Kind::Character, None, None, READ);
        let but_one = Rule { allows: false, major: Some(1), minor: Some(3), ..every };
        assert!(Verdicts::of(&[every, but_one]).is_err());
    }
}
