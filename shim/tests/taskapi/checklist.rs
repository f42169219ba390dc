//! The table of `shim/tests/checklist.md` names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, text: &mut String) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_test_of_the_checklist_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(checklist) = fs::read_to_string(package.join("tests/checklist.md")) else {
        println!("SKIPPED: the sources are not here");
        return;
    };
    let mut text = String::new();
    for directory in ["src", "tests", "../tests/containerd", "../runtime/enter"] {
        sources(&package.join(directory), &mut text);
    }
    let named = checklist.split('`').skip(1).step_by(2).filter(|word| word.contains('_') && !word.contains(['=', '.', '/']));
    let (known, missing): (Vec<&str>, Vec<&str>) = named
        .filter(|word| *word != "oom_score_adj" && *word != "exited_at")
        .partition(|name| text.contains(&format!("fn {name}()")));
    assert!(known.len() > 80, "{}", known.len());
    assert_eq!(missing, Vec::<&str>::new());
}
