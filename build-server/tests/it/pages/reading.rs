//! The pages without a browser: what they say, how large they are, what they refuse.

use std::num::NonZeroU32;

use axum::http::StatusCode;
use build_core::event::BuildEvent;
use build_core::ids::BuildId;
use build_core::livelog::LogWriter;
use build_core::schedule::{Allotment, Quotas};

use super::orchard::{self, How};
use super::{Answer, World};
use crate::farm::{step, told};

/// The largest page, in bytes.
const MAX_PAGE: usize = 60_000;

/// What a person reads of some HTML: text without elements, white space joined; a row of a table
/// is a line, and how long ago something was is left out.
fn read(html: &str) -> String {
    let rows = html.split("</tr>").map(read_row);
    rows.filter(|row| !row.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn read_row(html: &str) -> String {
    let mut parts = html.split("<time");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once("</time>").unwrap().1);
    }
    words(&kept)
}

fn words(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The part of a page between two texts.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let begin = page
        .find(from)
        .unwrap_or_else(|| panic!("no {from} in {page}"));
    let rest = &page[begin..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

fn ok(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(answer.body.len() <= MAX_PAGE, "{} bytes", answer.body.len());
    // Neither runs inside a page: the policy forbids it.
    assert!(!answer.body.contains("<script>") && !answer.body.contains(" style="));
    assert!(!answer.body.contains(" onclick="));
    &answer.body
}

#[tokio::test]
async fn the_dashboard_shows_commits_and_builders() {
    let world = World::new(vec![step("s", "true")]).await;
    let answer = world.get("/").await;
    let table = between(ok(&answer), "<table", "</table>");
    insta::assert_snapshot!(read(table), @"
    Commit What linux-amd64 linux-arm64
    9e3779b9 tree: shed leaves in autumn Ada Lovelace · ✗ failed 2 min 8 s ✓ passed 2 min 8 s
    3c6ef372 apple: fall towards the ground Isaac N · ✓ passed 2 min 8 s ✓ passed 2 min 8 s
    daa66d2c ladder: check the third rung before every climb Grace H · ✓ passed 2 min 8 s ✓ passed 2 min 8 s
    78dde6e5 docs: how to plant a row Ada Lovelace · ✓ passed 2 min 8 s – canceled 2 min 8 s
    1715609f tree: count rings in parallel Grace H · ✓ passed 2 min 8 s ! machine lost 2 min 8 s
    b54cda58 Cargo.lock: newer shovels robot · ✗ failed 2 min 8 s ✗ failed 2 min 8 s
    53845412 first seed Ada Lovelace · ✓ passed 2 min 8 s ✓ passed 2 min 8 s
    ");
    assert!(table.contains("href=/builds/B000000001"));
    world.farm.stop().await;
}

#[tokio::test]
async fn a_merge_is_shown_with_what_it_brought_when_that_is_wanted() {
    let world = World::new(vec![step("s", "true")]).await;
    let repository = &world.repository;
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    repository.commit("leaf: one");
    world.farm.build(repository).await;
    repository.commit("leaf: <two>");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.commit("trunk");
    repository.git(&["merge", "--quiet", "--no-ff", "-m", "graft", "side"]);
    world.farm.build(repository).await;
    let repo = repository.path().file_name().unwrap().to_str().unwrap();
    let plain = world.get(&format!("/?repo={repo}")).await;
    assert!(!ok(&plain).contains("leaf: &#60;two"), "{}", plain.body);
    let link = format!("repo={repo}&#38;merges=1\"");
    assert!(plain.body.contains(&link), "{}", plain.body);
    let shown = world.get(&format!("/?repo={repo}&merges=1")).await;
    let table = read(between(ok(&shown), "<tbody", "</tbody>"));
    let at = |text: &str| {
        table
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {table}"))
    };
    assert!(at("graft") < at("merge of 2 commits"), "{table}");
    assert!(
        at("merge of 2 commits") < at("leaf: &#60;two&#62;"),
        "{table}"
    );
    assert!(at("leaf: &#60;two&#62;") < at("leaf: one"), "{table}");
    assert!(
        !table.contains("trunk"),
        "it came before the merge: {table}"
    );
    // What was built of it on its branch is shown.
    let one = &table[at("leaf: one")..];
    assert!(one.contains("passed"), "{table}");
    world.farm.stop().await;
}

#[tokio::test]
async fn a_build_says_first_how_it_went_then_why() {
    let world = World::new(vec![step("s", "true")]).await;
    let answer = world.get("/builds/B000000001").await;
    let main = between(ok(&answer), "<main", "</main>");
    assert!(read(main).starts_with("✗ Failed after 2 min 8 s: step test: exit status 101."));
    let steps = read(between(main, "<tbody>", "</tbody>"));
    insta::assert_snapshot!(steps, @"
    build ✓ passed 37 s 504 bytes
    test ✗ exit status 101 1 min 6 s 504 bytes
    ");
    let lost = world.get("/builds/B000000004").await;
    let steps = read(between(ok(&lost), "<tbody>", "</tbody>"));
    let why = "again, because attempt 1: the machine was lost: connection reset by peer";
    assert!(steps.contains(why), "{steps}");
    world.farm.stop().await;
}

#[tokio::test]
async fn a_log_is_coloured_and_every_byte_of_it_escaped() {
    let world = World::new(vec![step("s", "true")]).await;
    let answer = world.get("/builds/B000000001").await;
    let lines = between(ok(&answer), "id=lines", "<p id=end");
    insta::assert_snapshot!(between(lines, "<div id=L7>", "<div id=L9>"), @r#"
    <div id=L7><a href="?run=2&amp;line=7#L7">7</a><span>test tree::grows ... <span class="c2">ok</span></span></div>
    <div id=L8><a href="?run=2&amp;line=8#L8">8</a><span>test tree::sheds_leaves ... <span class="c1">FAILED</span></span></div>
    "#);
    assert!(
        lines.contains("failed: &lt;leaves&gt; &amp; &#34;twigs&#34;"),
        "{lines}"
    );
    let raw = world.get("/builds/B000000001/raw?run=2").await;
    assert_eq!(raw.body, orchard::LOG);
    assert_eq!(raw.headers["content-type"], "text/plain; charset=utf-8");
    let found = world.get("/builds/B000000001?run=2&find=failed").await;
    let found = read(between(ok(&found), "class=found", "</div>"));
    assert!(found.contains("3 lines have “failed”"), "{found}");
    let lines = world.get("/builds/B000000001/lines?run=2&from=16").await;
    assert!(lines.body.starts_with("<div id=L16>"), "{}", lines.body);
    assert_eq!(lines.body.lines().count(), 2);
    world.farm.stop().await;
}

#[tokio::test]
async fn what_comes_from_outside_stays_text() {
    let world = World::new(vec![step("s", "true")]).await;
    let id = BuildId::from_bits(0xbad);
    let mut item = orchard::item(
        0xbad,
        "<script>alert(1)</script>",
        "<img src=x onerror=y>",
        1,
    );
    item.branch = Some("\"><b>".into());
    let life = orchard::life(0xbad, &item, "linux-amd64", How::Failed);
    orchard::append(&world.store, &id, item.commit_time, life).await;
    let pages = [
        "/".to_owned(),
        "/?repo=orchard&branch=%22%3E%3Cb%3E".to_owned(),
        format!("/builds/{id}"),
        format!("/builds/{id}?find=%3Cscript%3E"),
        format!("/commits/{}", item.commit),
        "/tests".to_owned(),
    ];
    for path in &pages {
        let answer = world.get(path).await;
        let page = ok(&answer);
        for raw in ["<script>", "<img", "\"><b>"] {
            assert!(!page.contains(raw), "{raw} in {path}: {page}");
        }
    }
    let missing = world.get("/builds/%3Cscript%3E").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(!missing.body.contains("<script>"));
    world.farm.stop().await;
}

#[tokio::test]
async fn what_is_absent_is_named_and_there_is_a_way_on() {
    let world = World::new(vec![step("s", "true")]).await;
    for (path, status, text) in [
        ("/nowhere", 404, "there is no page /nowhere"),
        ("/builds/B00000dead", 404, "there is no build B00000dead"),
        (
            "/builds/B000000001?run=9",
            404,
            "build B000000001 has no run 9",
        ),
        ("/builds/B000000001?line=x", 400, "has no line &#34;x&#34;"),
        ("/builds/B000000001/raw", 400, "missing field"),
        ("/commits/0123456789", 404, "nothing was built of a commit"),
        ("/?repo=forest", 404, "a repository called &#34;forest&#34;"),
        ("/?before=x", 400, "bad place on the board &#34;x&#34;"),
        ("/static/x.js", 404, "there is no file x.js"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        assert!(answer.body.contains(text), "{path}: {}", answer.body);
        assert!(answer.body.contains("href=/>Go to the dashboard"), "{path}");
    }
    world.farm.stop().await;
}

#[tokio::test]
async fn buttons_work_without_scripts_for_those_who_have_signed_in() {
    let world = World::new(vec![step("s", "true")]).await;
    let refused = world.post("/builds/B000000001/rerun", "", None).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.body.contains("/sign-in"), "{}", refused.body);
    let wrong = world
        .post("/sign-in", "token=guess&next=/queue", None)
        .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key("set-cookie"));
    let form = format!("token={}&next=/builds/B000000001", world.token);
    let signed_in = world.post("/sign-in", &form, None).await;
    assert_eq!(signed_in.headers["location"], "/builds/B000000001");
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next();
    let again = world.post("/builds/B000000001/rerun", "", cookie).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER, "{}", again.body);
    let place = again.headers["location"].to_str().unwrap();
    let id: BuildId = place.strip_prefix("/builds/").unwrap().parse().unwrap();
    let first = world.farm.until(&id, |_| true).await;
    let BuildEvent::Queued { item, .. } = told(&first) else {
        panic!("{first:?}")
    };
    assert_eq!(item.subject, "tree: shed leaves in autumn");
    world.farm.stop().await;
}

#[tokio::test]
async fn what_waits_says_why_and_who_is_ahead() {
    let world = World::new(vec![step("long", "echo begun; sleep 600")]).await;
    let mut builds = Vec::new();
    for subject in ["one", "two", "three", "four"] {
        world.repository.commit(subject);
        builds.push(world.farm.submit(&world.repository).await);
    }
    let started = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
    let planned = |e: &BuildEvent| matches!(e, BuildEvent::Planned { .. });
    world.farm.until(&builds[0], started).await;
    world.farm.until(&builds[1], started).await;
    world.farm.until(&builds[3], planned).await;
    let answer = world.get("/queue").await;
    let queue = read(between(ok(&answer), "<ol", "</ol>"));
    for text in [
        "Why: all 2 machines of kind local that fit are in use.",
        "What lets it go on: the next of them that becomes free.",
        "In line: it is next.",
        "What lets it go on: the second machine that becomes free.",
        "Wanted as: newest of the default branch: batch work, in which an hour of waiting is worth a class.",
        "In line: 1 ahead: 1 newest of the default branch by a@example.org.",
    ] {
        assert!(queue.contains(text), "{text:?} is not in {queue:?}");
    }
    let quotas = Quotas {
        repo: NonZeroU32::new(2),
        ..Quotas::default()
    };
    let allotment = Allotment {
        quotas,
        ..Allotment::default()
    };
    world.farm.handle.allot(allotment).await.unwrap();
    let answer = world.get("/queue").await;
    let queue = read(between(ok(&answer), "<ol", "</ol>"));
    let ends = format!(
        "What lets it go on: the end of one of {}, {}",
        builds[0], builds[1]
    );
    let other = format!(
        "What lets it go on: the end of one of {}, {}",
        builds[1], builds[0]
    );
    assert!(queue.contains("Why: quota: the repository"), "{queue}");
    assert!(queue.contains(&ends) || queue.contains(&other), "{queue}");
    let machines = world.get("/machines").await;
    let machines = read(between(ok(&machines), "<tbody>", "</tbody>"));
    assert!(machines.contains("◐ long for"), "{machines}");
    let page = world.get(&format!("/builds/{}", builds[3])).await;
    let page = read(between(ok(&page), "<main", "</main>"));
    assert!(page.contains("1 ahead"), "{page}");
    let dashboard = world.get("/").await;
    let dashboard = read(between(ok(&dashboard), "<header", "</main>"));
    assert!(dashboard.contains("2 of 2 machines busy"), "{dashboard}");
    for build in builds.iter().rev() {
        world.farm.handle.cancel(build, "me").await.unwrap();
    }
    world.farm.stop().await;
}

pub(super) fn write_big(log: &mut LogWriter, bytes: usize) -> u64 {
    let block: String = (0..2_500).map(|n| format!("{n:>39}\n")).collect();
    for _ in 0..bytes / block.len() {
        log.append(block.as_bytes()).unwrap();
    }
    log.append(b"the very end\n").unwrap();
    (bytes / block.len() * 2_500 + 1) as u64
}

#[tokio::test]
async fn a_log_of_200_megabytes_opens_at_any_line() {
    let world = World::new(vec![step("s", "true")]).await;
    let id = BuildId::from_bits(1);
    let mut lines = 0;
    orchard::write_log(&world.store, &id, "test-1", |log| {
        lines = write_big(log, 200_000_000);
    })
    .await;
    assert_eq!(lines, 5_000_001);
    let end = world.get("/builds/B000000001").await;
    assert!(ok(&end).contains("the very end"));
    assert!(end.body.contains("id=L5000001>"));
    let middle = world.get("/builds/B000000001?run=2&line=2500100").await;
    assert!(ok(&middle).contains("id=L2500100>"));
    let start = world.get("/builds/B000000001?run=2&line=1").await;
    assert!(ok(&start).contains("Lines 1 to "));
    assert!(start.body.contains(" of 5000001"), "{}", start.body);
    world.farm.stop().await;
}

#[tokio::test]
async fn files_that_a_browser_has_are_not_sent_again_and_pages_are_sent_small() {
    let world = World::new(vec![step("s", "true")]).await;
    let ask = |path: &str| axum::http::Request::get(path);
    for path in ["/static/style.css", "/static/live.js", "/static/icon.svg"] {
        let first = world.send(ask(path), "").await;
        assert_eq!(first.status, StatusCode::OK);
        let tag = first.headers["etag"].to_str().unwrap();
        let known = ask(path).header("if-none-match", format!("\"old\", {tag}"));
        let again = world.send(known, "").await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        assert_eq!(
            (again.body.as_str(), &again.headers["etag"]),
            ("", &first.headers["etag"])
        );
        let other = world
            .send(ask(path).header("if-none-match", "\"old\""), "")
            .await;
        assert_eq!(other.body, first.body);
    }
    let plain = world.get("/?repo=orchard").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let small = world.raw("/?repo=orchard", "gzip").await;
    assert_eq!(small.0["content-encoding"], "gzip");
    assert_eq!(small.0["vary"], "accept-encoding");
    assert!(
        small.1.len() * 3 < plain.body.len(),
        "{} bytes",
        small.1.len()
    );
    // Whoever follows a log waits for each line.
    let raw = world.raw("/builds/B000000001/raw?run=2", "gzip").await;
    assert!(!raw.0.contains_key("content-encoding"));
    world.farm.stop().await;
}
