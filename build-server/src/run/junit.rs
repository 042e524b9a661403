//! Results of tests in the form of JUnit, which most test runners write.

use std::time::Duration;

use build_core::test_lines::{TestEnd, TestLines};
use build_core::{Error, ErrorKind, Result};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Elements within elements, at most.
const MAX_DEPTH: usize = 64;

/// A test case that is being read.
struct Case {
    name: String,
    end: TestEnd,
    took: Option<Duration>,
}

/// Adds the results of one report to `counts`.
///
/// A test is called by its class and its name, as the report has them, parted by `::`; by its name
/// alone when there is no class or the name begins with it.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is no XML, or no report.
pub(super) fn read(report: &[u8], counts: &mut TestLines) -> Result<()> {
    let mut reader = Reader::from_reader(report);
    let mut case: Option<Case> = None;
    let (mut depth, mut is_report) = (0_usize, false);
    loop {
        match reader.read_event().map_err(|e| bad(&e))? {
            Event::Start(element) => {
                depth += 1;
                is_report |= begins(&element, &mut case)?;
            }
            Event::Empty(element) => {
                is_report |= begins(&element, &mut case)?;
                if element.local_name().as_ref() == b"testcase" {
                    end(case.take(), counts);
                }
            }
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                if element.local_name().as_ref() == b"testcase" {
                    end(case.take(), counts);
                }
            }
            Event::Eof if depth > 0 => return Err(invalid("it ends before its last element does")),
            Event::Eof if !is_report => return Err(invalid("it holds no <testsuite>")),
            Event::Eof => return Ok(()),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(invalid("its elements are nested too deeply"));
        }
    }
}

/// Whether the element makes a file a report.
fn begins(element: &BytesStart<'_>, case: &mut Option<Case>) -> Result<bool> {
    match element.local_name().as_ref() {
        b"testsuite" | b"testsuites" => return Ok(true),
        b"testcase" => *case = Some(Case::read(element)?),
        b"failure" | b"error" => set(case, TestEnd::Failed),
        b"skipped" => set(case, TestEnd::Skipped),
        _ => {}
    }
    Ok(false)
}

fn set(case: &mut Option<Case>, end: TestEnd) {
    if let Some(case) = case {
        case.end = end;
    }
}

fn end(case: Option<Case>, counts: &mut TestLines) {
    if let Some(case) = case {
        counts.tell(&case.name, case.end, case.took);
    }
}

impl Case {
    fn read(element: &BytesStart<'_>) -> Result<Self> {
        let (mut class, mut name, mut took) = (String::new(), String::new(), None);
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|e| bad(&e))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|e| bad(&e))?;
            match attribute.key.local_name().as_ref() {
                b"classname" => class = value.into_owned(),
                b"name" => name = value.into_owned(),
                b"time" => took = seconds(&value),
                _ => {}
            }
        }
        if !class.is_empty() && !name.starts_with(&class) {
            name = format!("{class}::{name}");
        }
        Ok(Self {
            name,
            end: TestEnd::Passed,
            took,
        })
    }
}

/// `1.25`, and `1,234.5` as some write it.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.replace(',', "").parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn bad(error: &dyn std::fmt::Display) -> Error {
    invalid(&error.to_string())
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use build_core::test_lines::TestCounts;

    use super::*;

    fn counts(text: &str) -> Result<TestCounts> {
        let mut lines = TestLines::default();
        read(text.as_bytes(), &mut lines)?;
        Ok(lines.finish())
    }

    #[test]
    fn a_report_is_counted_and_names_are_whole() {
        let counts = counts(
            r#"<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="4">
            <testcase classname="t.py" name="x[a - b]" time="0.5"><failure message="no">a &lt; b</failure></testcase>
            <testcase classname="t.py" name="x[a &#34;c&#34;]" time="1,002.25"/>
            <testcase name="it works &amp; stays"><skipped/></testcase>
            <testcase classname="A" name="A broke"><error/><system-out><![CDATA[<testcase name="no"/>]]></system-out></testcase>
            </testsuite></testsuites>"#,
        )
        .unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 2, 1));
        assert_eq!(counts.failures, ["t.py::x[a - b]", "A broke"]);
        assert_eq!(counts.slowest[0].name, r#"t.py::x[a "c"]"#);
        assert_eq!(counts.slowest[0].took_us, 1_002_250_000);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let torn = "<testsuite><testcase name='a'>";
        let deep = format!("<testsuite>{}", "<a>".repeat(100));
        for text in [
            "",
            "hello",
            "<html/>",
            torn,
            &deep,
            "<testsuite><b></a></testsuite>",
        ] {
            assert!(counts(text).is_err(), "{text}");
        }
    }
}
