//! docs/containerd.md: its configurations are started, its commands are typed, its annotations are run.

use std::collections::BTreeMap;
use std::fs;

use hshim_tests::containerd::{ContainerRequest, Daemon, IMAGE, PodRequest, Setting};
use hshim_tests::programs::source_file;
use hshim_tests::wait::until;

use crate::supervised::is_judged;

const LEGACY: &str = "io.containerd.grpc.v1.cri";
const CURRENT: &str = "io.containerd.cri.v1.runtime";

/// The blocks of a language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(source_file("../docs/containerd.md")).unwrap();
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A configuration without its head: what version it is, or whose template it begins with.
fn tables(block: &str) -> String {
    let is_head = |line: &&str| line.starts_with("version =") || line.starts_with("{{") || line.is_empty();
    block.lines().filter(|line| !is_head(line)).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_forms_for_other_versions_say_the_same() {
    let toml = blocks("toml");
    let (legacy, current) = (&toml[0], &toml[1]);
    assert!(legacy.starts_with("version = 2\n") && current.starts_with("version = 3\n"));
    assert_eq!(tables(legacy).replace(LEGACY, CURRENT), tables(current));
    let templates = blocks("gotemplate");
    assert_eq!(templates.len(), 2);
    assert!(templates.iter().all(|template| template.starts_with("{{ template \"base\" . }}\n")));
    assert_eq!([tables(&templates[0]), tables(&templates[1])], [tables(current), tables(legacy)]);
}

#[test]
fn containerd_understands_each_configuration_as_meant() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let configurations: Vec<String> = blocks("toml").into_iter().filter(|block| block.starts_with("version = 2\n")).collect();
    assert_eq!(configurations.len(), 2);
    for (configuration, handler) in configurations.iter().zip(["hshim", "hshim-on-runc"]) {
        let path = daemon.home().join("example.toml");
        fs::write(&path, configuration).unwrap();
        let mut command = std::process::Command::new("containerd");
        command.arg("--config").arg(&path).args(["config", "dump"]);
        let dump = daemon.start_program(command).finish().ok();
        let head = format!("[plugins.\"{LEGACY}\".containerd.runtimes.{handler}]");
        let table = dump.split_once(&head).unwrap_or_else(|| panic!("no {head} in {dump}")).1;
        let table = table.split("\n\n").next().unwrap();
        for line in [r#"runtime_type = "io.containerd.hshim.v2""#, r#"pod_annotations = ["hshim.dev/*", "*.hshim.dev/*"]"#] {
            assert!(table.contains(line), "no {line} in {table}");
        }
    }
    daemon.finish();
}

#[test]
fn the_deployment_is_supervised_as_its_annotations_say() {
    if !is_judged() {
        return;
    }
    let handler = tables(&blocks("toml")[0]);
    let Some(daemon) = Daemon::start_with(Setting::Cri, &handler) else { return };
    let deployment = blocks("yaml").into_iter().find(|block| block.contains("kind: Deployment")).unwrap();
    let annotations = annotations(&deployment);
    assert!(annotations.contains_key("web.hshim.dev/livenessProbe") && annotations.len() == 5, "{annotations:?}");
    let annotations: Vec<(&str, &str)> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "shop", handler: Some("hshim"), annotations: &annotations, ..Default::default() });
    let script = "touch /tmp/ok; echo alive; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let web = cri.run(&pod, &ContainerRequest { name: "web", command: &["sh", "-c", script], ..Default::default() });
    let shipper = cri
        .run(&pod, &ContainerRequest { name: "log-shipper", command: &["sh", "-c", "echo alive; exit 1"], ..Default::default() });
    // The kubelet's readiness probe of the example.
    let kubelet = || cri.exec_sync(&web, &["test", "-e", "/tmp/ready"], 10).is_ok_and(|it| it.exit_code == 0);
    assert!(!kubelet());
    cri.exec_sync(&web, &["touch", "/tmp/open"], 10).unwrap();
    until("the kubelet's probe finds it ready", kubelet);
    cri.exec_sync(&web, &["rm", "/tmp/ok"], 10).unwrap();
    let lives = |log: &std::path::Path| crate::supervised::lives(&fs::read_to_string(log).unwrap_or_default());
    until("it is restarted in place", || lives(&web.log) == 2 && cri.status(&web).state == "RUNNING");
    until("the other one is restarted as often as the budget allows", || cri.status(&shipper).state == "EXITED");
    assert_eq!((lives(&shipper.log), cri.status(&shipper).exit_code), (4, 1));
    cri.remove_pod(&pod);
    daemon.finish();
}

/// What stands below `annotations:`.
fn annotations(manifest: &str) -> BTreeMap<String, String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "annotations:").skip(1);
    let entries = lines.map(str::trim).take_while(|line| line.contains(".hshim.dev/"));
    entries
        .map(|line| line.split_once(": ").unwrap())
        .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

#[test]
fn the_commands_can_be_typed() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let commands = blocks("sh");
    let run = commands.iter().find(|block| block.starts_with("ctr run")).unwrap();
    let typed = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script.replace("docker.io/library/busybox:latest", IMAGE)]);
        let path = format!("{}:{}", hshim_tests::programs::bin_dir().display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("CONTAINERD_ADDRESS", daemon.socket()).env("CONTAINERD_NAMESPACE", daemon.name());
        daemon.start_program(command)
    };
    daemon.remember("web");
    typed(run).finish().ok();
    let task = daemon.task("web").unwrap();
    assert!(task.runs());
    let events = commands.iter().find(|block| block.starts_with("ctr --namespace")).unwrap();
    let watching = typed(events.replace("k8s.io", daemon.name()).trim());
    crate::supervised::until_file(task, "/tmp/healthy");
    fs::remove_file(crate::supervised::inside(task, "/tmp/healthy")).unwrap();
    until("the events that the page promises are shown", || watching.stdout().contains(" /hshim/unhealthy "));
    let record = commands.iter().find(|block| block.starts_with("hshim --root")).unwrap();
    let record = record.replace("k8s.io", daemon.name()).replace("CONTAINER-ID", "web");
    assert!(typed(&record).finish().ok().contains("Unhealthy"));
    daemon.remove("web");
    drop(watching);
    daemon.finish();
}

#[test]
fn the_options_can_be_written_into_a_file() {
    if !is_judged() {
        return;
    }
    let (handler, options) = (tables(&blocks("toml")[2]), blocks("ini").remove(0));
    if !fs::exists("/usr/sbin/runc").unwrap() {
        hshim_tests::skip!("no /usr/sbin/runc");
    }
    let file = std::env::temp_dir().join(format!("hshim-options-{}.toml", std::process::id()));
    fs::write(&file, options).unwrap();
    let handler = handler.replace("/etc/hshim/shim.toml", file.to_str().unwrap());
    let Some(daemon) = Daemon::start_with(Setting::Cri, &handler) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", handler: Some("hshim-on-runc"), ..Default::default() });
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sleep", "1000"], ..Default::default() });
    let state = std::path::Path::new("/run/hshim/containerd/k8s.io").join(&container.id).join("state.json");
    assert!(state.exists(), "runc has made it: {} exists", state.display());
    cri.remove_pod(&pod);
    fs::write(&file, "Binaryname = \"runc\"\n").unwrap();
    let refusal = cri.try_run_pod(&PodRequest { name: "bad", handler: Some("hshim-on-runc"), ..Default::default() }).unwrap_err();
    assert!(refusal.message.contains(&format!("{}:1", file.display())), "{refusal}");
    fs::remove_file(file).unwrap();
    daemon.finish();
}
