//! Units: which way is better, and how a value is shown.

/// Which values of a unit are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Times, sizes, allocations.
    Lower,
    /// Throughput.
    Higher,
}

/// Which values of `unit` are better: those per second are better when higher.
pub fn better(unit: &str) -> Better {
    match unit.ends_with("/s") || unit.ends_with("/sec") {
        true => Better::Higher,
        false => Better::Lower,
    }
}

/// A value for people: `1.234µ` and `sec/op` for 1234 `ns/op`, `1.5Ki` and `B/op` for 1536 `B/op`.
pub fn scaled(value: f64, unit: &str) -> (String, String) {
    if !value.is_finite() {
        return (format!("{value}"), unit.to_owned());
    }
    if unit == "ns/op" || unit == "ns" {
        let unit = unit.replacen("ns", "sec", 1);
        return (with_prefix(value * 1e-9, &TIMES, 1000.0), unit);
    }
    let is_bytes = unit.starts_with("B/") || unit == "B" || unit.ends_with("-bytes");
    if is_bytes && unit != "B/s" {
        return (with_prefix(value, &BYTES, 1024.0), unit.to_owned());
    }
    (with_prefix(value, &COUNTS, 1000.0), unit.to_owned())
}

const TIMES: [(f64, &str); 6] = [
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
    (0.0, ""),
];
const BYTES: [(f64, &str); 5] = [
    (1_099_511_627_776.0, "Ti"),
    (1_073_741_824.0, "Gi"),
    (1_048_576.0, "Mi"),
    (1024.0, "Ki"),
    (0.0, ""),
];
const COUNTS: [(f64, &str); 5] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")];

/// The value with the largest prefix that leaves something before the point, to four digits.
fn with_prefix(value: f64, prefixes: &[(f64, &str)], step: f64) -> String {
    let size = value.abs();
    let (scale, prefix) = prefixes
        .iter()
        .find(|(least, _)| size >= *least)
        .map_or((1.0, ""), |(least, prefix)| {
            (if *least == 0.0 { 1.0 } else { *least }, prefix)
        });
    let shown = value / scale;
    let digits = match shown.abs() {
        0.0 => 0,
        s if s < 1.0 => 4,
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        s if s < step => 1,
        _ => 0,
    };
    format!("{shown:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_four_digits() {
        let shown = |value, unit| scaled(value, unit).0;
        assert_eq!(shown(1234.0, "ns/op"), "1.234µ");
        assert_eq!(shown(12.5, "ns/op"), "12.50n");
        assert_eq!(shown(2e9, "ns/op"), "2.000");
        assert_eq!(shown(1536.0, "B/op"), "1.500Ki");
        assert_eq!(shown(16.0, "B/op"), "16.00");
        assert_eq!(shown(0.0, "allocs/op"), "0");
        assert_eq!(shown(1_250_000.0, "MB/s"), "1.250M");
        assert_eq!(scaled(1.0, "ns/op").1, "sec/op");
        assert_eq!(better("MB/s"), Better::Higher);
        assert_eq!(better("ns/op"), Better::Lower);
    }
}
