//! Seccomp profiles as raw BPF: compiled once, kept, loaded as bytes.
//!
//! libseccomp takes milliseconds to build a filter of a usual profile, and a linear filter costs each exec another 0.7 ms in
//! the kernel. Here the filter is a balanced tree (`SCMP_FLTATR_CTL_OPTIMIZE` 2) over the architectures that the profile
//! names, and the bytes are kept below the root directory under the hash of the profile.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_enter::Seccomp;
use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::atomic_file;

/// Where compiled profiles are kept.
#[derive(Debug)]
pub(crate) struct SeccompCache(PathBuf);

impl SeccompCache {
    /// Below the root directory.
    pub(crate) fn below(root: &Path) -> Self {
        Self(root.join("seccomp"))
    }

    /// The filter of a profile: from the cache, or compiled and put there.
    pub(crate) fn filter(&self, profile: &LinuxSeccomp) -> anyhow::Result<Seccomp> {
        let flags = flags(profile)?;
        let file = self.0.join(key(profile)?);
        if let Ok(program) = fs::read(&file) {
            return Ok(Seccomp { flags, program });
        }
        let program = compile(profile)?;
        let kept = fs::create_dir_all(&self.0).and_then(|()| atomic_file::write(&file, &program));
        if let Err(error) = kept {
            log::warn!("keep the compiled seccomp profile {}: {error}", file.display());
        }
        Ok(Seccomp { flags, program })
    }
}

/// Whether the profile hands system calls to a listener.
pub(crate) fn notifies(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    profile.default_action() == LinuxSeccompAction::ScmpActNotify
        || rules.into_iter().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// L20: libcontainer takes `value` of a masked comparison for the result and `valueTwo` for the mask; the specification and
/// runc have them the other way round, and the usual profiles' rule for `clone` then never matches. Swapped, it is right.
pub(crate) fn for_libcontainer(profile: &LinuxSeccomp) -> anyhow::Result<LinuxSeccomp> {
    let mut json = serde_json::to_value(profile).context("write linux.seccomp as JSON")?;
    let rules = json.get_mut("syscalls").and_then(Value::as_array_mut).into_iter().flatten();
    let args = rules.filter_map(|rule| rule.get_mut("args").and_then(Value::as_array_mut)).flatten();
    for arg in args.filter_map(Value::as_object_mut).filter(|arg| arg.get("op").is_some_and(|op| op == "SCMP_CMP_MASKED_EQ")) {
        let result = arg.get("valueTwo").filter(|value| value.is_u64()).cloned().unwrap_or_else(|| Value::from(0));
        if let Some(mask) = arg.insert("value".to_owned(), result) {
            arg.insert("valueTwo".to_owned(), mask);
        }
    }
    serde_json::from_value(json).context("read linux.seccomp back")
}

fn key(profile: &LinuxSeccomp) -> anyhow::Result<String> {
    let version = ScmpVersion::current().context("ask libseccomp for its version")?;
    let mut hash = Sha256::new();
    hash.update(format!("1 {version} {}\n", std::env::consts::ARCH));
    hash.update(serde_json::to_vec(profile).context("write linux.seccomp as JSON")?);
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// TSYNC is left out: the filter is loaded by a process with one thread. WAIT_KILLABLE_RECV belongs to a listener.
fn flags(profile: &LinuxSeccomp) -> anyhow::Result<u32> {
    let mut flags: libc::c_ulong = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    Ok(u32::try_from(flags)?)
}

fn compile(profile: &LinuxSeccomp) -> anyhow::Result<Vec<u8>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).context("linux.seccomp.defaultAction")?;
    filter.set_ctl_optimize(2).context("ask libseccomp for a balanced filter")?;
    for listed in profile.architectures().iter().flatten() {
        filter.add_arch(arch(*listed)).with_context(|| format!("linux.seccomp.architectures: {listed}"))?;
    }
    for rule in profile.syscalls().iter().flatten() {
        add_rule(&mut filter, rule, default).with_context(|| format!("linux.seccomp.syscalls: {:?}", rule.names()))?;
    }
    let mut file = File::from(memfd_create(c"hshim-seccomp", MFdFlags::MFD_CLOEXEC).context("make a file in memory")?);
    filter.export_bpf(&file).context("compile linux.seccomp")?;
    let mut program = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut program)).context("read the compiled filter")?;
    Ok(program)
}

fn add_rule(filter: &mut ScmpFilterContext, rule: &LinuxSyscall, default: ScmpAction) -> anyhow::Result<()> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        // libseccomp refuses a rule that says nothing new.
        return Ok(());
    }
    let conditions = rule.args().as_deref().unwrap_or_default().iter().map(condition).collect::<anyhow::Result<Vec<_>>>()?;
    let mut arguments = HashSet::new();
    // A rule may compare each argument once; further conditions on the same one are alternatives, as runc takes them.
    let alternatives = rule.args().iter().flatten().any(|arg| !arguments.insert(arg.index()));
    for name in rule.names() {
        // A name that libseccomp does not know belongs to another architecture or a newer kernel.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        if alternatives {
            for condition in &conditions {
                filter.add_rule_conditional(action, syscall, std::slice::from_ref(condition))?;
            }
        } else {
            filter.add_rule_conditional(action, syscall, &conditions)?;
        }
    }
    Ok(())
}

fn condition(arg: &LinuxSeccompArg) -> anyhow::Result<ScmpArgCompare> {
    let operator = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        // OCI: value is the mask, valueTwo what remains.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let index = u32::try_from(arg.index())?;
            return Ok(ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)));
        }
    };
    Ok(ScmpArgCompare::new(u32::try_from(arg.index())?, operator, arg.value()))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> anyhow::Result<ScmpAction> {
    let errno = i32::try_from(errno.unwrap_or(libc::EPERM.unsigned_abs())).context("linux.seccomp: errnoRet")?;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(u16::try_from(errno).context("linux.seccomp: errnoRet")?),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => anyhow::bail!("linux.seccomp: SCMP_ACT_NOTIFY is not supported yet"),
    })
}

fn arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: Value) -> LinuxSeccomp {
        serde_json::from_value(json).unwrap()
    }

    fn docker_like() -> LinuxSeccomp {
        profile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["read", "write", "exit_group", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2_114_060_288_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
            ]
        }))
    }

    #[test]
    fn a_profile_becomes_whole_instructions() {
        let program = compile(&docker_like()).unwrap();
        assert!(!program.is_empty());
        assert_eq!(program.len() % size_of::<libc::sock_filter>(), 0);
    }

    #[test]
    fn the_second_compilation_comes_from_the_cache() {
        let root = std::env::temp_dir().join(format!("hshim-seccomp-{}", std::process::id()));
        let cache = SeccompCache::below(&root);
        let first = cache.filter(&docker_like()).unwrap();
        let file = root.join("seccomp").join(key(&docker_like()).unwrap());
        assert_eq!(fs::read(&file).unwrap(), first.program);
        assert_eq!(cache.filter(&docker_like()).unwrap(), first);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn libcontainer_gets_masked_comparisons_the_other_way_round() {
        let swapped = for_libcontainer(&docker_like()).unwrap();
        let rules = swapped.syscalls().as_ref().unwrap();
        let clone = rules[1].args().as_ref().unwrap()[0];
        assert_eq!((clone.value(), clone.value_two()), (0, Some(2_114_060_288)));
        assert_eq!(rules[2], docker_like().syscalls().as_ref().unwrap()[2]);
    }

    #[test]
    fn a_listener_is_seen_and_refused() {
        let listening = profile(
            serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}),
        );
        assert!(notifies(&listening) && !notifies(&docker_like()));
        assert!(compile(&listening).is_err());
    }
}
