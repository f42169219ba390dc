//! Throws nonsense at the shim for a while: `cargo run -p containerd-shim-hshim-v2 --example fuzz -- SECONDS`.
//!
//! Half of the time annotations (which must be refused or make a plan, and never panic), half of it frames to a real shim (which
//! must stay up and answer). Stable Rust, no instrumentation: the seed is printed, `HSHIM_SEED` repeats it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed attack is what this is for")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hshim_health::annotation;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[3]
    }
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10);
    let seed = std::env::var("HSHIM_SEED").ok().and_then(|word| word.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) | 0x9e37_79b9_0000_0001);
    println!("seed {seed}, {seconds} s");
    let mut dice = Dice(seed);
    let half = Duration::from_secs(seconds) / 2;
    let annotations = attack_annotations(&mut dice, half);
    let frames = attack_frames(&mut dice, half);
    println!("{annotations} sets of annotations, {frames} frames: nothing broke");
}

const KEYS: [&str; 9] = [
    "hshim.dev/livenessProbe",
    "hshim.dev/readinessProbe",
    "web.hshim.dev/startupProbe",
    "hshim.dev/restartPolicy",
    "hshim.dev/backoff",
    "hshim.dev/supervision",
    "hshim.dev/terminationGracePeriodSeconds",
    "hshim.dev/lifecycle",
    "hshim.dev/",
];
const VALUES: [&str; 9] = [
    r#"{"exec":{"command":["cat","/x"]},"periodSeconds":5,"failureThreshold":3,"terminationGracePeriodSeconds":1}"#,
    r#"{"httpGet":{"path":"/","port":80,"httpHeaders":[{"name":"a","value":"b"}]},"timeoutSeconds":2}"#,
    r#"{"restartOwner":"auto","statusFile":"/run/x","restartBudget":{"restarts":3,"withinMilliseconds":1000}}"#,
    r#"{"initialMilliseconds":100,"capMilliseconds":1000,"resetAfterMilliseconds":600000}"#,
    r#"{"periodMilliseconds":300,"errorsCountAsFailures":true}"#,
    "Always",
    "30",
    "null",
    "[[[[[[[[[[]]]]]]]]]]",
];

fn attack_annotations(dice: &mut Dice, time: Duration) -> u64 {
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < time {
        let mut annotations = BTreeMap::new();
        for _ in 0..dice.below(4) {
            let (key, value) = (dice.below(KEYS.len()), dice.below(VALUES.len()));
            let (key, value) = (mutate(dice, KEYS.get(key).unwrap()), mutate(dice, VALUES.get(value).unwrap()));
            annotations.insert(key, value);
        }
        if let Err(faults) = annotation::task("web", &annotations) {
            assert!(
                !faults.0.is_empty() && faults.0.iter().all(|fault| fault.path.starts_with("annotations[")),
                "{annotations:?}"
            );
        }
        done += 1;
    }
    done
}

/// Sometimes untouched, else with a few bytes changed, doubled or dropped.
fn mutate(dice: &mut Dice, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..dice.below(4) {
        let at = dice.below(bytes.len().max(1));
        match (dice.below(3), bytes.get(at).copied()) {
            (0, Some(_)) => drop(bytes.remove(at)),
            (1, Some(byte)) => bytes.insert(at, byte),
            (_, Some(_)) => bytes.splice(at..=at, [dice.byte()]).for_each(drop),
            (_, None) => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const METHODS: [&str; 8] = ["State", "Create", "Exec", "Kill", "Update", "Connect", "ResizePty", "Wait"];

fn attack_frames(dice: &mut Dice, time: Duration) -> u64 {
    let shim = Attacked::start();
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < time {
        let mut stream = UnixStream::connect(&shim.socket).expect("the shim stays up");
        for _ in 0..dice.below(20) {
            let frame = if dice.below(3) == 0 { noise(dice, 40) } else { request(dice) };
            if stream.write_all(&frame).is_err() {
                break;
            }
            done += 1;
        }
        drop(stream);
        if done % 64 == 0 {
            shim.answers();
        }
    }
    shim.answers();
    done
}

fn noise(dice: &mut Dice, most: usize) -> Vec<u8> {
    (0..dice.below(most)).map(|_| dice.byte()).collect()
}

/// A frame with an honest header around a request whose payload is noise, or half of one.
fn request(dice: &mut Dice) -> Vec<u8> {
    let method = METHODS.get(dice.below(METHODS.len())).unwrap();
    let payload = noise(dice, 60);
    let mut body = field(1, b"containerd.task.v2.Task");
    body.extend(field(2, method.as_bytes()));
    body.extend(field(3, &payload));
    frame(dice.roll().to_le_bytes()[0] | 1, &body)
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    field.extend_from_slice(bytes);
    field
}

fn frame(stream: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend([0, 0, 0, stream, 1, 0]);
    frame.extend_from_slice(body);
    frame
}

/// A shim in a directory of its own.
struct Attacked {
    base: PathBuf,
    socket: PathBuf,
}

impl Attacked {
    fn start() -> Self {
        let exe = std::env::current_exe().unwrap();
        let shim = exe.parent().and_then(Path::parent).unwrap().join("containerd-shim-hshim-v2");
        let base = std::env::temp_dir().join(format!("hshim-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        // What the shim says last.
        std::fs::write(base.join("log"), "").unwrap();
        let address = base.join("c.sock").display().to_string();
        let output = Command::new(&shim)
            .args(["-namespace", "fuzz", "-address", &address, "-id", "fuzz", "start"])
            .current_dir(&base)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("run {} (build it first): {error}", shim.display()));
        let address = String::from_utf8(output.stdout).unwrap();
        Self { base, socket: PathBuf::from(address.trim_start_matches("unix://")) }
    }

    /// Connect is answered whatever came before.
    fn answers(&self) {
        let mut stream = UnixStream::connect(&self.socket).expect("the shim stays up");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut body = field(1, b"containerd.task.v2.Task");
        body.extend(field(2, b"Connect"));
        stream.write_all(&frame(1, &body)).unwrap();
        let mut header = [0_u8; 10];
        if let Err(error) = stream.read_exact(&mut header) {
            panic!("no answer: {error}; the shim's log: {}", std::fs::read_to_string(self.base.join("log")).unwrap_or_default());
        }
        assert_eq!(header.get(8), Some(&2), "a response");
    }
}

impl Drop for Attacked {
    fn drop(&mut self) {
        // Shutdown ends a shim without containers.
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            let mut body = field(1, b"containerd.task.v2.Task");
            body.extend(field(2, b"Shutdown"));
            drop(stream.write_all(&frame(1, &body)));
            drop(stream.read(&mut [0_u8; 64]));
        }
        drop(std::fs::remove_dir_all(&self.base));
    }
}
