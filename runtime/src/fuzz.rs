//! Random specifications and process files, made of a corpus: nothing that is read panics, and what is accepted stays in its place.
//!
//! `HSHIM_FUZZ_SECONDS=600 cargo test -p hshim random_specifications -- --nocapture`; without the variable it runs for one second.
//! Each input is written to a file before it is tried, so that the one that ends the process can be kept in runtime/fuzz-corpus: the
//! program aborts when it panics. A run is reproduced by the seed that it prints (`HSHIM_FUZZ_SEED`).

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use libcontainer::oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use crate::bundle::{self, Bundle};
use crate::identity;
use crate::spec_normalise::{self, NormalSpec};

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Values that mean trouble somewhere.
fn nasty(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(u32::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(true),
        json!(""),
        json!("/"),
        json!(".."),
        json!("../../../../etc"),
        json!("/proc/self/fd/7"),
        json!("/proc/self/exe"),
        json!("/dev"),
        json!("/dev/../dev/null"),
        json!("a\0b"),
        json!("rbind"),
        json!("rshared"),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([[[[{}]]]]),
        json!([null, 1, "x"]),
    ];
    random.pick(&values).clone()
}

/// A random place in a document.
fn place<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let count = match value {
        Value::Array(all) => all.len(),
        Value::Object(all) => all.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    if count == 0 || random.below(6) == 0 {
        return value;
    }
    let at = random.below(count);
    match value {
        Value::Array(all) => place(&mut all[at], random),
        Value::Object(all) => place(all.values_mut().nth(at).unwrap(), random),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn mutate(seed: &Value, others: &[Value], random: &mut Random) -> Vec<u8> {
    let mut document = seed.clone();
    for _change in 0..=random.below(4) {
        let new = if random.below(3) == 0 { place(&mut random.pick(others).clone(), random).clone() } else { nasty(random) };
        let place = place(&mut document, random);
        match (random.below(3), place) {
            (0, Value::Array(all)) => all.push(new),
            (1, Value::Object(all)) => drop(all.keys().nth(random.below(all.len())).cloned().and_then(|key| all.remove(&key))),
            (_, place) => *place = new,
        }
    }
    let mut text = document.to_string().into_bytes();
    if random.below(4) == 0 {
        let at = random.below(text.len());
        match random.below(3) {
            0 => text.truncate(at),
            1 => text[at] = u8::try_from(random.below(256)).unwrap(),
            _ => text.insert(at, *random.pick(b"{}[]\",:\\0")),
        }
    }
    text
}

/// A directory with a root file system, and something outside it that must not change.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("hshim-fuzz-{}", std::process::id()));
        for name in ["rootfs/dev", "rootfs/etc", "outside"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("outside/kept"), "kept").unwrap();
        std::os::unix::fs::symlink("../../../outside", dir.join("rootfs/link")).unwrap();
        Self(dir)
    }

    fn is_untouched(&self) -> bool {
        let outside = fs::read_dir(self.0.join("outside")).unwrap().count();
        outside == 1 && fs::read_to_string(self.0.join("outside/kept")).unwrap() == "kept"
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn stays_inside(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Reads an input as everything that it could be. Whether a specification was accepted.
fn read(input: &[u8], place: &Place) -> bool {
    let root = fs::File::open(place.0.join("rootfs")).unwrap();
    if let Ok((process, _unknown)) = bundle::tolerant::<Process>(input) {
        // Refused or not, it does not panic.
        drop(identity::of(&process, &root));
    }
    let Ok(spec) = bundle::parse(input, Path::new("config.json")) else { return false };
    let spec: Spec = spec;
    let bundle = Bundle { dir: place.0.clone(), config: input.to_vec(), rootfs: place.0.join("rootfs"), spec, presets: None };
    let Ok(normal) = spec_normalise::normalise(&bundle, &"fuzz".parse().unwrap(), crate::cgroup::Driver::Files) else {
        return false;
    };
    check(&normal);
    true
}

fn check(normal: &NormalSpec) {
    assert!(stays_inside(&normal.cgroup_path) && normal.cgroup_path != Path::new("/"), "{}", normal.cgroup_path.display());
    for mount in normal.spec.mounts().iter().flatten() {
        assert!(stays_inside(mount.destination()), "{}", mount.destination().display());
    }
    for device in normal.spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten()) {
        assert!(device.path().starts_with("/dev"), "{}", device.path().display());
    }
}

fn corpus() -> Vec<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn random_specifications_and_process_files_do_no_harm() {
    let seconds = number_of("HSHIM_FUZZ_SECONDS").unwrap_or(1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let seed = number_of("HSHIM_FUZZ_SEED").unwrap_or(u64::try_from(now).unwrap() | 1);
    let last = std::env::temp_dir().join(format!("hshim-fuzz-input-{}", std::process::id()));
    println!("HSHIM_FUZZ_SEED={seed}, the input in hand is in {}", last.display());
    let (corpus, place, mut random) = (corpus(), Place::new(), Random(seed));
    let (end, mut tried, mut accepted) = (Instant::now() + Duration::from_secs(seconds), 0_u64, 0_u64);
    for whole in &corpus {
        read(whole.to_string().as_bytes(), &place);
    }
    while Instant::now() < end {
        let input = mutate(&random.pick(&corpus).clone(), &corpus, &mut random);
        fs::write(&last, &input).unwrap();
        tried += 1;
        accepted += u64::from(read(&input, &place));
        assert!(place.is_untouched(), "something outside the root file system was changed");
    }
    fs::remove_file(&last).unwrap();
    println!("{tried} inputs, {accepted} of them accepted");
    assert!(tried > 0 && accepted > 0, "the corpus is read at all");
}
