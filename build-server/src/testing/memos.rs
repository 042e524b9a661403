//! What every place for memos and every feed of a reader promises.

use build_core::Result;
use build_core::event::{Memo, MemoKey};
use build_core::reader::Cursor;

use crate::readers::{Feed, Memos};

/// Checks what every place for memos of readers promises, on one that has none of `contract/`.
///
/// # Errors
/// When it fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn memos(memos: &dyn Memos) -> Result<()> {
    let key = |text: &str| MemoKey::new(text);
    let all = [key("contract/")?];
    assert_eq!(
        memos.load(&all).await?,
        [],
        "what nobody wrote is not there"
    );
    memos.save(Vec::new()).await?;
    let long = vec![0xff; 100_000];
    let first = [
        Memo::set(key("contract/b")?, "1"),
        Memo::set(key("contract/a/x")?, long),
        Memo::set(key("contract/a/y")?, ""),
    ];
    memos.save(first.to_vec()).await?;
    let mut found = memos.load(&all).await?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let mut expected = first.to_vec();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        found, expected,
        "memos are kept as they were written, of any bytes"
    );
    let some = memos.load(&[key("contract/a/")?]).await?;
    assert_eq!(some.len(), 2, "asked for by the begin of their keys");
    let both = memos
        .load(&[key("contract/a/")?, key("contract/b")?])
        .await?;
    assert_eq!(both.len(), 3, "by several begins");
    memos
        .save(vec![
            Memo::set(key("contract/b")?, "2"),
            Memo::removed(key("contract/a/x")?),
            Memo::removed(key("contract/nothing")?),
            Memo::removed(key("contract/a/y")?),
            Memo::set(key("contract/a/y")?, "later"),
        ])
        .await?;
    let mut found = memos.load(&all).await?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let expected = [
        Memo::set(key("contract/a/y")?, "later"),
        Memo::set(key("contract/b")?, "2"),
    ];
    assert_eq!(found, expected, "of a memo the last value is known");
    Ok(())
}

/// Checks what every feed promises, on one that has at least five items and does not change
/// meanwhile.
///
/// # Errors
/// When it cannot be read.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn feed<F: Feed>(feed: &F) -> Result<()>
where
    F::Item: std::fmt::Debug,
{
    let told = async |at: &Cursor, limit: usize| -> Result<(Vec<String>, Cursor, bool)> {
        let page = feed.after(at, limit, usize::MAX).await?;
        assert!(page.items.len() <= limit, "not more than was asked for");
        let items = page.items.iter().map(|(_, item)| format!("{item:?}"));
        Ok((items.collect(), page.next, page.is_last))
    };
    let (all, end, is_last) = told(&Cursor::default(), usize::MAX >> 1).await?;
    assert!(all.len() >= 5, "the contract needs five items");
    assert!(is_last, "a page that has everything says so");
    assert_eq!(feed.end().await?, end, "the end is behind the last item");
    let (mut by_two, mut at) = (Vec::new(), Cursor::default());
    loop {
        let (items, next, is_last) = told(&at, 2).await?;
        let again = told(&at, 2).await?.0;
        assert_eq!(items, again, "the same cursor gives the same items");
        by_two.extend(items);
        assert!(
            is_last || next != at,
            "a page that is not the last one goes on"
        );
        at = next;
        if is_last {
            break;
        }
    }
    assert_eq!(by_two, all, "pages follow each other without a gap");
    let first = feed.after(&Cursor::default(), 3, usize::MAX).await?;
    if let Some((behind_first, _)) = first.items.first() {
        let rest = told(behind_first, 2).await?.0;
        assert_eq!(rest, all[1..3], "each item has the cursor behind it");
    }
    let small = feed.after(&Cursor::default(), 5, 1).await?;
    assert!(
        !small.items.is_empty(),
        "the first item comes however large it is"
    );
    let nothing = told(&end, 2).await?;
    assert_eq!(
        (nothing.0, nothing.2),
        (Vec::new(), true),
        "behind the end is nothing"
    );
    Ok(())
}
