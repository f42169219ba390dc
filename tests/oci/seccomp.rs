//! linux.seccomp: actions, conditions, and who is filtered.

use crate::support::*;

/// A profile that answers these system calls with an action and allows all others.
fn profile(names: &[&str], action: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": names, "action": action}]})
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

#[test]
fn errno_is_eperm_by_default() {
    let mut bundle = bundle!("mkdir /made 2>&1; echo $?");
    bundle.edit(|config| config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_ERRNO"));
    let said = bundle.says();
    assert!(said.contains("Operation not permitted") && said.ends_with('1'), "{said}");
}

#[test]
fn errno_is_what_the_profile_says() {
    let mut bundle = bundle!("mkdir /made 2>&1");
    bundle.edit(|config| {
        config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_ERRNO");
        config["linux"]["seccomp"]["syscalls"][0]["errnoRet"] = json!(28);
    });
    let output = bundle.run();
    assert!(stdout(&output).contains("No space left on device"), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn kill_ends_the_process() {
    let mut bundle = bundle!("mkdir /made; echo $?");
    bundle.edit(|config| config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_KILL_PROCESS"));
    let output = bundle.run();
    assert_eq!(stdout(&output), "159\n", "128 + SIGSYS: {}", stderr(&output));
}

#[test]
fn a_default_action_holds_for_what_is_not_listed() {
    let mut bundle = bundle!("mkdir /made 2>&1; echo $?");
    bundle.edit(|config| {
        let mut profile = profile(&["ptrace"], "SCMP_ACT_ALLOW");
        profile["defaultAction"] = json!("SCMP_ACT_LOG");
        config["linux"]["seccomp"] = profile;
    });
    assert_eq!(bundle.says(), "0");
}

#[test]
fn conditions_on_arguments_hold() {
    // personality(2) of PER_LINUX is allowed, any other not: setarch asks for one.
    let mut bundle = bundle!("kill -USR1 $$; kill -0 $$ && echo probed");
    bundle.edit(|config| {
        let mut profile = profile(&["kill"], "SCMP_ACT_ERRNO");
        profile["syscalls"][0]["args"] = json!([{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]);
        config["linux"]["seccomp"] = profile;
    });
    let output = bundle.run();
    assert_eq!(stdout(&output), "probed\n");
    assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
}

#[test]
fn an_unknown_system_call_is_passed_over() {
    let mut bundle = bundle!("mkdir /made; echo $?");
    bundle.edit(|config| config["linux"]["seccomp"] = profile(&["no_such_call", "mkdir", "mkdirat"], "SCMP_ACT_ERRNO"));
    assert_eq!(bundle.says(), "1");
}

#[test]
fn exec_is_filtered_too() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_ERRNO"));
    bundle.run_detached();
    let output = bundle.runtime(&["exec", bundle.id(), "mkdir", "/made"]);
    assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", "grep Seccomp: /proc/self/status"]), "Seccomp:\t2");
}

#[test]
fn a_filter_works_without_no_new_privileges() {
    let mut bundle = bundle!("mkdir /made 2>&1; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    bundle.edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_ERRNO");
    });
    let said = bundle.says();
    assert!(said.contains("not permitted") && said.contains("NoNewPrivs:\t0") && said.contains("Seccomp:\t2"), "{said}");
}

#[test]
fn a_filter_works_for_a_user_without_capabilities() {
    let mut bundle = bundle!("mkdir /tmp/made 2>&1; grep Seccomp: /proc/self/status");
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({"bounding": [], "permitted": [], "effective": []});
        config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_ERRNO");
    });
    let said = bundle.says();
    assert!(said.contains("not permitted") && said.contains("Seccomp:\t2"), "{said}");
}

#[test]
fn an_unknown_action_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_NOSUCH"));
    bundle.refused(&["create", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let bundle = bundle!("grep Seccomp: /proc/self/status");
    assert_eq!(bundle.says(), "Seccomp:\t0");
}

#[test]
fn notifications_are_refused_and_not_ignored() {
    only_hshim!("runc 1.1 supports them");
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        config["linux"]["seccomp"] = profile(&MKDIR, "SCMP_ACT_NOTIFY");
        config["linux"]["seccomp"]["listenerPath"] = json!("/run/listener");
    });
    assert!(bundle.fails().contains("SCMP_ACT_NOTIFY"));
}
