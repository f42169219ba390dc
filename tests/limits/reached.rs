//! Limits that are run into.

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;
use serde_json::{Value, json};

use crate::controllers_or_skip;
use crate::kernel;

fn running(script: &str, resources: Value) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.edit(|config| config["linux"]["resources"] = resources);
    bundle.run_detached();
    bundle
}

#[test]
fn a_process_that_wants_more_memory_than_there_is_is_killed() {
    controllers_or_skip!("memory");
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo status $?; sleep 1000";
    let bundle = running(script, json!({"memory": {"limit": 30 << 20, "swap": 30 << 20}}));
    wait::until("dd has ended", || bundle.stdout().contains("status"));
    assert_eq!(bundle.stdout(), "status 137\n");
    let kills = kernel::count(&kernel::file(&bundle, "memory", "memory.oom_control", "memory.events"), "oom_kill");
    assert_eq!(kills, 1);
}

#[test]
fn a_fork_beyond_the_limit_of_processes_fails() {
    controllers_or_skip!("pids");
    // A shell that cannot fork ends; the outer one goes on without forking.
    let script = "sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all'; exec sleep 1000";
    let bundle = running(script, json!({"pids": {"limit": 6}}));
    let events = kernel::file(&bundle, "pids", "pids.events", "pids.events");
    wait::until("a fork has failed", || kernel::count(&events, "max") >= 1);
    let current: u64 = kernel::read(&bundle, "pids", "pids.current", "pids.current").parse().unwrap();
    assert!(current <= 6, "{current} processes");
    assert!(!bundle.stdout().contains("all"), "{}", bundle.stdout());
}

#[test]
fn a_busy_loop_gets_no_more_processor_time_than_its_quota() {
    controllers_or_skip!("cpu", "cpu");
    const QUOTA: u64 = 10_000;
    let bundle = running("while :; do :; done", json!({"cpu": {"quota": QUOTA, "period": 50_000}}));
    let stat = kernel::file(&bundle, "cpu", "cpu.stat", "cpu.stat");
    wait::until("it is throttled", || kernel::count(&stat, "nr_throttled") >= 2);
    let (periods, usage) = (kernel::count(&stat, "nr_periods"), used_microseconds(&bundle));
    wait::until("some periods pass", || kernel::count(&stat, "nr_periods") >= periods + 20);
    let used = used_microseconds(&bundle) - usage;
    let passed = kernel::count(&stat, "nr_periods") - periods + 2;
    // However slow the machine is: in each period at most the quota, with the slack of one tick.
    assert!(used <= passed * (QUOTA + 4_000), "{used} µs in {passed} periods");
}

fn used_microseconds(bundle: &Bundle) -> u64 {
    if kernel::version_of("cpu") == Some(kernel::Version::V1) {
        let nanoseconds = kernel::read(bundle, "cpuacct", "cpuacct.usage", "");
        return nanoseconds.parse::<u64>().unwrap() / 1_000;
    }
    kernel::count(&kernel::file(bundle, "cpu", "", "cpu.stat"), "usage_usec")
}
