//! Spans of time for people.

use std::time::Duration;

/// A span of time in its two largest units: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub fn took(span: Duration) -> String {
    let seconds = span.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{:.1} s", (span.as_millis() / 100) as f64 / 10.0),
        1..60 => format!("{seconds} s"),
        60..3_600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// A span of time in its largest unit, for what is only about.
pub fn about(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{} s", seconds.max(1)),
        60..3_600 => format!("{} min", (seconds + 30) / 60),
        3_600..86_400 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let spans = [0, 450, 12_000, 60_000, 185_000, 7_800_000, 270_000_000];
        let texts = spans.map(|ms| took(Duration::from_millis(ms)));
        let expected = [
            "0.0 s",
            "0.4 s",
            "12 s",
            "1 min",
            "3 min 5 s",
            "2 h 10 min",
            "3 d 3 h",
        ];
        assert_eq!(texts, expected);
        let spans = [0, 59, 100, 5_000, 100_000].map(|s| about(Duration::from_secs(s)));
        assert_eq!(spans, ["1 s", "59 s", "2 min", "1 h", "1 d"]);
    }
}
