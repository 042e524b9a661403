//! Logs that were cut, flipped, forked or written to a full disk: nothing whole
//! is lost, nothing broken is believed, nothing panics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use maintner_core::Error;
use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{
    LogFolder, LogPosition, LogReader, LogWriter, Records, Sha224Hex, recover, repair,
};
use proptest::prelude::*;

/// A generated log of one growing segment, as bytes.
fn generated(records: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .segment_bytes(u64::MAX)
        .records(records)
        .write(dir.path())
        .unwrap();
    fs::read(dir.path().join("0000.growing.mutlog")).unwrap()
}

/// The offsets after each record, 0 included.
fn boundaries(log: &[u8]) -> Vec<usize> {
    let ends = Records::new(log).map(|r| usize::try_from(r.unwrap().header().end()).unwrap());
    std::iter::once(0).chain(ends).collect()
}

fn on_disk(log: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0000.growing.mutlog");
    fs::write(&path, log).unwrap();
    (dir, path)
}

#[test]
fn a_cut_at_every_byte_of_the_last_64_kib_keeps_every_whole_record() {
    let log = generated(2_000);
    let ends = boundaries(&log);
    let first = log.len() - (64 << 10);
    // What lies before the cut records does not depend on the cut.
    let start = ends[ends.partition_point(|end| *end <= first) - 1];
    for cut in first..=log.len() {
        let mut records = Records::at(&log[start..cut], start as u64);
        let failed = records.by_ref().find_map(Result::err);
        let whole = ends[ends.partition_point(|end| *end <= cut) - 1];
        assert_eq!(records.valid_end(), whole as u64);
        match failed {
            None => assert_eq!(cut, whole, "a cut at {cut} went unnoticed"),
            Some(error) => assert!(error.is_truncated(), "cut at {cut}: {error}"),
        }
    }
}

#[test]
fn a_writer_repairs_a_cut_anywhere_in_a_record_and_goes_on() {
    let log = generated(300);
    let ends = boundaries(&log);
    let (last, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for cut in last..=end {
        let (dir, path) = on_disk(&log[..cut]);
        let mut writer = LogWriter::open(dir.path()).unwrap();
        assert_eq!(writer.recovered().is_some(), cut != last && cut != end);
        if let Some(tail) = writer.recovered().and_then(|r| r.tail()) {
            assert_eq!(fs::read(tail.kept_in().unwrap()).unwrap(), &log[last..cut]);
        }
        writer.append(&[b"next"]).unwrap();
        let whole = if cut == end { end } else { last };
        let now = fs::read(&path).unwrap();
        assert_eq!(&now[..whole], &log[..whole]);
        assert!(Records::new(&now).all(|record| record.is_ok()));
    }
}

#[test]
fn the_documented_log_cut_by_five_bytes() {
    use maintner_core::pb::Mutation;
    let log = maintner_core::source::MemoryLog::of(&vec![Mutation::default(); 4]).bytes();
    let (_dir, path) = on_disk(&log[..log.len() - 5]);
    assert_eq!(recover(&path).unwrap().valid(), 25);
    let repaired = repair(&path).unwrap();
    assert_eq!(
        repaired.tail().unwrap().kept_in().unwrap(),
        path.with_file_name("0000.growing.mutlog.torn-25")
    );
    assert_eq!(fs::read(&path).unwrap(), &log[..25]);
}

#[test]
fn a_flipped_bit_in_a_frozen_segment_is_found() {
    let log = generated(200);
    let dir = tempfile::tempdir().unwrap();
    let path = dir
        .path()
        .join(format!("0000.{}.mutlog", Sha224Hex::of(&log)));
    for at in (0..log.len()).step_by(997) {
        let mut flipped = log.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let folder = LogFolder::open(dir.path()).unwrap();
        let error = folder.segments()[0].verify().unwrap_err();
        assert!(
            matches!(error, Error::HashMismatch { .. }),
            "at {at}: {error}"
        );
    }
    fs::write(&path, &log).unwrap();
    LogFolder::open(dir.path()).unwrap().segments()[0]
        .verify()
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A flipped bit may hide in a payload, but it never changes what comes
    /// before it, and a writer either goes on with whole records or refuses.
    #[test]
    fn a_flipped_bit_in_a_growing_segment_is_survived(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let log = generated(40);
        let at = at.index(log.len());
        let mut flipped = log.clone();
        flipped[at] ^= 1 << bit;
        let before = |log: &[u8]| -> Vec<Vec<u8>> {
            Records::new(log)
                .flatten()
                .take_while(|r| r.header().end() <= at as u64)
                .map(|r| r.payload().to_vec())
                .collect()
        };
        prop_assert_eq!(before(&flipped), before(&log));
        let (dir, path) = on_disk(&flipped);
        match LogWriter::open(dir.path()) {
            Ok(mut writer) => {
                writer.append(&[b"next"]).unwrap();
                let now = fs::read(&path).unwrap();
                prop_assert!(Records::new(&now).all(|record| record.is_ok()));
            }
            Err(Error::Damaged { .. }) => prop_assert_eq!(fs::read(&path).unwrap(), flipped),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn a_fork_is_seen_by_its_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, fault| {
        let folder = dir.path().join(name);
        let generator = Generator::new(Profile::Tiny).segment_bytes(1 << 20);
        let generator = if fault {
            generator.fault(maintner_core::generate::Fault::Fork)
        } else {
            generator
        };
        generator.write(&folder).unwrap();
        LogFolder::open(folder)
            .unwrap()
            .segments()
            .iter()
            .map(|s| s.name().to_string())
            .collect::<Vec<_>>()
    };
    let (one, other) = (write("one", false), write("other", true));
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    assert!(common > 0 && common < one.len());
}

/// Set for the process that writes under a file size limit.
const LIMITED: &str = "MAINTNER_TEST_LIMITED_LOG";

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    if let Some(folder) = std::env::var_os(LIMITED) {
        return fill(Path::new(&folder));
    }
    let dir = tempfile::tempdir().unwrap();
    let itself = std::env::current_exe().unwrap();
    // Writes beyond 64 blocks of 512 bytes fail, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact damage::a_full_disk_loses_nothing_that_was_acknowledged";
    let status = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(&itself)
        .env(LIMITED, dir.path())
        .output()
        .unwrap();
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stdout)
    );
    let acknowledged: u64 = fs::read_to_string(dir.path().join("acknowledged"))
        .unwrap()
        .parse()
        .unwrap();
    let folder = LogFolder::open(dir.path()).unwrap();
    assert_eq!(folder.end().bytes(), acknowledged);
    assert!(
        acknowledged > 30_000 && acknowledged <= 32_768,
        "{acknowledged}"
    );
    let mut writer = LogWriter::open(dir.path()).unwrap();
    assert!(
        writer.recovered().is_none(),
        "the partial write was undone at once"
    );
    writer.append(&[&[7; 5_000]]).unwrap();
    let mut reader = LogReader::new(
        LogFolder::open(dir.path()).unwrap().segments().to_vec(),
        LogPosition::START,
    )
    .unwrap();
    while reader.next_record().unwrap().is_some() {}
}

/// Appends until the disk is full, then checks that the writer is still sane.
fn fill(folder: &Path) {
    let mut writer = LogWriter::open(folder).unwrap();
    let payload = [1; 1_000];
    let error = loop {
        match writer.append(&[&payload]) {
            Ok(end) => assert_eq!(end, writer.end()),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            error,
            Error::Io {
                action: "append to",
                ..
            }
        ),
        "{error}"
    );
    let again = writer.append(&[&payload]).unwrap_err();
    assert!(matches!(again, Error::Io { .. }), "{again}");
    writer
        .append(&[b"small"])
        .expect("what fits is still written");
    fs::write(folder.join("acknowledged"), writer.end().to_string()).unwrap();
}
