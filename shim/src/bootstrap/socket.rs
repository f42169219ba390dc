//! The socket of a shim: its path, which is the same for all containers of a pod, and binding it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::flags::Flags;
use crate::bundle_spec::BundleSpec;

/// Annotations that group containers into one shim, the first that is there.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The longest path that a socket may have.
const LONGEST: usize = 106;

/// A bound socket, or one where a shim of the same pod listens already.
pub(super) enum Bound {
    /// To be served.
    New(UnixListener),
    /// Somebody serves it.
    Served,
}

/// The path for the shim of this container; the bundle says which pod it belongs to.
pub(super) fn path(directory: &Path, flags: &Flags, bundle: &Path) -> io::Result<PathBuf> {
    // A bundle that cannot be read is refused by Create, with its error.
    let annotations = BundleSpec::load(bundle).map(|spec| spec.annotations).unwrap_or_default();
    let group = GROUPS.iter().find_map(|key| annotations.get(*key)).filter(|group| !group.is_empty());
    let path = directory.join(name(&flags.address, &flags.namespace, group.unwrap_or(&flags.id)));
    if path.as_os_str().len() > LONGEST {
        return Err(io::Error::other(format!("the socket path {} is longer than {LONGEST} bytes", path.display())));
    }
    Ok(path)
}

/// As containerd's own shim names it, so that `ctr shim` finds it.
fn name(address: &str, namespace: &str, group: &str) -> String {
    let joined: PathBuf = [address, namespace, group].iter().collect();
    let digest = Sha256::digest(joined.to_string_lossy().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Binds it, for us alone. A socket that nobody serves any more is replaced.
pub(super) fn bind(path: &Path) -> io::Result<Bound> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    for _ in 0..2 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                return Ok(Bound::New(listener));
            }
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_in_use) if is_served(path) => return Ok(Bound::Served),
            Err(_stale) => remove(path)?,
        }
    }
    Err(io::Error::other(format!("the socket {} is taken and not served", path.display())))
}

/// Somebody accepts connections there.
pub(super) fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Where a shim puts its socket while it ends.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension("ending")
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Scratch;

    #[test]
    fn the_name_is_that_of_containerds_own_shim() {
        // printf %s /run/c.sock/default/g1 | sha256sum
        let digest = Sha256::digest(b"/run/c.sock/default/g1");
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name("/run/c.sock", "default", "g1"), expected);
        assert_eq!(expected.len(), 64);
    }

    #[test]
    fn containers_of_a_pod_share_a_socket() {
        let scratch = Scratch::new();
        let flags = |id: &str| Flags { namespace: "n".into(), id: id.into(), address: "/a".into(), ..Flags::default() };
        let path_of = |id: &str| path(Path::new("/s"), &flags(id), scratch.path()).unwrap();
        assert_ne!(path_of("a"), path_of("b"), "without a bundle each has its own");
        fs::write(scratch.path().join("config.json"), r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"p"}}"#).unwrap();
        assert_eq!(path_of("a"), path_of("b"));
        assert_eq!(path_of("a"), Path::new("/s").join(name("/a", "n", "p")));
        assert!(path(Path::new(&format!("/{}", "s".repeat(60))), &flags("a"), scratch.path()).is_err());
    }

    #[test]
    fn a_served_socket_is_found_and_a_stale_one_replaced() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dir/s");
        let Bound::New(listener) = bind(&path).unwrap() else { panic!("nobody serves it") };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(bind(&path).unwrap(), Bound::Served));
        drop(listener);
        assert!(matches!(bind(&path).unwrap(), Bound::New(_)));
    }
}
