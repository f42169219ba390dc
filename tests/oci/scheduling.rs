//! How the kernel runs processes: processors of an exec, scheduler, I/O priority, memory policy, personality.

use std::fs;

use hshim_tests::bundle::Bundle;

use crate::support::*;

/// A running container with a change.
fn running(change: impl FnOnce(&mut Value)) -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.edit(change);
    bundle.run_detached();
    bundle
}

/// A process file with a command and more.
fn process_file(bundle: &Bundle, script: &str, extra: &Value) -> String {
    let mut process = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]});
    process.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let file = bundle.scratch.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file.display().to_string()
}

const PROCESSORS: &str = "grep Cpus_allowed_list /proc/self/status | cut -f2";

#[test]
fn the_final_processors_of_an_exec_are_those_of_the_configuration() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know execCPUAffinity");
    let bundle = running(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"}));
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", PROCESSORS]), "0");
    let init = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let processors = |status: &str| status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned();
    assert_eq!(processors(&init), processors(&own), "the first process is not meant");
}

#[test]
fn a_process_file_has_processors_of_its_own() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know execCPUAffinity");
    if std::thread::available_parallelism().unwrap().get() < 2 {
        hshim_tests::skip!("one processor");
    }
    let bundle = running(|config| config["process"]["execCPUAffinity"] = json!({"final": "0"}));
    let exec = |extra: Value| {
        let file = process_file(&bundle, PROCESSORS, &extra);
        bundle.exec(&["--process", &file, bundle.id()])
    };
    assert_eq!(exec(json!({"execCPUAffinity": {"final": "1"}})), "1");
    assert_eq!(exec(json!({})), "0", "what it does not say is the container's");
}

#[test]
fn processors_that_are_not_there_are_an_error_of_the_exec() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know execCPUAffinity");
    let bundle = running(|_config| {});
    for (affinity, word) in [(json!({"initial": "1000"}), "initial"), (json!({"final": "1000"}), "final")] {
        let file = process_file(&bundle, "echo ran", &json!({"execCPUAffinity": affinity}));
        let errors = bundle.refused(&["exec", "--process", &file, bundle.id()]);
        assert!(errors.contains(&format!("execCPUAffinity.{word}")) && errors.contains("invalid argument"), "{errors}");
    }
}

#[test]
fn processors_that_are_no_list_are_refused() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know execCPUAffinity");
    for wrong in ["x", "1-", "3-1", "5000"] {
        let mut bundle = bundle!("true");
        bundle.edit(|config| config["process"]["execCPUAffinity"] = json!({"final": wrong}));
        assert!(bundle.fails().contains("xecCPUAffinity"), "{wrong}");
    }
}

#[test]
fn an_exec_is_scheduled_as_the_container_is() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know process.scheduler");
    let bundle = running(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    let script = "cut -d' ' -f41,19 /proc/self/stat; ionice";
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", script]), "7 3\nbest-effort: prio 6");
    let extra = json!({"scheduler": {"policy": "SCHED_IDLE"}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}});
    let file = process_file(&bundle, script, &extra);
    assert_eq!(bundle.exec(&["--process", &file, bundle.id()]), "0 5\nidle");
}

/// Of the stack, which has no policy of its own.
const POLICY: &str = "grep stack /proc/self/numa_maps | cut -d' ' -f2";

#[test]
fn a_memory_policy_holds_for_the_container_and_what_joins_it() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know memoryPolicy");
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        hshim_tests::skip!("this kernel knows no memory policies");
    }
    for (policy, shown) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "prefer=static:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        let script = format!("{POLICY}; exec sleep 1000");
        let mut bundle = Bundle::new(&script);
        bundle.edit(|config| config["linux"]["memoryPolicy"] = policy.clone());
        bundle.run_detached();
        let init = fs::read_to_string(format!("/proc/{}/numa_maps", bundle.pid())).unwrap();
        let stack = init.lines().find(|line| line.contains("stack")).unwrap().to_owned();
        assert_eq!(stack.split(' ').nth(1).unwrap(), shown, "{policy}");
        assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", POLICY]), shown, "{policy}");
    }
}

#[test]
fn a_memory_policy_of_nodes_that_are_not_there_is_an_error() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know memoryPolicy");
    for (policy, word) in [
        (json!({"mode": "MPOL_BIND", "nodes": "900"}), ""),
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy: MPOL_BIND needs nodes"),
        (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "neither nodes nor flags"),
        (json!({"mode": "MPOL_BIND", "nodes": "none"}), "linux.memoryPolicy.nodes"),
    ] {
        let mut bundle = bundle!("true");
        bundle.edit(|config| config["linux"]["memoryPolicy"] = policy.clone());
        let errors = bundle.fails();
        assert!(errors.contains(word), "{policy}: {errors}");
        assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0), "{policy}");
    }
}

#[test]
fn the_personality_holds_for_the_container_and_what_joins_it() {
    needs_containers!();
    only_hshim!("runc 1.1 does not know personality");
    if std::env::consts::ARCH != "x86_64" {
        hshim_tests::skip!("the names of machines are those of x86");
    }
    let bundle = running(|config| {
        config["linux"]["personality"] = json!({"domain": "LINUX32"});
        config["process"]["args"] = json!(["sh", "-c", "uname -m > /machine; exec sleep 1000"]);
    });
    hshim_tests::wait::until("it has said it", || {
        fs::read_to_string(bundle.rootfs().join("machine")).is_ok_and(|text| text.trim() == "i686")
    });
    assert_eq!(bundle.exec(&[bundle.id(), "uname", "-m"]), "i686");
    let other = running(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    assert_eq!(other.exec(&[other.id(), "uname", "-m"]), "x86_64");
}
