//! The examples of the documentation, run as they stand.
//!
//! A ```yaml block whose first line is `# FILE` is written to that file. A ```json block after a comment `bundle: ID, command: SCRIPT` becomes the
//! annotations of a bundle. Of a ```console block each line `$ COMMAND` is run, and what follows it is what must be printed: `…` stands for
//! anything, alone on a line for any lines. Runs of spaces count as one. A command that only looks is repeated until it shows that.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use hshim_tests::image::Image;
use hshim_tests::scratch::Scratch;
use hshim_tests::{bundle, programs, rootfs, wait};
use serde_json::{Value, json};

use crate::needs_containers;
use crate::scene::text;

#[test]
fn the_examples_of_the_command_line_are_true() {
    needs_containers!();
    run("docs/cli.md");
}

#[test]
fn the_examples_of_probes_are_true() {
    needs_containers!();
    run("docs/probes.md");
}

#[test]
fn the_examples_of_restarts_are_true() {
    needs_containers!();
    run("docs/restarts.md");
}

#[test]
fn the_examples_of_presets_are_true() {
    needs_containers!();
    run("docs/presets.md");
}

/// Verbs that change nothing.
const LOOKING: [&str; 7] = ["get", "describe", "logs", "events", "why", "state", "check"];

struct Reader {
    scratch: Scratch,
    page: &'static str,
}

fn run(page: &'static str) {
    let reader = Reader { scratch: Scratch::new(), page };
    Image::busybox("busybox:latest").write_docker_archive(&reader.scratch.join("busybox.tar"));
    let page = fs::read_to_string(programs::source_file(&format!("../{page}"))).unwrap();
    let mut remark = "";
    let mut lines = page.lines();
    let mut commands = 0;
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match kind {
                "yaml" => reader.write(&block),
                "json" => reader.make_bundle(remark, &block.join("\n")),
                "console" => commands += reader.type_in(&block),
                other => panic!("{}: a block of kind {other}", reader.page),
            }
        }
        remark = line;
    }
    assert!(commands >= 6, "{}: only {commands} commands were found", reader.page);
}

impl Reader {
    fn write(&self, block: &[&str]) {
        let file = block[0].strip_prefix("# ").unwrap_or_else(|| panic!("{}: {} names no file", self.page, block[0]));
        let path = self.scratch.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, block.join("\n")).unwrap();
    }

    fn make_bundle(&self, remark: &str, annotations: &str) {
        let words = remark.strip_prefix("<!-- bundle: ").and_then(|words| words.strip_suffix(" -->"));
        let (id, script) = words.and_then(|words| words.split_once(", command: ")).expect("a comment says which bundle");
        let dir = self.scratch.join(id);
        fs::create_dir(&dir).unwrap();
        rootfs::make(&dir.join("rootfs"));
        let mut config = bundle::config(&["/bin/sh", "-c", script], &format!("/hshim-tests/{}-{id}", self.scratch.name()));
        config["annotations"] = serde_json::from_str::<Value>(annotations).unwrap();
        fs::write(dir.join("config.json"), json!(config).to_string()).unwrap();
    }

    fn type_in(&self, block: &[&str]) -> usize {
        let mut begun: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in block {
            match line.strip_prefix("$ ") {
                Some(command) => begun.push((command, Vec::new())),
                None => begun.last_mut().expect("a block begins with a command").1.push(line),
            }
        }
        for (command, expected) in &begun {
            self.check(command, expected);
        }
        begun.len()
    }

    fn check(&self, command: &str, expected: &[&str]) {
        let is_looking = command.split(' ').nth(1).is_some_and(|verb| LOOKING.contains(&verb));
        let end = Instant::now() + wait::PATIENCE;
        loop {
            let (succeeded, seen) = self.shell(command);
            let may_fail = expected.first().is_some_and(|line| line.starts_with("hshim: "));
            let lines: Vec<&str> = seen.lines().collect();
            if succeeded != may_fail && matches(expected, &lines) {
                return;
            }
            let is_over = !is_looking || Instant::now() > end;
            assert!(!is_over, "{}: $ {command}\nprints\n{seen}\nand not\n{}", self.page, expected.join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a terminal would show. Into a file: a container may keep the output open.
    fn shell(&self, command: &str) -> (bool, String) {
        let path = format!("{}:{}", programs::bin_dir().display(), std::env::var("PATH").unwrap());
        let file = self.scratch.join("screen");
        let screen = fs::File::create(&file).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.scratch.path()).env("PATH", path);
        shell.env("HSHIM_ROOT", self.scratch.join("run")).env("HSHIM_DATA", self.scratch.join("data"));
        shell.env("HSHIM_PRESETS_DIR", "presets.d");
        let status = shell.stdout(screen.try_clone().unwrap()).stderr(screen).status().unwrap();
        (status.success(), text(&fs::read(&file).unwrap()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // What an example that failed has left.
        for pod in ["web", "ready", "crashing"] {
            self.shell(&format!("hshim delete pod/{pod} --force --ignore-not-found"));
        }
        for id in ["web", "job"] {
            self.shell(&format!("hshim delete --force {id}"));
        }
    }
}

fn matches(expected: &[&str], seen: &[&str]) -> bool {
    match expected {
        [] => seen.is_empty(),
        ["…", rest @ ..] => (0..=seen.len()).any(|skipped| matches(rest, &seen[skipped..])),
        [line, rest @ ..] => seen.first().is_some_and(|first| matches_line(line, first)) && matches(rest, &seen[1..]),
    }
}

fn matches_line(expected: &str, seen: &str) -> bool {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, seen) = (squeezed(expected), squeezed(seen));
    let parts: Vec<&str> = expected.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return expected == seen };
    let Some(mut rest) = seen.strip_prefix(first) else { return false };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_anything() {
    assert!(matches(&["a … c", "…", "end"], &["a  b c", "x", "y", "end"]));
    assert!(matches(&["…"], &[]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["a … c"], &["a b d"]));
    assert!(matches_line("1 (…s ago)", "1 (5s ago)") && !matches_line("1 (…s ago)", "2 (5s ago)"));
}
