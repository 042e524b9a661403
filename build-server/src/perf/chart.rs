//! A series as a picture: lines and dots that need no script, with words for those who do not
//! see them.

use std::fmt::Write as _;

use build_core::benchfmt::scaled;

use super::series::Series;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 220.0;
/// Room for the numbers at the left, and around.
const LEFT: f64 = 70.0;
const EDGE: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// Numbers beside the vertical axis.
const STEPS: u32 = 4;

/// Text inside of an element or an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The series as SVG.
pub(super) fn svg(series: &Series) -> String {
    let points = &series.values;
    let low = points.iter().map(|p| p.low).fold(f64::INFINITY, f64::min);
    let high = points
        .iter()
        .map(|p| p.high)
        .fold(f64::NEG_INFINITY, f64::max);
    // A flat series is in the middle of the picture, not at its edge.
    let pad = ((high - low) * 0.08).max(0.005);
    let (low, high) = (low - pad, high + pad);
    let x = |n: usize| {
        let share = if points.len() < 2 {
            0.5
        } else {
            n as f64 / (points.len() - 1) as f64
        };
        LEFT + share * (WIDTH - LEFT - EDGE)
    };
    let y = |value: f64| EDGE + (high - value) / (high - low) * (HEIGHT - EDGE - BOTTOM);
    let mut svg = String::new();
    let title = format!("{} in {} on {}", series.name, series.unit, series.platform);
    let told = description(series);
    let _infallible = write!(
        svg,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=img>\
         <title>{}</title><desc>{}</desc>",
        escaped(&title),
        escaped(&told)
    );
    for step in 0..=STEPS {
        let value = low + (high - low) * f64::from(step) / f64::from(STEPS);
        let at = y(value);
        let _infallible = write!(
            svg,
            "<path class=axis d=\"M{LEFT} {at:.1}H{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=end>{:+.1}%</text>",
            WIDTH - EDGE,
            LEFT - 6.0,
            at + 4.0,
            value * 100.0
        );
    }
    let band = |value: fn(&super::series::Point) -> f64| {
        points.iter().enumerate().map(move |(n, p)| (n, value(p)))
    };
    let mut area = String::new();
    for (n, value) in band(|p| p.high).chain(band(|p| p.low).collect::<Vec<_>>().into_iter().rev())
    {
        let pen = if area.is_empty() { 'M' } else { 'L' };
        let _infallible = write!(area, "{pen}{:.1} {:.1}", x(n), y(value));
    }
    let _infallible = write!(svg, "<path class=band d=\"{area}Z\"/>");
    let mut line = String::new();
    for (n, point) in points.iter().enumerate() {
        let pen = if n == 0 { 'M' } else { 'L' };
        let _infallible = write!(line, "{pen}{:.1} {:.1}", x(n), y(point.center));
    }
    let _infallible = write!(svg, "<path class=line d=\"{line}\"/>");
    for change in &series.changes {
        let at = (x(change.at) + x(change.at.saturating_sub(1))) / 2.0;
        let _infallible = write!(
            svg,
            "<path class=change d=\"M{at:.1} {EDGE}V{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=middle>{:+.1}%</text>",
            HEIGHT - BOTTOM,
            EDGE - 3.0,
            change.delta() * 100.0
        );
    }
    for (n, point) in points.iter().enumerate() {
        let (value, unit) = scaled(point.median, &series.unit);
        let hash: String = point.commit_hash.chars().take(10).collect();
        let _infallible = write!(
            svg,
            "<circle class=dot cx=\"{:.1}\" cy=\"{:.1}\" r=3><title>{}: {value} {}, {:+.2}%</title></circle>",
            x(n),
            y(point.center),
            escaped(&hash),
            escaped(&unit),
            point.center * 100.0
        );
    }
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        for (at, anchor, date) in [
            (LEFT, "start", &first.commit_date),
            (WIDTH - EDGE, "end", &last.commit_date),
        ] {
            let date: String = date.chars().take(10).collect();
            let _infallible = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor={anchor}>{}</text>",
                HEIGHT - 8.0,
                escaped(&date)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// What the picture shows, in a sentence.
pub(super) fn description(series: &Series) -> String {
    let n = series.values.len();
    let last = series.values.last().map_or(0.0, |p| p.center * 100.0);
    let mut told = format!("{n} commits; the last is {last:+.1}% from the baseline.");
    if series.changes.is_empty() {
        told.push_str(" No change that is not noise.");
    }
    for change in &series.changes {
        let better = (change.delta() > 0.0) == series.higher_is_better;
        let word = if better { "better" } else { "worse" };
        let point = &series.values[change.at];
        let hash: String = point.commit_hash.chars().take(10).collect();
        let _infallible = write!(told, " {:+.1}% ({word}) at {hash}.", change.delta() * 100.0);
    }
    told
}
