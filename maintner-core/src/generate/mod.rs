//! Synthetic mutation logs: the same bytes for the same profile and seed, on
//! every machine.
//!
//! A simulated timeline of issues, changes and commits, written as a tracker of
//! the real services would log it. For tests and benches; feature `generate`.
//!
//! ```
//! use maintner_core::generate::{Generator, Profile};
//!
//! let dir = tempfile::tempdir()?;
//! let manifest = Generator::new(Profile::Tiny).seed(1).records(500).write(dir.path())?;
//! assert_eq!(manifest.records(), 500);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod change;
mod commit;
mod faults;
mod gerrit;
mod github;
mod manifest;
mod output;
mod people;
mod profile;
mod rng;
mod text;
mod timeline;

use std::fs;
use std::path::Path;

pub use faults::{Fault, UnknownFault};
pub use manifest::Manifest;
pub use profile::{Profile, UnknownProfile};

use self::faults::FaultMaker;
use self::output::Output;
use self::people::People;
use self::rng::Rng;
use self::text::Vocabulary;
use crate::log::{Layout, LogFolder, LogWriter, SegmentName, WriterOptions};
use crate::pb::Mutation;
use crate::{Error, Result};

/// 2014-01-01: when the simulated time begins.
const EPOCH: u64 = 1_388_534_400;

/// Writes a log; see the module's documentation.
#[derive(Debug, Clone)]
pub struct Generator {
    profile: Profile,
    seed: u64,
    faults: Vec<Fault>,
    layout: Layout,
    disk_names: bool,
    limit: u64,
}

impl Generator {
    /// A log of this size, with seed 0 and without faults, in segments.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            seed: 0,
            faults: Vec::new(),
            layout: Layout::SEGMENTS,
            disk_names: false,
            limit: u64::MAX,
        }
    }

    /// The seed of all random choices.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Freezes segments at `bytes` bytes instead of 16 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.layout = Layout::Segments { target: bytes };
        self
    }

    /// Prefixes the file names with `maintner-`, as disk logs have it: the only
    /// names that the Go programs read without a server.
    #[must_use]
    pub fn disk_names(mut self, on: bool) -> Self {
        self.disk_names = on;
        self
    }

    /// Stops after so many records.
    #[must_use]
    pub fn records(mut self, most: u64) -> Self {
        self.limit = most;
        self
    }

    /// Writes the log into `folder`, which is created and must hold no log yet,
    /// and its manifest.
    ///
    /// # Errors
    /// When the folder holds a log already or cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<Manifest> {
        let folder = folder.as_ref();
        refuse_a_log(folder)?;
        let writer = LogWriter::open_with(
            folder,
            WriterOptions::default().layout(self.layout).durable(false),
        )?;
        let mut world = World::new(
            self,
            Output::new(writer, FaultMaker::new(self.seed, &self.faults), self.limit),
        );
        timeline::run(&mut world, self.profile.counts())?;
        let records = world.out.records();
        let (counts, _end) = world.out.finish()?;
        if self.faults.contains(&Fault::TornTail) {
            tear(folder)?;
        }
        if self.disk_names {
            rename_for_disk(folder)?;
        }
        let manifest = Manifest::new(self, records, counts, &LogFolder::open(folder)?);
        manifest.write(folder)?;
        Ok(manifest)
    }
}

/// What all entities share.
struct World {
    seed: u64,
    epoch: u64,
    faults: Vec<Fault>,
    /// Whether the fork's other future has begun.
    forked: bool,
    vocabulary: Vocabulary,
    people: People,
    out: Output,
    unsafe_rng: Rng,
}

impl World {
    fn new(options: &Generator, out: Output) -> Self {
        let vocabulary = Vocabulary::new();
        Self {
            seed: options.seed,
            epoch: EPOCH,
            faults: options.faults.clone(),
            forked: false,
            people: People::new(options.seed, &vocabulary),
            vocabulary,
            out,
            unsafe_rng: Rng::new(options.seed, rng::Stream::Fault, 1),
        }
    }

    /// The seed of an entity that begins now.
    fn seed_now(&self) -> u64 {
        if self.forked { !self.seed } else { self.seed }
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn put(&mut self, kind: &'static str, mutation: Mutation) -> Result<()> {
        self.out.put(kind, &mutation)?;
        if self.has(Fault::Unsafe) && self.unsafe_rng.chance(5_000) {
            let odd = FaultMaker::unsafe_mutation(&mut self.unsafe_rng);
            self.out.put("unsafe", &odd)?;
        }
        Ok(())
    }
}

fn refuse_a_log(folder: &Path) -> Result<()> {
    match LogFolder::open(folder) {
        Ok(log) if !log.segments().is_empty() => {
            let source = std::io::ErrorKind::AlreadyExists.into();
            Err(Error::Io {
                action: "generate a log in",
                path: folder.to_owned(),
                source,
            })
        }
        _ => Ok(()),
    }
}

/// Cuts the last record, as a crash during a write does.
fn tear(folder: &Path) -> Result<()> {
    let log = LogFolder::open(folder)?;
    let Some(last) = log.segments().iter().rfind(|s| !s.is_empty()) else {
        return Ok(());
    };
    let path = last.path();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    file.set_len(last.len() - 5)
        .map_err(Error::io("truncate", &path))
}

fn rename_for_disk(folder: &Path) -> Result<()> {
    for segment in LogFolder::open(folder)?.segments() {
        let old = segment.path();
        let stem = segment.name().to_string();
        let name = SegmentName::Day(stem.trim_end_matches(".mutlog").to_owned());
        fs::rename(&old, folder.join(name.to_string())).map_err(Error::io("rename", &old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::log::{LogPosition, LogReader, Sha224Hex};

    fn payloads(folder: &Path) -> Vec<Vec<u8>> {
        let segments = LogFolder::open(folder).unwrap().segments().to_vec();
        let mut reader = LogReader::new(segments, LogPosition::START)
            .unwrap()
            .lenient();
        let mut all = Vec::new();
        while let Some((_, payload)) = reader.next_record().unwrap() {
            all.push(payload.to_vec());
        }
        all
    }

    fn write(generator: &Generator) -> (Manifest, Vec<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let manifest = generator.write(dir.path()).unwrap();
        let read = payloads(dir.path());
        (manifest, read)
    }

    fn hash(payloads: &[Vec<u8>]) -> String {
        Sha224Hex::of(&payloads.concat()).to_string()
    }

    #[test]
    fn tiny_is_what_it_was_and_as_large_as_it_says() {
        let (manifest, all) = write(&Generator::new(Profile::Tiny).seed(1));
        // A new value means that every figure measured with the generator is void.
        assert_eq!(
            hash(&all),
            "139151ac1d0f825e1e728cf066f0d60c9a88dde9d2d2d6b510a2759b"
        );
        let count = |kind: &str| manifest.counts()[kind];
        // A tombstone that comes back to life counts twice.
        assert!((500..510).contains(&(count("issues") + count("tombstones"))));
        for (kind, wanted) in [
            ("issue updates", 6_000),
            ("comments", 3_000),
            ("events", 8_000),
            ("meta commits", 9_000),
            ("mainline commits", 2_000),
            ("ref entries", 11_000),
        ] {
            let is = count(kind);
            assert!(
                is * 10 > wanted * 6 && is * 10 < wanted * 15,
                "{kind}: {is}, not about {wanted}"
            );
        }
        for payload in &all {
            let mutation = Mutation::decode(&payload[..]).expect("every record is valid");
            assert_eq!(
                mutation.encode_to_vec(),
                *payload,
                "decoding and encoding keep the bytes"
            );
        }
    }

    #[test]
    fn another_seed_makes_another_log() {
        let first = |seed| hash(&write(&Generator::new(Profile::Tiny).seed(seed).records(300)).1);
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_fork_shares_the_first_half() {
        let base = Generator::new(Profile::Tiny).seed(1);
        let (one, other) = (write(&base).1, write(&base.clone().fault(Fault::Fork)).1);
        let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        assert!(
            common > one.len() / 5 && common < one.len() * 4 / 5,
            "{common} of {}",
            one.len()
        );
    }

    #[test]
    fn a_torn_tail_costs_one_record() {
        let (manifest, all) = write(
            &Generator::new(Profile::Tiny)
                .records(50)
                .fault(Fault::TornTail),
        );
        assert_eq!((manifest.records(), all.len()), (50, 49));
    }

    #[test]
    fn a_huge_record_has_its_own_segment() {
        let (_, all) = write(&Generator::new(Profile::Tiny).fault(Fault::Huge));
        assert_eq!(all.iter().filter(|p| p.len() > 16 << 20).count(), 1);
    }

    #[test]
    fn a_folder_with_a_log_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let generator = Generator::new(Profile::Tiny).records(5);
        generator.write(dir.path()).unwrap();
        assert!(generator.write(dir.path()).is_err());
    }
}
