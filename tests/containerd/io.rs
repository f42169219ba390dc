//! Standard input and output of tasks: fifos, terminals, files, log programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hshim_tests::containerd::{Daemon, IMAGE, Setting, shims_below, supervises};
use hshim_tests::wait::until;

use crate::terminal::Terminal;

#[test]
fn what_is_typed_arrives_and_its_end_too() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let mut run = daemon.start_run("c1", &["--rm"], &["sh", "-c", "cat; echo end"]);
    run.write(b"one\n");
    until("the first line comes back", || run.stdout() == "one\n");
    run.write(b"two\n");
    run.close_stdin();
    assert_eq!(run.finish().ok(), "one\ntwo\nend\n");
    daemon.finish();
}

#[test]
fn what_is_typed_to_a_command_arrives_and_its_end_too() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &[], &["sleep", "1000"]);
    let mut exec = daemon.start_exec("c1", &[], &["sh", "-c", "wc -c"]);
    exec.write(&[b'x'; 200_000]);
    exec.close_stdin();
    assert_eq!(exec.finish().ok().trim(), "200000");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn much_output_arrives_whole_before_the_end() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let finished = daemon.run(
        "c1",
        &["--rm"],
        &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' y >&2"],
    );
    assert_eq!((finished.status, finished.stdout.len(), finished.stderr.len()), (0, 3_000_000, 300_000));
    daemon.finish();
}

#[test]
fn a_terminal_has_a_size_and_gets_another() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.remember("c1");
    let fixed = ["run", "--rm", "--tty", "--runtime", daemon.runtime(), IMAGE, "c1"];
    let mut terminal = Terminal::start(&daemon, &[fixed.as_slice(), &["sh"]].concat());
    terminal.type_in("test -t 0 && echo 'a' 'terminal'; stty size\n");
    terminal.shows("a terminal");
    terminal.resize_to(33, 77);
    terminal.type_in("exit 5\n");
    assert_eq!(terminal.finish(), 5);
    daemon.finish();
}

#[test]
fn a_command_has_a_terminal_of_its_own() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &[], &["sleep", "1000"]);
    let mut terminal = Terminal::start(&daemon, &["task", "exec", "--tty", "--exec-id", "e1", "c1", "sh"]);
    terminal.type_in("test -t 0 && test -t 1 && echo 'a' 'terminal'; exit 6\n");
    terminal.shows("a terminal");
    assert_eq!(terminal.finish(), 6);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn output_goes_to_a_file_that_is_appended_to() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let count = |word: &str| daemon.output("c1").lines().filter(|line| *line == word).count();
    // The reference of containerd 1.6 now and then loses the last words of a container that ends: there it has to live on.
    let end = if supervises() { "exit 0" } else { "sleep 1000" };
    for time in 1..=2 {
        daemon.detach("c1", &[], &["sh", "-c", &format!("echo out; echo err >&2; {end}")]);
        if supervises() {
            daemon.wait_stopped("c1");
        } else {
            until("both words are there", || (count("out"), count("err")) == (time, time));
        }
        daemon.remove("c1");
        assert_eq!((count("out"), count("err")), (time, time));
    }
    daemon.finish();
}

#[test]
fn output_goes_to_a_log_program() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let (program, log) = (daemon.home().join("logger"), daemon.home().join("logged"));
    // Its descriptors: 3 stdout, 4 stderr, 5 is closed when it is ready.
    let script = format!(
        "#!/bin/sh\nexec >>{log} 2>&1\necho \"id $CONTAINER_ID in $CONTAINER_NAMESPACE with $*\"\nexec 5>&-\n\
         sed -u 's/^/out: /' <&3 &\nsed -u 's/^/err: /' <&4\nwait\n",
        log = log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let uri = format!("binary://{}?colour=red", program.display());
    let run = daemon.start_run("c1", &["--detach", "--log-uri", &uri], &["sh", "-c", "echo hello; echo oh >&2; sleep 1000"]);
    run.finish().ok();
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    until("both lines are logged", || logged().contains("out: hello\n") && logged().contains("err: oh\n"));
    assert!(logged().contains(&format!("id c1 in {} with colour red\n", daemon.name())), "{}", logged());
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_reader_that_never_reads_holds_up_its_container_alone() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    // A detached task without a log file: its fifos have a reader no longer once `ctr` has ended.
    let run = daemon.start_run("deaf", &["--detach"], &["sh", "-c", "yes | head -c 1000000; echo end >&2; sleep 1000"]);
    run.finish().ok();
    daemon.detach("c1", &[], &["sleep", "1000"]);
    assert_eq!(daemon.exec("deaf", &["echo", "here"]).ok(), "here\n");
    assert!(daemon.task("deaf").unwrap().runs());
    assert_eq!(shims_below(daemon.home()).len(), 2);
    for id in ["deaf", "c1"] {
        daemon.remove(id);
    }
    daemon.finish();
}
