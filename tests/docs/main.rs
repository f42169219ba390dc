//! The pages: links lead somewhere, commands and flags exist, manifests are accepted, JSON is JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod page;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use hshim_tests::programs;
use page::{Page, pages};

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let pages = pages();
    assert!(pages.len() > 5, "the pages are found");
    let mut faults = Vec::new();
    for page in &pages {
        for link in page.links() {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(path) };
            if !target.exists() {
                faults.push(format!("{}: {link}: no such file", page.name()));
            } else if !anchor.is_empty() && !Page::read(&target).anchors().contains(anchor) {
                faults.push(format!("{}: {link}: no such heading", page.name()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let mut seen = BTreeSet::new();
    let mut open = vec![programs::source_file("../README.md").canonicalize().unwrap()];
    while let Some(path) = open.pop() {
        if path.extension().is_none_or(|extension| extension != "md") || !seen.insert(path.clone()) {
            continue;
        }
        let page = Page::read(&path);
        let links = page.links().into_iter().map(|link| link.split('#').next().unwrap_or_default().to_owned());
        open.extend(links.filter_map(|link| path.parent()?.join(link).canonicalize().ok()));
    }
    let lost: Vec<_> = pages()
        .into_iter()
        .map(|page| page.path.canonicalize().unwrap())
        .filter(|path| !seen.contains(path) && !path.ends_with("CHANGELOG.md") && !path.parent().unwrap().ends_with("adr"))
        .collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn commands_of_hshim_in_the_pages_exist_with_their_flags() {
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages() {
        for words in page.commands() {
            count += 1;
            if let Err(fault) = exists(&words) {
                faults.push(format!("{}: {}: {fault}", page.name(), words.join(" ")));
            }
        }
    }
    assert!(count > 10, "commands are found");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Whether `--help` of the verb tells of the flags.
fn exists(words: &[String]) -> Result<(), String> {
    let is_flag = |word: &&String| word.starts_with('-') && word.len() > 1;
    let verb = words.iter().find(|word| !word.starts_with('-') && !word.starts_with('/')).ok_or("no verb")?;
    let of_pod = words.iter().any(|word| word.starts_with("pod/"));
    let mut help = help(&[verb]);
    if of_pod && matches!(verb.as_str(), "exec" | "delete" | "events") {
        help = self::help(&[&format!("pod-{verb}")]);
    }
    if let (Some(help), "image" | "preset" | "probe") = (&help, verb.as_str()) {
        let sub = words.iter().skip_while(|word| *word != verb).nth(1).ok_or("no second verb")?;
        help.contains(sub.as_str()).then_some(()).ok_or_else(|| format!("{verb} has no {sub}"))?;
        return Ok(());
    }
    let help = help.ok_or_else(|| format!("no verb {verb}"))?;
    let general = self::help(&[]).unwrap_or_default();
    let own = words.iter().take_while(|word| *word != "--");
    for flag in own.filter(is_flag).map(|flag| flag.split('=').next().unwrap_or_default()) {
        let known = |text: &str| text.split(|c: char| c.is_whitespace() || c == ',' || c == '=').any(|word| word == flag);
        let short_group = !flag.starts_with("--") && flag.chars().skip(1).all(|c| known_short(&help, c));
        if !known(&help) && !known(&general) && !short_group {
            return Err(format!("{verb} has no {flag}"));
        }
    }
    Ok(())
}

fn known_short(help: &str, flag: char) -> bool {
    help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == format!("-{flag}"))
}

fn help(verbs: &[&str]) -> Option<String> {
    let output = Command::new(programs::hshim()).args(verbs).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn manifests_in_the_pages_are_accepted_and_mistakes_refused() {
    let mut faults = Vec::new();
    for page in pages() {
        for block in page.blocks("yaml").into_iter().filter(|block| block.contains("\nkind: Pod\n")) {
            let mut child = Command::new(programs::hshim())
                .args(["check", "-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(block.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            // A page may show what a mistake looks like.
            let is_wrong = block.trim_start().starts_with("# wrong");
            if output.status.success() == is_wrong {
                faults.push(format!("{}: {}\n{block}", page.name(), String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn json_in_the_pages_is_json() {
    let mut faults = Vec::new();
    for page in pages() {
        for block in page.blocks("json") {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&block) {
                faults.push(format!("{}: {error}\n{block}", page.name()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
