//! `enter-identity`: the identity of a bundle's process, for containers that another runtime created.

use crate::bundle::Bundle;
use crate::cli::{EnterIdentityArgs, Globals};
use crate::identity;
use crate::seccomp::SeccompCache;

/// Performs `enter-identity`.
pub(crate) fn enter_identity(args: &EnterIdentityArgs, globals: &Globals) -> anyhow::Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    let identity = identity::of_process(&bundle.spec, &bundle.rootfs, &SeccompCache::below(&globals.root))?;
    identity::store(&identity, &args.output)
}
