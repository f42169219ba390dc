# Everything one does with hshim's sources. `./dev` brings what these recipes need; `just --list` shows them.

target := "x86_64-unknown-linux-musl"
release := "target/" + target + "/release"

# Show the recipes.
default:
    @just --list

# Put the distribution's libseccomp.a where the linker finds it and nothing else (.cargo/config.toml).
native:
    @mkdir -p target/native
    @cp -u "$(gcc -print-file-name=libseccomp.a)" target/native/

# Build the three programs for tests.
build: native
    cargo build --workspace

# Build the three static programs for use, and hold their sizes against the budgets of docs/limits.md.
release: native
    cargo build --release -p hshim -p hshim-enter -p containerd-shim-hshim-v2
    tests/sizes {{ release }}

# Build, then show the main job live: a liveness probe fails, its container is killed, restarted and explained.
demo: release
    HSHIM_BIN={{ release }} tests/demo

# Everything that must hold: format, lints, docs, units, properties, end to end. Ends with `N passed, N failed, N skipped`.
test:
    tests/all.sh

# Format and lints.
lint: native
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings

# Units and properties, without containers.
unit *ARGS: native
    cargo nextest run -p hshim-health {{ ARGS }}

# One end-to-end suite, e.g. `just suite oci`; RUNTIME=runc judges the reference.
suite NAME *ARGS: build
    cargo nextest run -p hshim-tests --test {{ NAME }} {{ ARGS }}

# The documentation of the sources.
doc: native
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# Put the programs where an installed hshim has them: DESTDIR and PREFIX are honoured.
install: release
    tests/install {{ release }}

# The benches of docs/limits.md with release programs, e.g. `just bench lifecycle`; without a name all of them.
bench NAME="all": release
    tests/bench {{ release }} {{ NAME }}

# Suites in a guest whose kernel has cgroup v2 with controllers (plain), systemd as process 1 (systemd), or cgroup v1 alone (v1).
guest KIND="plain" *ARGS: native
    tests/guest/suites {{ KIND }} {{ ARGS }}

# A thousand lives, and all that they must not leave (23 minutes and more).
soak: build
    HSHIM_SOAK=1000 cargo nextest run -p hshim-tests --test leaks

# Ten minutes of random specifications and process files, then as much of annotations and frames; FUZZ_SECONDS says otherwise.
fuzz: native
    HSHIM_FUZZ_SECONDS="${FUZZ_SECONDS:-600}" cargo test -p hshim random_specifications -- --nocapture
    cargo run -p containerd-shim-hshim-v2 --example fuzz -- "${FUZZ_SECONDS:-600}"
