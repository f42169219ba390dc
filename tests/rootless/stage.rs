//! A user without privileges, and a bundle that belongs to them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hshim_tests::scratch::Scratch;
use hshim_tests::{programs, rootfs, skip, wait};
use serde_json::{Value, json};

/// Of every Debian: a user who owns no file and runs nothing.
const USER: &str = "games";
const UID: u32 = 5;
const GID: u32 = 60;
/// What a test gives to the user as /etc/subuid and /etc/subgid.
pub(crate) const RANGE: u32 = 700_000;

/// Why a user without privileges cannot have containers here, if so.
pub(crate) fn why_not() -> Option<String> {
    if let Some(why) = skip::why_no_containers() {
        return Some(why.to_owned());
    }
    if programs::installed("setpriv").is_none() {
        return Some("no setpriv".to_owned());
    }
    let tried = as_user(Command::new("unshare")).args(["--user", "true"]).output().expect("run setpriv");
    (!tried.status.success()).then(|| format!("no user namespaces for users: {}", String::from_utf8_lossy(&tried.stderr)))
}

/// Skips where that is so.
#[macro_export]
macro_rules! needs_user {
    () => {
        if let Some(why) = $crate::stage::why_not() {
            hshim_tests::skip!("{why}");
        }
    };
}

/// Skips with a reference that is known to do otherwise.
#[macro_export]
macro_rules! only_for_hshim {
    ($why:literal) => {
        if !hshim_tests::programs::judges_hshim() {
            hshim_tests::skip!($why);
        }
    };
}

fn as_user(command: Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid", &UID.to_string(), "--regid", &GID.to_string(), "--clear-groups", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

/// The user's bundle, and where their runtime keeps its state.
pub(crate) struct UsersBundle {
    pub(crate) scratch: Scratch,
    pub(crate) config: Value,
    program: PathBuf,
    /// Flags before the verb.
    pub(crate) globals: Vec<String>,
    /// With ids of [`RANGE`], by files that only these commands see.
    has_range: bool,
    /// Cgroup that commands run in.
    pub(crate) inside: Option<PathBuf>,
}

impl UsersBundle {
    /// What `spec --rootless` of the runtime writes, with a shell script as command.
    pub(crate) fn new(script: &str) -> Self {
        let scratch = Scratch::new();
        for dir in ["bundle", "xdg", "own"] {
            fs::create_dir(scratch.join(dir)).unwrap();
        }
        fs::set_permissions(scratch.join("xdg"), fs::Permissions::from_mode(0o700)).unwrap();
        rootfs::make(&scratch.join("bundle/rootfs"));
        let program = place_program(&scratch);
        let mut bundle = Self { scratch, config: Value::Null, program, globals: Vec::new(), has_range: false, inside: None };
        bundle.give();
        bundle.ok(&["spec", "--rootless"]);
        bundle.config = serde_json::from_slice(&fs::read(bundle.dir().join("config.json")).unwrap()).unwrap();
        bundle.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["/bin/sh", "-c", script]);
            config["root"]["readonly"] = json!(false);
        });
        bundle
    }

    /// Everything in the scratch directory is the user's.
    fn give(&self) {
        let status = Command::new("chown").args(["-hR", &format!("{UID}:{GID}")]).arg(self.scratch.path()).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.scratch.join("bundle")
    }

    pub(crate) fn id(&self) -> &str {
        self.scratch.name()
    }

    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        let file = self.dir().join("config.json");
        fs::write(&file, self.config.to_string()).unwrap();
        chown(&file, Some(UID), Some(GID)).unwrap();
    }

    /// Maps ids 0 to 999 of the container: 0 to the user, the others to a range that they have by /etc/subuid.
    pub(crate) fn map_range(&mut self) {
        for (name, own, field) in [("subuid", UID, "uidMappings"), ("subgid", GID, "gidMappings")] {
            fs::write(self.scratch.join(name), format!("{USER}:{RANGE}:1000\n")).unwrap();
            let map = json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": RANGE, "size": 999}]);
            self.edit(|config| config["linux"][field] = map);
        }
        self.has_range = true;
    }

    /// A command of the user, in the bundle's directory.
    pub(crate) fn shell(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args);
        let mut command = as_user(command);
        if self.has_range {
            let script = r#"mount --bind "$0/subuid" /etc/subuid && mount --bind "$0/subgid" /etc/subgid && exec "$@""#;
            command =
                wrapped(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script], self.scratch.path(), &command);
        }
        if let Some(cgroup) = &self.inside {
            command = wrapped(&["sh", "-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#], cgroup, &command);
        }
        command.current_dir(self.dir()).env_remove("HSHIM_ROOT").env("XDG_RUNTIME_DIR", self.scratch.join("xdg"));
        command.env("HOME", self.scratch.join("own")).stdin(Stdio::null());
        command
    }

    /// The runtime as the user runs it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let all: Vec<&str> = self.globals.iter().map(String::as_str).chain(args.iter().copied()).collect();
        self.shell(&self.program, &all)
    }

    pub(crate) fn runtime(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.runtime(args);
        assert!(output.status.success(), "{args:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.runtime(args);
        assert!(!output.status.success(), "{args:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// A command that leaves a container behind: its output goes to files, which the container keeps open.
    pub(crate) fn detached(&self, args: &[&str]) {
        let file = |name: &str| fs::File::create(self.scratch.join(name)).unwrap();
        let status = self.command(args).stdout(file("out")).stderr(file("err")).status().unwrap();
        assert!(status.success(), "{args:?}: {status}: {}", self.read("err"));
    }

    pub(crate) fn create(&self) {
        self.detached(&["create", self.id()]);
    }

    pub(crate) fn start(&self) {
        self.create();
        self.ok(&["start", self.id()]);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.join(name)).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> Option<Value> {
        let output = self.runtime(&["state", self.id()]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn status(&self) -> String {
        self.state().map_or_else(|| "absent".to_owned(), |state| state["status"].as_str().unwrap().to_owned())
    }

    pub(crate) fn pid(&self) -> i64 {
        self.state().unwrap()["pid"].as_i64().unwrap()
    }

    /// Runs it to its end: standard output, and the exit code.
    pub(crate) fn run(&self) -> (String, Option<i32>) {
        let output = self.runtime(&["run", self.id()]);
        println!("{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    }

    pub(crate) fn wait_stopped(&self) {
        wait::until("it stops", || self.status() == "stopped");
    }
}

impl Drop for UsersBundle {
    fn drop(&mut self) {
        drop(self.command(&["delete", "--force", self.id()]).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// The program, where the user can reach it.
fn place_program(scratch: &Scratch) -> PathBuf {
    let program = programs::runtime_under_test();
    if !programs::judges_hshim() {
        return program;
    }
    let dir = scratch.join("programs");
    fs::create_dir(&dir).unwrap();
    for name in ["hshim", "hshim-enter"] {
        let to = dir.join(name);
        fs::copy(programs::built(name), &to).unwrap();
    }
    dir.join("hshim")
}

/// `FIRST… OPERAND COMMAND…`.
fn wrapped(first: &[&str], operand: &Path, command: &Command) -> Command {
    let mut outer = Command::new(first[0]);
    outer.args(&first[1..]).arg(operand).arg(command.get_program()).args(command.get_args());
    outer
}
