//! The home directory of a user by the container's own /etc/passwd.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// More than this of a passwd file is not read: the container may have written it.
const LARGEST: u64 = 1 << 20;

/// Home of `uid` by /etc/passwd below `root`; `/` when the file does not know him (as runc has it).
pub(crate) fn home(root: impl AsFd, uid: u32) -> String {
    passwd(root).and_then(|passwd| entry(&passwd, uid)).unwrap_or_else(|| "/".to_owned())
}

/// Links are followed as the container would follow them, never out of it.
fn passwd(root: impl AsFd) -> Option<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(root, "etc/passwd", how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn entry(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (found && !home.is_empty()).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_the_sixth_field_of_the_users_line() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:1000:1000::/home/web:/bin/sh\nnone:x:7:7:::\n";
        assert_eq!(entry(passwd, 1000).as_deref(), Some("/home/web"));
        assert_eq!(entry(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(entry(passwd, 7), None);
        assert_eq!(entry(passwd, 8), None);
    }
}
