//! state, list and ps.

use std::path::Path;

use crate::support::*;

#[test]
fn the_state_has_what_the_specification_asks_for() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| config["annotations"] = json!({"org.example.key": "value", "b": ""}));
    bundle.create();
    let state = bundle.state().unwrap();
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["status"], "created");
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert_eq!(state["bundle"], json!(bundle.dir()));
    assert_eq!(state["annotations"], json!({"org.example.key": "value", "b": ""}));
    assert!(state["pid"].as_i64().unwrap() > 0);
}

#[test]
fn the_state_has_what_callers_of_runc_read() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    let state = bundle.state().unwrap();
    assert_eq!(state["rootfs"], json!(bundle.rootfs()));
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap();
    assert!(created.contains('T') && created.ends_with('Z'), "RFC 3339: {created}");
}

#[test]
fn the_pid_is_that_of_the_command_as_the_host_sees_it() {
    let bundle = bundle!("exec sleep 12345");
    bundle.run_detached();
    let cmdline = || std::fs::read_to_string(format!("/proc/{}/cmdline", bundle.pid())).unwrap_or_default();
    hshim_tests::wait::until("the command runs", || cmdline() == "sleep\x0012345\0");
}

#[test]
fn the_pid_of_a_stopped_container_is_zero() {
    let bundle = bundle!("true");
    bundle.run_detached();
    await_status(&bundle, "stopped");
    assert_eq!(bundle.pid(), 0);
}

#[test]
fn the_state_of_an_absent_container_is_an_error() {
    let bundle = bundle!("true");
    let output = bundle.runtime(&["state", bundle.id()]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    assert!(stderr(&output).contains("does not exist"), "{}", stderr(&output));
}

#[test]
fn a_relative_bundle_is_shown_as_an_absolute_path() {
    let bundle = bundle!("true");
    let status = bundle.command(&["create", "-b", "bundle", bundle.id()]).current_dir(bundle.scratch.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(bundle.state().unwrap()["bundle"], json!(bundle.dir()));
}

#[test]
fn list_shows_all_containers_of_a_root() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let second = format!("{}-second", bundle.id());
    let mut other = bundle!("true");
    other.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/hshim-tests/{second}")));
    assert!(bundle.detached(&["create", "-b", other.dir().to_str().unwrap(), &second]).success());
    let quiet = bundle.ok(&["list", "-q"]);
    assert_eq!(quiet.lines().collect::<Vec<_>>(), [bundle.id(), &second]);
    bundle.ok(&["delete", "-f", &second]);
}

#[test]
fn list_as_a_table_has_the_columns_of_runc() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let table = bundle.ok(&["list"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(rows[1][0], bundle.id());
    assert_eq!(rows[1][1], bundle.pid().to_string());
    assert_eq!((rows[1][2], Path::new(rows[1][3]), rows[1][5]), ("running", bundle.dir().as_path(), "root"));
}

#[test]
fn list_as_json_is_one_document() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let list: Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["id"], bundle.id());
    assert_eq!(list[0]["status"], "running");
    assert_eq!(list[0]["owner"], "root");
}

#[test]
fn list_quiet_shows_names_alone_whatever_the_format() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    for flags in [&["-q"][..], &["--quiet"], &["-q", "-f", "json"], &["--quiet", "--format", "table"]] {
        let all: Vec<&str> = ["list"].into_iter().chain(flags.iter().copied()).collect();
        assert_eq!(bundle.ok(&all).trim_end(), bundle.id(), "{flags:?}");
    }
}

#[test]
fn list_without_containers_succeeds() {
    let bundle = bundle!("true");
    assert_eq!(bundle.ok(&["list", "-q"]), "");
    assert!(bundle.ok(&["list"]).starts_with("ID "));
    let list: Option<Vec<Value>> = serde_json::from_str(&bundle.ok(&["list", "-f", "json"])).unwrap();
    assert!(list.unwrap_or_default().is_empty(), "runc prints null, hshim []");
}

#[test]
fn an_unknown_format_is_refused() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    bundle.refused(&["list", "--format", "yaml"]);
    bundle.refused(&["ps", "--format", "yaml", bundle.id()]);
}

#[test]
fn ps_as_json_lists_the_process_ids() {
    let bundle = bundle!("sleep 1000 & sleep 1000 & wait");
    bundle.run_detached();
    let pids = || serde_json::from_str::<Vec<i32>>(&bundle.ok(&["ps", "--format", "json", bundle.id()])).unwrap();
    hshim_tests::wait::until("three processes", || pids().len() == 3);
    assert!(pids().contains(&bundle.pid()));
}

#[test]
fn ps_as_a_table_shows_only_the_containers_processes() {
    let bundle = bundle!("exec sleep 54321");
    bundle.run_detached();
    hshim_tests::wait::until("it is shown", || bundle.ok(&["ps", bundle.id()]).contains("sleep 54321"));
    let table = bundle.ok(&["ps", bundle.id()]);
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
}

#[test]
fn ps_takes_options_of_ps() {
    let bundle = bundle!("exec sleep 54321");
    bundle.run_detached();
    hshim_tests::wait::until("it is shown", || bundle.ok(&["ps", bundle.id(), "-o", "pid,args"]).contains("sleep 54321"));
    let table = bundle.ok(&["ps", bundle.id(), "-o", "pid,args"]);
    assert_eq!(table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
}

#[test]
fn ps_of_an_absent_container_is_an_error() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["ps", bundle.id()]);
    assert!(errors.contains("does not exist"), "{errors}");
}
