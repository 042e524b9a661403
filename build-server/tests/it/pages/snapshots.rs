//! The HTML of each page, one file each in `snapshots/`: a change of it is seen when it is reviewed.
//! `INSTA_UPDATE=always cargo test -p build-server --test it pages::snapshots` writes them anew.

use super::World;
use crate::farm::step;

/// What is another one each time.
const VARIES: [(&str, &str); 4] = [
    (r"<time datetime=[^>]*>[^<]*</time>", "<time>[…]</time>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[instant]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[instant]"),
    (r"\?v=[0-9a-f]+", "?v=[version]"),
];

#[tokio::test]
async fn every_page_is_drawn_as_before() {
    let world = World::new(vec![step("s", "true")]).await;
    let mut settings = insta::Settings::clone_current();
    for (pattern, shown) in VARIES {
        settings.add_filter(pattern, shown);
    }
    let commit = world
        .store
        .records()
        .build(&build_core::ids::BuildId::from_bits(1))
        .await;
    let commit = commit.unwrap().unwrap().item.commit;
    let commit = format!("/commits/{commit}");
    let pages = [
        ("board", "/"),
        ("build-failed", "/builds/B000000001"),
        ("build-passed", "/builds/B000000003"),
        ("build-of-two-attempts", "/builds/B000000004"),
        ("build-canceled", "/builds/B000000008"),
        ("build-unknown", "/builds/B0000000ff"),
        ("commit", commit.as_str()),
        ("queue", "/queue"),
        ("machines", "/machines"),
        ("tests", "/tests"),
        ("people", "/people"),
        ("sign-in", "/sign-in"),
        ("no-such-page", "/nowhere"),
    ];
    for (name, path) in pages {
        let answer = world.get(path).await;
        let lines = answer.body.lines().filter(|line| !line.trim().is_empty());
        let body = lines.collect::<Vec<_>>().join("\n");
        let page = format!("{} {path}\n\n{body}", answer.status);
        settings.bind(|| insta::assert_snapshot!(name, page));
    }
    world.farm.stop().await;
}
