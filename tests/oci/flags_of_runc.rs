//! Every flag of the installed runc, by its own help, is one of hshim's.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hshim_tests::programs;

/// Flags of runc that hshim does not take, with the reason: `(verb, flag, reason)`.
const NOT_TAKEN: [(&str, &str, &str); 0] = [];

fn help(program: &Path, verb: &str) -> String {
    let mut command = Command::new(program);
    if !verb.is_empty() {
        command.arg(verb);
    }
    let output = command.arg("--help").output().expect("run --help");
    assert!(output.status.success(), "{} {verb} --help", program.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Words of a help text that are flags, long ones and short ones: those that open a line of options.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| {
        line.split("  ").next().unwrap_or_default().split([',', ' ', '=']).map(str::to_owned).collect::<Vec<_>>()
    });
    words.filter(|word| word.starts_with('-') && word.len() > 1).collect()
}

/// The verbs of a help text in runc's layout.
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "COMMANDS:").skip(1).take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.trim().split([',', ' ']).next()).filter(|verb| *verb != "help").map(str::to_owned).collect()
}

#[test]
fn every_flag_of_runc_is_taken_or_listed_with_a_reason() {
    let Some(runc) = programs::installed("runc") else { hshim_tests::skip!("no runc to compare with") };
    let hshim = programs::hshim();
    let mut missing = Vec::new();
    let all = verbs(&help(&runc, ""));
    assert!(all.len() > 15, "runc's help is understood: {all:?}");
    for verb in std::iter::once(String::new()).chain(all) {
        let ours = flags(&help(&hshim, &verb));
        for flag in flags(&help(&runc, &verb)).difference(&ours) {
            if !NOT_TAKEN.iter().any(|(of, name, _reason)| (*of, *name) == (verb.as_str(), flag.as_str())) {
                missing.push(format!("{verb} {flag}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
