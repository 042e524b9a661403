//! Names of owners, from the machine's own files, for the headers of packed entries.

use std::collections::HashMap;
use std::path::Path;

/// User and group names by id; unknown ids have no name.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Owners {
    /// What `/etc/passwd` and `/etc/group` say; a machine without them has no names.
    pub(crate) fn of_this_machine() -> Self {
        Self {
            users: names(Path::new("/etc/passwd")),
            groups: names(Path::new("/etc/group")),
        }
    }

    pub(crate) fn user(&self, uid: u32) -> &[u8] {
        self.users.get(&uid).map_or(b"", Vec::as_slice)
    }

    pub(crate) fn group(&self, gid: u32) -> &[u8] {
        self.groups.get(&gid).map_or(b"", Vec::as_slice)
    }
}

fn names(file: &Path) -> HashMap<u32, Vec<u8>> {
    std::fs::read(file)
        .map(|text| parse(&text))
        .unwrap_or_default()
}

/// Lines of `name:password:id:…`; the first name of an id counts.
fn parse(text: &[u8]) -> HashMap<u32, Vec<u8>> {
    let mut names = HashMap::new();
    for line in text.split(|&b| b == b'\n') {
        let mut fields = line.split(|&b| b == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        if let Some(id) = id {
            names.entry(id).or_insert_with(|| name.to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_of_passwd() {
        let names = super::parse(
            b"root:x:0:0:root:/root:/bin/sh\nbroken\nal:x:7:7\ntwin:x:7:7\nbad:x:y:1\n",
        );
        assert_eq!(names.len(), 2);
        assert_eq!(names[&7], b"al");
    }
}
