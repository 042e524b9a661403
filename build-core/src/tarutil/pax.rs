//! Records that stand before an entry and say what its header cannot: pax and GNU long names.

use tar::EntryType;

use super::header::Modified;

/// What extension records say about the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Modified>,
    pub(super) sparse: bool,
    any: bool,
}

impl Overrides {
    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Takes an extension record; `None` when it is malformed.
    pub(super) fn add(&mut self, kind: EntryType, data: &[u8]) -> Option<()> {
        self.any = true;
        match kind {
            EntryType::GNULongName => self.path = Some(until_nul(data)),
            EntryType::GNULongLink => self.link = Some(until_nul(data)),
            _ => {
                let mut rest = data;
                while !rest.is_empty() {
                    rest = self.record(rest)?;
                }
            }
        }
        Some(())
    }

    /// Takes one pax record; returns what follows it. The length decides, not the newline, because
    /// a value may hold newlines.
    fn record<'d>(&mut self, data: &'d [u8]) -> Option<&'d [u8]> {
        let space = data.iter().take(20).position(|&b| b == b' ')?;
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&b| b == b'=')?;
        self.set(&record[..equals], &record[equals + 1..])?;
        Some(&data[length..])
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        // An empty value takes an earlier one back.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = if given { Some(pax_size(value)?) } else { None },
            b"mtime" => self.modified = if given { Some(pax_time(value)?) } else { None },
            _ => self.sparse |= key.starts_with(b"GNU.sparse."),
        }
        Some(())
    }
}

fn until_nul(data: &[u8]) -> Vec<u8> {
    data.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

fn pax_size(value: &[u8]) -> Option<u64> {
    let size: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    u64::try_from(size).ok()
}

/// `seconds` or `seconds.fraction`, perhaps negative.
fn pax_time(value: &[u8]) -> Option<Modified> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut nanos = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nanos = nanos * 10 + u32::from(digit - b'0');
    }
    if nanos > 0 && whole.starts_with('-') {
        return Some(Modified {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        });
    }
    Some(Modified { seconds, nanos })
}

/// One pax record: its decimal length (which counts itself), a space, `key=value`, a newline.
pub(crate) fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_have_fractions() {
        let time = |text: &str| pax_time(text.as_bytes()).map(|time| (time.seconds, time.nanos));
        assert_eq!(
            time("1350244992.023960108"),
            Some((1_350_244_992, 23_960_108))
        );
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("-0.25"), Some((-1, 750_000_000)));
        assert_eq!(time("7"), Some((7, 0)));
        assert_eq!(time("7.0000000019"), Some((7, 1)));
        for wrong in ["", "x", "1.x", "1.-5", "99999999999999999999"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_empty_pax_value_takes_an_earlier_one_back() {
        let mut overrides = Overrides::default();
        overrides.add(EntryType::XHeader, b"10 path=x\n").unwrap();
        overrides.add(EntryType::XHeader, b"8 path=\n").unwrap();
        assert_eq!(overrides.path, None);
    }
}
