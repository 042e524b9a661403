//! Hands mutations to a writer and counts them.

use std::collections::BTreeMap;

use prost::Message as _;

use super::faults::FaultMaker;
use crate::Result;
use crate::log::{LogPosition, LogWriter};
use crate::pb::Mutation;

/// Mutations are written in batches of this many bytes.
const BATCH: usize = 1 << 20;

/// The log that is being made.
pub(super) struct Output {
    writer: LogWriter,
    faults: FaultMaker,
    batch: Vec<Vec<u8>>,
    batched: usize,
    records: u64,
    kinds: BTreeMap<&'static str, u64>,
    limit: u64,
}

impl Output {
    pub(super) fn new(writer: LogWriter, faults: FaultMaker, limit: u64) -> Self {
        let (batch, kinds) = (Vec::new(), BTreeMap::new());
        Self {
            writer,
            faults,
            batch,
            batched: 0,
            records: 0,
            kinds,
            limit,
        }
    }

    /// Appends a mutation (and what the faults make of it).
    pub(super) fn put(&mut self, kind: &'static str, mutation: &Mutation) -> Result<()> {
        if self.is_full() {
            return Ok(());
        }
        *self.kinds.entry(kind).or_default() += 1;
        let encoded = self.faults.distort(mutation.encode_to_vec());
        self.records += 1;
        self.batched += encoded.len();
        self.batch.push(encoded);
        if self.batched >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Counts things that are part of mutations of another kind.
    pub(super) fn count(&mut self, kind: &'static str, n: u64) {
        *self.kinds.entry(kind).or_default() += n;
    }

    /// Whether as many records were written as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.records >= self.limit
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let payloads: Vec<&[u8]> = self.batch.iter().map(Vec::as_slice).collect();
        self.writer.append(&payloads)?;
        self.batch.clear();
        self.batched = 0;
        Ok(())
    }

    /// Writes what is left; the counts and the end of the log.
    pub(super) fn finish(mut self) -> Result<(BTreeMap<&'static str, u64>, LogPosition)> {
        self.flush()?;
        Ok((self.kinds, self.writer.end()))
    }
}
