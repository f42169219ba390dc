//! The session keyring of a container: its own, so that it neither sees nor changes the keys of whoever called `create`.
//!
//! It is named `_ses.ID` as runc's is. `create` makes it and init inherits it; `exec` joins it by its name.

use std::ffi::CString;

use anyhow::Context;

use crate::sys;

/// Gives this process, and what it clones, the keyring of a container: the existing one of that name, or a new one.
pub(crate) fn join(id: &str) -> anyhow::Result<()> {
    let name = CString::new(format!("_ses.{id}")).context("name the session keyring")?;
    let joined = sys::join_session_keyring(&name).and_then(sys::let_owner_search_keyring);
    match joined {
        // A kernel without keys (ENOSYS), or a filter of an outer container (EPERM): there is nothing to be kept apart.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            log::debug!("make a session keyring: {error}");
            Ok(())
        }
        done => done.context("make a session keyring: --no-new-keyring leaves the caller's"),
    }
}
