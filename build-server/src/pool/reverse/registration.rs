//! What a machine says when it registers, and how it is refused.

use build_client::reverse::header;
use build_core::h1::RequestHead;
use build_core::ids::{HostType, MachineId};
use build_core::revdial::{VERSION, VERSION_HEADER};
use build_core::schedule::Labels;

/// Oldest version of a buildlet that is taken: the first with this registration.
pub(super) const OLDEST_VERSION: u32 = 23;
/// Longest name of a machine or a kind, so that both fit into the name of a machine of the farm.
const LONGEST_NAME: usize = 60;
/// Most labels of a machine.
const MOST_LABELS: usize = 64;

/// How a machine is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

/// A registration that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) id: MachineId,
    pub(super) host: String,
    pub(super) host_type: HostType,
    /// As the machine says it; Go shows the text as it is.
    pub(super) version: String,
    pub(super) instance: Option<String>,
    pub(super) labels: Labels,
}

/// What a machine is called in the farm: its name alone could be that of a machine of another
/// kind.
pub(super) fn machine_id(host: &str, host_type: &str) -> Option<MachineId> {
    let fits = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('@');
    let both = fits(host) && fits(host_type);
    both.then(|| MachineId::new(format!("{host}@{host_type}")).ok())?
}

/// Whether a machine's id is one that [`machine_id`] makes.
pub(super) fn is_ours(id: &MachineId) -> bool {
    id.as_str().contains('@')
}

impl Registration {
    /// Reads the head of a registration; the key is another matter.
    ///
    /// # Errors
    /// The answer, in the order in which Go's coordinator looks.
    pub(super) fn read(head: &RequestHead, encrypted: bool) -> Result<Self, Refusal> {
        if head.method() != "GET" {
            return Err(Refusal::new(405, "expected GET request to /reverse"));
        }
        if !encrypted {
            return Err(Refusal::new(500, "buildlet registration requires SSL"));
        }
        let field = |name| head.headers().get_str(name).filter(|text| !text.is_empty());
        let bad = |text: &str| Refusal::new(400, text);
        match field(VERSION_HEADER) {
            None => return Err(bad("buildlet binary is too old")),
            Some(VERSION) => {}
            Some(_) => return Err(bad("unknown revdial version")),
        }
        let host =
            field(header::HOST_NAME).ok_or_else(|| bad("missing X-Go-Builder-Hostname header"))?;
        let host_type = field(header::HOST_TYPE)
            .ok_or_else(|| bad("missing X-Go-Host-Type; old buildlet binary?"))?;
        let version = field(header::VERSION).unwrap_or_default();
        if let Ok(number) = version.parse::<u32>()
            && number < OLDEST_VERSION
        {
            let text = format!("buildlet version {number} is too old: {OLDEST_VERSION} is needed");
            return Err(Refusal::new(400, text));
        }
        let id = machine_id(host, host_type).ok_or_else(|| {
            bad("the names of machine and host type must have 1 to 60 letters, digits, or any of . _ - + :")
        })?;
        let instance = field(header::INSTANCE);
        if instance.is_some_and(|text| MachineId::new(text).is_err()) {
            return Err(bad("bad X-Farmer-Instance header"));
        }
        let labels: Vec<&str> = field(header::LABELS)
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|label| !label.is_empty())
            .collect();
        if labels.len() > MOST_LABELS {
            return Err(Refusal::new(400, format!("more than {MOST_LABELS} labels")));
        }
        Ok(Self {
            host_type: HostType::new(host_type).map_err(|e| Refusal::new(400, e.to_string()))?,
            id,
            host: host.to_owned(),
            version: version.to_owned(),
            instance: instance.map(str::to_owned),
            labels: labels.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let all = [
            (VERSION_HEADER, "2"),
            (header::HOST_NAME, "box1"),
            (header::HOST_TYPE, "host-linux-foo"),
            (header::VERSION, "25"),
        ];
        let mut head = RequestHead::new("GET", "/reverse");
        for (name, value) in all {
            let other = fields.iter().find(|(other, _)| *other == name);
            head = head.with(name, other.map_or(value, |(_, value)| value));
        }
        head
    }

    #[test]
    fn refusals_are_those_of_go() {
        let cases = [
            (VERSION_HEADER, "", "buildlet binary is too old"),
            (VERSION_HEADER, "3", "unknown revdial version"),
            (
                header::HOST_NAME,
                "",
                "missing X-Go-Builder-Hostname header",
            ),
            (
                header::HOST_TYPE,
                "",
                "missing X-Go-Host-Type; old buildlet binary?",
            ),
            (
                header::VERSION,
                "22",
                "buildlet version 22 is too old: 23 is needed",
            ),
        ];
        for (name, value, text) in cases {
            let refusal = Registration::read(&head(&[(name, value)]), true).unwrap_err();
            assert_eq!(refusal, Refusal::new(400, text));
        }
        let plain = Registration::read(&head(&[]), false).unwrap_err();
        assert_eq!(
            plain,
            Refusal::new(500, "buildlet registration requires SSL")
        );
        for bad in ["a@b", "../x", "a b", &"x".repeat(61)] {
            let refusal = Registration::read(&head(&[(header::HOST_NAME, bad)]), true);
            assert_eq!(refusal.unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn a_machine_is_known_by_name_and_kind() {
        let read = Registration::read(&head(&[(header::VERSION, "devel")]), true).unwrap();
        assert_eq!(read.id.as_str(), "box1@host-linux-foo");
        assert!(is_ours(&read.id) && read.instance.is_none());
        let more = head(&[])
            .with(header::INSTANCE, "ab12")
            .with(header::LABELS, "gpu, big,");
        let read = Registration::read(&more, true).unwrap();
        assert_eq!(read.instance.as_deref(), Some("ab12"));
        assert!(read.labels.has("gpu") && read.labels.has("big"));
    }
}
