//! The pages in a real browser: alive with scripts, complete without, reachable by keyboard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use build_core::event::BuildEvent;
use build_core::ids::BuildId;
use build_server::web::serve;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::reading::write_big;
use super::webdriver::Browser;
use super::{World, orchard};
use crate::farm::step;

const TAB: &str = "\u{e004}";

/// A farm that is served on a port of this machine, and a browser before it.
struct Visit {
    world: World,
    browser: Browser,
    address: String,
    stop: CancellationToken,
    serving: JoinHandle<build_core::Result<()>>,
    /// Steps wait until this file, with a number behind its name, is there.
    go: PathBuf,
    _dir: tempfile::TempDir,
}

impl Visit {
    /// `None` when there is no browser on this machine.
    async fn new() -> Option<Self> {
        let browser = Browser::start().await?;
        let dir = tempfile::tempdir().unwrap();
        let go = dir.path().join("go");
        let wait = |n: u32| format!("until [ -e {}{n} ]; do sleep 0.02; done", go.display());
        let build = format!(
            "printf '\\033[32m   Compiling\\033[0m orchard\\nfirst line <here>\\n'; \
             {}; echo second line; {}; echo third line; {}",
            wait(1),
            wait(2),
            wait(3)
        );
        let build = step("build", &build);
        let test = format!("echo a line of the next step; {}", wait(4));
        let test = step("test", &test).needing(&build.name);
        let world = World::new(vec![build, test]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, world.router.clone(), stop.clone()));
        Some(Self {
            world,
            browser,
            address,
            stop,
            serving,
            go,
            _dir: dir,
        })
    }

    async fn open(&self, path: &str) {
        let address = format!("{}{path}", self.address);
        self.browser.open(&address).await;
    }

    /// A build whose first step has begun.
    async fn running(&self, subject: &str) -> BuildId {
        self.world.repository.commit(subject);
        let id = self.world.farm.submit(&self.world.repository).await;
        let started = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
        self.world.farm.until(&id, started).await;
        id
    }

    /// Asks for a build of a new commit of the recorded project, and waits until it waits or runs.
    async fn ask_for(&self, subject: &str) {
        let (world, origin) = (&self.world, self.world.repository.origin());
        world.repository.commit(subject);
        let mut item = world.farm.checkouts.resolve(&origin, None).await.unwrap();
        item.repo = orchard::repo();
        item.commit_time = orchard::now();
        let builder = world.farm.builder();
        let id = world.farm.handle.submit(item, &builder).await.unwrap();
        let planned = |e: &BuildEvent| matches!(e, BuildEvent::Planned { .. });
        world.farm.until(&id, planned).await;
    }

    /// Lets the steps go on as far as their wait number `n`.
    fn let_go(&self, n: u32) {
        for n in 1..=n {
            std::fs::write(format!("{}{n}", self.go.display()), "").unwrap();
        }
    }

    async fn end(self) {
        self.let_go(4);
        let complaints = self.browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
        self.browser.stop().await;
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.world.farm.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_appears_without_a_reload_and_is_there_without_scripts() {
    let Some(visit) = Visit::new().await else {
        return;
    };
    let id = visit.running("watched").await;
    let browser = &visit.browser;
    visit.open(&format!("/builds/{id}")).await;
    browser
        .until("document.body.innerText.includes('first line <here>')")
        .await;
    browser
        .ask("(window.mark = 'not loaded again', true)")
        .await;
    assert_eq!(
        browser
            .ask("document.body.innerText.includes('second line')")
            .await,
        false
    );
    visit.let_go(1);
    browser
        .until("document.body.innerText.includes('second line')")
        .await;
    let green = "getComputedStyle(document.querySelector('.lines .c2')).color != getComputedStyle(document.body).color";
    assert_eq!(browser.ask(green).await, true);
    visit.let_go(2);
    browser
        .until("document.body.innerText.includes('third line')")
        .await;
    let once = "[...document.querySelectorAll('.lines > div > span')].filter(s => s.innerText == 'third line').length";
    assert_eq!(browser.ask(once).await, 1);
    visit.let_go(3);
    browser
        .until("document.body.innerText.includes('a line of the next step')")
        .await;
    visit.let_go(4);
    browser
        .until("document.querySelector('h1').innerText.includes('Passed')")
        .await;
    assert_eq!(browser.ask("window.mark").await, "not loaded again");

    browser.scripts(false).await;
    visit.open(&format!("/builds/{id}")).await;
    let page = browser.source().await;
    for line in [
        "first line &lt;here&gt;",
        "second line",
        "third line",
        "a line of the next step",
        "Passed",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    browser.scripts(true).await;
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_changes_by_itself_and_its_keys_work() {
    let Some(visit) = Visit::new().await else {
        return;
    };
    let browser = &visit.browser;
    visit.open("/").await;
    browser
        .ask("(window.mark = 'not loaded again', true)")
        .await;
    let id = visit.running("seen at once").await;
    browser
        .until("document.querySelector('#now').innerText.includes('seen at once')")
        .await;
    visit.let_go(4);
    visit.world.farm.built(&id).await;
    browser
        .until("!document.querySelector('#now').innerText.includes('seen at once')")
        .await;
    assert_eq!(browser.ask("window.mark").await, "not loaded again");

    // Every link, button and field is reached by Tab alone, and seen to be.
    visit.open("/builds/B000000001").await;
    let all = "[...document.querySelectorAll('a, button, input:not([type=hidden]), summary, [tabindex=\"0\"]')].filter(e => e.checkVisibility()).length";
    let all = browser.ask(all).await.as_u64().unwrap();
    let mut reached = BTreeSet::new();
    let name = "(() => { const e = document.activeElement; return [...document.querySelectorAll('*')].indexOf(e) + ' ' + (e.matches(':focus-visible') && getComputedStyle(e).outlineStyle != 'none'); })()";
    for _ in 0..all + 2 {
        browser.press(TAB).await;
        reached.insert(browser.ask(name).await.as_str().unwrap().to_owned());
    }
    assert!(
        reached.len() as u64 >= all,
        "{} of {all}: {reached:?}",
        reached.len()
    );
    let unseen: Vec<_> = reached.iter().filter(|at| at.ends_with("false")).collect();
    assert!(unseen.len() <= 1, "without an outline: {unseen:?}");

    visit.open("/").await;
    browser.press("jj").await;
    let second = "document.activeElement.closest('[data-row]') == document.querySelectorAll('[data-row]')[1]";
    assert_eq!(browser.ask(second).await, true);
    browser.press("k").await;
    let first = "document.activeElement.closest('[data-row]') == document.querySelectorAll('[data-row]')[0]";
    assert_eq!(browser.ask(first).await, true);
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_200_megabytes_opens_and_jumps_to_its_end() {
    let Some(visit) = Visit::new().await else {
        return;
    };
    let browser = &visit.browser;
    orchard::write_log(
        &visit.world.store,
        &BuildId::from_bits(3),
        "test-1",
        |log| {
            write_big(log, 200_000_000);
        },
    )
    .await;
    visit.open("/builds/B000000003").await;
    assert_eq!(
        browser
            .ask("document.querySelector('.lines > div').id")
            .await,
        "L1"
    );
    browser.ask("([...document.querySelectorAll('.bar a')].find(a => a.innerText == 'End').click(), true)").await;
    browser
        .until("document.body.innerText.includes('the very end')")
        .await;
    assert_eq!(
        browser
            .ask("document.querySelector('.lines').lastElementChild.id")
            .await,
        "L5000001"
    );
    let seen = "(() => { const r = document.getElementById('end').getBoundingClientRect(); return r.top >= 0 && r.top <= innerHeight; })()";
    browser.until(seen).await;
    visit.end().await;
}

/// The pictures of the README: page, screen, whether dark.
const KEPT: [(&str, &str, bool); 4] = [
    ("dashboard", "desktop", false),
    ("build", "desktop", true),
    ("queue", "desktop", false),
    ("dashboard", "phone", true),
];

fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots")
}

/// Draws the pictures of the README anew when `FARMER_SCREENSHOTS` is set; otherwise checks only
/// that the pages can be drawn in every size and colour, without scrolling sideways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_every_screen() {
    let Some(visit) = Visit::new().await else {
        return;
    };
    let browser = &visit.browser;
    for subject in [
        "tree: let children climb",
        "apple: ripen by the calendar",
        "docs: pruning",
        "ladder: reach the top",
    ] {
        visit.ask_for(subject).await;
    }
    let keep = std::env::var_os("FARMER_SCREENSHOTS").is_some();
    let screens = [("desktop", 1280, 800, false), ("phone", 390, 844, true)];
    let pages = [
        ("dashboard", "/?repo=orchard"),
        ("build", "/builds/B000000001"),
        ("queue", "/queue"),
        ("machines", "/machines"),
        ("tests", "/tests?repo=orchard&builder=linux-amd64"),
    ];
    for (screen, width, height, phone) in screens {
        browser.size(width, height, phone).await;
        for dark in [false, true] {
            browser.dark(dark).await;
            for (page, path) in pages {
                visit.open(path).await;
                let wide = browser.ask("document.documentElement.scrollWidth").await;
                assert!(
                    wide.as_u64() <= Some(width.into()),
                    "{page} on {screen}: {wide}"
                );
                let picture = browser.picture().await;
                assert!(picture.starts_with(b"\x89PNG"));
                let shade = if dark { "dark" } else { "light" };
                if keep && KEPT.contains(&(page, screen, dark)) {
                    let name = format!("{page}-{screen}-{shade}.png");
                    std::fs::create_dir_all(screenshots()).unwrap();
                    std::fs::write(screenshots().join(name), picture).unwrap();
                }
            }
        }
    }
    visit.end().await;
}
