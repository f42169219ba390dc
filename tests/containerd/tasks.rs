//! Tasks from `ctr`: how they start, end and are looked at.

use hshim_tests::containerd::{Daemon, Setting};

#[test]
fn a_task_ends_with_its_status() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$; sleep 5", 0)] {
        let finished = daemon.run("c1", &["--rm"], &["sh", "-c", script]);
        assert_eq!(finished.status, status, "{script}: {}", finished.stderr);
    }
    daemon.finish();
}
