//! `logs -f`: what is being written, over restarts, to the end.

use hshim_tests::wait;

use crate::needs_containers;
use crate::scene::{Node, spec};

#[test]
fn a_log_is_followed_over_restarts_until_the_pod_is_deleted() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("echo up; printf rest; trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let mut log = node.stream(&["logs", "-f", "web"]);
    assert_eq!(log.next().as_deref(), Some("up"));
    wait::until("it runs", || node.is_running("web"));
    assert_eq!(node.ok(&["restart", "pod/web"]), "pod/web container main is being restarted\n");
    assert_eq!(log.next().as_deref(), Some("rest"), "an unfinished line ends with its life");
    assert_eq!(log.next().as_deref(), Some("up"));
    node.delete("default", "web");
    log.until("the last line", |line| line == "rest");
    assert_eq!((log.next(), log.code()), (None, Some(0)));
}

#[test]
fn following_ends_with_a_container_that_has_ended_for_good() {
    needs_containers!();
    let mut node = Node::new();
    let mut pod = spec(&[("main", "echo a; sleep 1; echo b")]);
    pod["restartPolicy"] = "Never".into();
    node.apply("default", "web", pod);
    let mut log = node.stream(&["logs", "-f", "web"]);
    assert_eq!((log.next().as_deref(), log.next().as_deref(), log.next()), (Some("a"), Some("b"), None));
    assert_eq!(log.code(), Some(0));
    // And at once when it has ended before.
    assert_eq!(node.ok(&["logs", "-f", "web", "--tail", "1"]), "b\n");
}

#[test]
fn following_ends_when_nobody_writes_the_log_any_more() {
    needs_containers!();
    let mut node = Node::new();
    node.apply_web("echo up; exec sleep 1000");
    let mut log = node.stream(&["logs", "-f", "web"]);
    assert_eq!(log.next().as_deref(), Some("up"));
    node.until_running("web");
    node.kill_shim("web");
    assert_eq!((log.next(), log.code()), (None, Some(0)));
    assert!(node.stream_errors().contains("pod web is unsupervised: nobody writes its log any more"), "{}", node.stream_errors());
}
