//! The user of an image's configuration (`nginx`, `1000`, `web:www-data`), by the image's own /etc/passwd and /etc/group.

use super::merged_tree::MergedTree;

/// Ids for a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// User.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Further groups, which /etc/group lists the user for.
    pub(crate) groups: Vec<u32>,
}

/// Finds out who `user` is; nothing written means root.
pub(crate) fn account(user: &str, tree: &MergedTree<'_>) -> anyhow::Result<Account> {
    let passwd = tree.text("/etc/passwd")?.unwrap_or_default();
    let group = tree.text("/etc/group")?.unwrap_or_default();
    resolve(user, &passwd, &group)
}

fn resolve(written: &str, passwd: &str, group: &str) -> anyhow::Result<Account> {
    let (user, wanted_group) = match written.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (written, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.lines().map(fields).find(|fields| matches(fields, user));
    let uid = match &entry {
        Some(entry) => id(entry.get(2)),
        None => user.parse().ok(),
    };
    let Some(uid) = uid else { anyhow::bail!("the image has no user {user:?} in its /etc/passwd") };
    let gid = match wanted_group {
        Some(name) => match group.lines().map(fields).find(|fields| matches(fields, name)) {
            Some(entry) => id(entry.get(2)),
            None => name.parse().ok(),
        },
        None => entry.as_ref().map_or(Some(0), |entry| id(entry.get(3))),
    };
    let Some(gid) = gid else { anyhow::bail!("the image has no group {:?} in its /etc/group", wanted_group.unwrap_or_default()) };
    let name = entry.as_ref().and_then(|entry| entry.first().copied());
    let groups = group.lines().map(fields).filter(|fields| {
        let members = fields.get(3).copied().unwrap_or_default();
        name.is_some_and(|name| members.split(',').any(|member| member == name))
    });
    let mut groups: Vec<u32> = groups.filter_map(|fields| id(fields.get(2))).filter(|other| *other != gid).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(Account { uid, gid, groups })
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(':').collect()
}

/// By name, else by number.
fn matches(fields: &[&str], wanted: &str) -> bool {
    fields.first() == Some(&wanted) || fields.get(2) == Some(&wanted)
}

fn id(field: Option<&&str>) -> Option<u32> {
    field?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nlogs:x:7:web,other\nwheel:x:10:root,web\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let account = |uid, gid, groups: &[u32]| Account { uid, gid, groups: groups.to_vec() };
        let rows = [
            ("", account(0, 0, &[10])),
            ("root", account(0, 0, &[10])),
            ("web", account(1000, 1001, &[7, 10])),
            ("1000", account(1000, 1001, &[7, 10])),
            ("web:logs", account(1000, 7, &[10])),
            ("web:5", account(1000, 5, &[7, 10])),
            ("4711", account(4711, 0, &[])),
            ("4711:12", account(4711, 12, &[])),
        ];
        for (written, expected) in rows {
            assert_eq!(resolve(written, PASSWD, GROUP).unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(
            resolve("nginx", PASSWD, GROUP).unwrap_err().to_string(),
            "the image has no user \"nginx\" in its /etc/passwd"
        );
        assert_eq!(resolve("web:x", PASSWD, GROUP).unwrap_err().to_string(), "the image has no group \"x\" in its /etc/group");
    }
}
