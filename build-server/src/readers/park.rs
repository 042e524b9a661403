//! Cursors that hold up packing, or would.

use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::{Memo, MemoKey, Seq};
use build_core::ids::ReaderName;
use build_core::reader::Kept;

use super::memos::Memos;

fn cursors() -> [MemoKey; 1] {
    [MemoKey::new("cursor/").expect("plain")]
}

/// Up to which the event log may be packed without anybody having to read packed events: the
/// position of the reader that is furthest behind, parked ones left out.
///
/// # Errors
/// When a cursor cannot be read.
pub fn floor(memos: &[Memo]) -> Result<Option<Seq>> {
    let mut floor = None;
    for memo in memos {
        if let Some(Kept::Place(place)) = Kept::decode(memo)?
            && place.cursor.feed.is_empty()
            && !place.parked
        {
            let at = Seq(place.cursor.at);
            floor = Some(floor.map_or(at, |floor: Seq| floor.min(at)));
        }
    }
    Ok(floor)
}

/// Parks the cursors of readers that do not run and have not moved for 30 days although the log
/// ends at `end`; answers whose. Readers that run park themselves.
///
/// # Errors
/// When memos cannot be read or written.
pub async fn park(
    memos: &dyn Memos,
    is_running: impl Fn(&ReaderName) -> bool,
    end: Seq,
    now: Timestamp,
) -> Result<Vec<ReaderName>> {
    let mut parked = Vec::new();
    let mut changed = Vec::new();
    for memo in memos.load(&cursors()).await? {
        let name = memo
            .key
            .as_str()
            .strip_prefix("cursor/")
            .unwrap_or_default();
        let name = ReaderName::new(name)?;
        if is_running(&name) {
            continue;
        }
        if let Some(Kept::Place(mut place)) = Kept::decode(&memo)?
            && place.cursor.feed.is_empty()
            && place.park(end.0, now)
        {
            tracing::warn!(reader = %name, "has read nothing for 30 days: events are packed without regard to it");
            changed.push(Memo::set(memo.key, Kept::Place(place).encode()));
            parked.push(name);
        }
    }
    if !changed.is_empty() {
        memos.save(changed).await?;
    }
    Ok(parked)
}
