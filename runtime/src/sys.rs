//! The system calls that want `unsafe`, one function each, and one symbol for the linker.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

/// Debian's libseccomp.a is built with glibc's fortify, whose `__fprintf_chk` musl lacks. Only the filter's text export
/// (`seccomp_export_pfc`) calls it, and hshim never does: the symbol has to exist, it does not have to work.
#[cfg(target_env = "musl")]
// SAFETY: no other definition of this name exists in a musl program; the caller ignores the result.
#[unsafe(no_mangle)]
extern "C" fn __fprintf_chk() -> i32 {
    0
}
