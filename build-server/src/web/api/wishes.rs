//! What is wanted at present, and that it is not wanted any more.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use build_core::ErrorKind;
use build_core::ids::WishKey;
use build_core::report::{Wish, WishQuery, Wishes};

use super::input::Params;
use crate::web::{Looking, Refusal, User};

/// Wishes in one answer, when nothing is said and at most.
const SHOWN: usize = 100;
const MAX_SHOWN: usize = 1000;

pub(super) async fn list(
    Looking(site): Looking,
    Params(which): Params<WishQuery>,
) -> Result<Json<Wishes>, Refusal> {
    let mut open = site.handle().wishes(which.build.as_ref()).await?;
    open.retain(|wish| site.sees(&wish.item().repo));
    open.sort_by_key(|wish| (wish.item().class, wish.key()));
    let limit = which.limit.unwrap_or(SHOWN).min(MAX_SHOWN);
    Ok(Json(Wishes {
        open: open.len(),
        wishes: open.iter().take(limit).map(Wish::from).collect(),
    }))
}

pub(super) async fn withdraw(
    Looking(site): Looking,
    user: User,
    Path(key): Path<String>,
) -> Result<StatusCode, Refusal> {
    let key: WishKey = key.parse()?;
    let handle = site.handle();
    let wish = handle.wish(key).await?;
    if !wish.is_some_and(|wish| site.sees(&wish.item().repo)) {
        return Err(Refusal::new(
            ErrorKind::NotFound,
            format!("wish {key} is not open"),
            "list those that are with GET /api/v1/wishes",
        ));
    }
    handle.withdraw(key, user.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
