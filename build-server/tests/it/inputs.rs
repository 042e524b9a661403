//! Builds of several checkouts, archives and snapshots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use build_client::httpdl::HttpOptions;
use build_core::event::Outcome;
use build_core::plan::InputFrom;
use build_core::recipe::Detect;
use build_core::tarutil::{EntryHeader, FileList};
use build_server::archives::WebArchives;
use build_server::record::BuildRow;
use build_server::store::Store;
use sha2::{Digest, Sha256};

use crate::farm::{Built, FakePool, Farm, Repository, whole};

/// Files on the web.
struct Web {
    address: String,
    files: HashMap<&'static str, Vec<u8>>,
    asked: Arc<AtomicUsize>,
}

impl Web {
    async fn serve(files: HashMap<&'static str, Vec<u8>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (served, count) = (files.clone(), Arc::clone(&asked));
        let file = move |Path(name): Path<String>| async move {
            count.fetch_add(1, Ordering::Relaxed);
            match served.get(name.as_str()) {
                Some(file) => (StatusCode::OK, file.clone()),
                None => (StatusCode::NOT_FOUND, Vec::new()),
            }
        };
        let router = axum::Router::new().route("/{name}", get(file));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            files,
            asked,
        }
    }

    /// An input that is this file.
    fn input(&self, dir: &str, name: &str, more: &str) -> String {
        let sha256 = hex::encode(Sha256::digest(&self.files[name]));
        let url = format!("{}/{name}", self.address);
        format!("[[input]]\ndir = \"{dir}\"\nurl = \"{url}\"\nsha256 = \"{sha256}\"\n{more}\n")
    }
}

fn archive(path: &str, text: &str) -> Vec<u8> {
    let mut list = FileList::new();
    list.add_bytes(EntryHeader::file(path, 0), text.to_owned());
    let mut packed = Vec::new();
    std::io::Read::read_to_end(&mut list.open_gz(), &mut packed).unwrap();
    packed
}

fn farm(pool: &FakePool) -> Farm {
    let client = HttpOptions::default().build().unwrap();
    let archives = WebArchives::new(client);
    Farm::start_with(pool, Store::memory(), Detect, |builder| {
        builder.archives(archives)
    })
}

fn name_of(repository: &Repository) -> String {
    let name = repository.path().file_name().unwrap();
    name.to_str().unwrap().to_owned()
}

async fn row(farm: &Farm, built: &Built) -> BuildRow {
    let records = farm.handle.records();
    records.build(&built.id).await.unwrap().unwrap()
}

fn commit_of(row: &BuildRow, dir: &str) -> String {
    let input = row.inputs.iter().find(|input| input.dir == dir).unwrap();
    match &input.from {
        InputFrom::Checkout {
            item: Some(item), ..
        } => item.commit.to_string(),
        other => panic!("{other:?}"),
    }
}

const STEPS: &str = r#"
    [[step]]
    name = "make"
    run = "mkdir out && cat third_party/tools/a third_party/lib/b data/c model > out/all"
    snapshot = "out"
    [[step]]
    name = "other"
    run = "true"
    [[step]]
    name = "use"
    run = "cat made/all && git -C third_party/tools rev-parse HEAD"
    needs = ["other", "make"]
    inputs = [{ step = "make", dir = "made" }]
"#;

#[tokio::test]
async fn a_build_of_two_checkouts_and_an_archive() {
    let web = Web::serve(HashMap::from([
        ("data.tar.gz", archive("data-1.0/c", "data\n")),
        ("model", b"model\n".to_vec()),
    ]))
    .await;
    let (tools, lib) = (
        Repository::with_file("a", "tool\n"),
        Repository::with_file("b", "lib\n"),
    );
    lib.write(".farmer.toml", "[[step]]\nname = 'a'\nrun = 'true'\n");
    lib.commit("steps");
    let project = Repository::new();
    let inputs = format!(
        "[[input]]\ndir = 'third_party/tools'\nrepo = '../{}'\nrev = 'main'\n\
         [[input]]\ndir = 'third_party/lib'\nrepo = '{}'\n{}{}",
        name_of(&tools),
        name_of(&lib),
        web.input("data", "data.tar.gz", "strip = 1"),
        web.input("model", "model", "unpack = false"),
    );
    project.write(".farmer.toml", &format!("{inputs}{STEPS}"));
    project.commit("first");
    let pool = FakePool::new(2);
    let farm = farm(&pool);
    // From then on the farm knows it by its name.
    assert!(farm.build(&lib).await.passed());

    let first = farm.build(&project).await;
    assert!(first.passed(), "{:#?}", first.events);
    let before = tools.git(&["rev-parse", "HEAD"]);
    let said = farm.log(&first.id, &whole("use")).await;
    assert_eq!(said, format!("tool\nlib\ndata\nmodel\n{before}\n"));
    let shown = row(&farm, &first).await;
    assert_eq!(commit_of(&shown, "third_party/tools"), before);
    let kept = shown.kept[0].snapshot.as_ref().unwrap();
    assert_eq!(kept.dir, "out");
    assert!(kept.contents.size > 0);

    // A branch moves: the next build sees it, one that is run again does not.
    tools.write("a", "other tool\n");
    let after = tools.commit("second");
    let again = shown.item.rerun(&first.id);
    let again = farm.handle.submit_anew(again, &farm.builder(), "me").await;
    let again = farm.built(&again.unwrap()).await;
    assert!(again.passed(), "{:#?}", again.events);
    assert_eq!(
        commit_of(&row(&farm, &again).await, "third_party/tools"),
        before
    );

    let snapshot = "[[input]]\ndir = 'before'\nsnapshot = 'make'\n";
    let steps = format!("{STEPS}\n[[step]]\nname = 'past'\nrun = 'cat before/all'\n");
    project.write(".farmer.toml", &format!("{inputs}{snapshot}{steps}"));
    project.commit("second");
    let second = farm.build(&project).await;
    assert!(second.passed(), "{:#?}", second.events);
    let said = farm.log(&second.id, &whole("past")).await;
    assert_eq!(said, "tool\nlib\ndata\nmodel\n");
    let said = farm.log(&second.id, &whole("use")).await;
    assert_eq!(said, format!("other tool\nlib\ndata\nmodel\n{after}\n"));
    // Each archive was fetched once.
    assert_eq!(web.asked.load(Ordering::Relaxed), 2);
    farm.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_input_is_said_and_is_nobody_elses_fault() {
    let web = Web::serve(HashMap::from([
        ("out.tar.gz", archive("../evil", "x")),
        ("text", b"no archive".to_vec()),
        ("two.tar.gz", archive("a/x", "x")),
    ]))
    .await;
    let tools = Repository::with_file("a", "tool\n");
    let beside = format!("repo = '../{}'", name_of(&tools));
    let project = Repository::with_file("src/x", "x");
    let farm = farm(&FakePool::new(1));
    let url = &web.address;
    let wrong = "ab".repeat(32);
    let cases = [
        (
            "[[input]]\ndir = 'a'\nrepo = 'nobody'\n".to_owned(),
            "this farm knows no repository \"nobody\"",
        ),
        (
            "[[input]]\ndir = 'a'\nrepo = '../nowhere-at-all'\n".to_owned(),
            "there is no input ../nowhere-at-all at its default branch in a",
        ),
        (
            format!("[[input]]\ndir = 'a'\n{beside}\nrev = 'v9'\n"),
            "at v9 in a: ",
        ),
        (
            format!("[[input]]\ndir = 'src'\n{beside}\n"),
            "an input cannot be put in \"src\": the commit has \"src\"",
        ),
        (
            format!("[[input]]\ndir = 'a'\n{beside}\n[[input]]\ndir = 'a'\n{beside}\n"),
            "cannot be put in \"a\": ",
        ),
        (
            "[[input]]\ndir = 'a'\nsnapshot = 'make'\n".to_owned(),
            "has kept a snapshot of step make",
        ),
        (
            format!("[[input]]\ndir = 'a'\nurl = '{url}/text'\nsha256 = '{wrong}'\n"),
            "/text cannot be an input: ",
        ),
        (
            format!("[[input]]\ndir = 'a'\nurl = '{url}/none'\nsha256 = '{wrong}'\n"),
            "answered 404",
        ),
        (web.input("a", "text", "size = 3"), "is larger than 3 bytes"),
        (
            web.input("a", "text", ""),
            "it is no archive of a known kind",
        ),
        (
            web.input("a", "out.tar.gz", ""),
            "tar file contained invalid name \"../evil\"",
        ),
        (
            web.input("a", "two.tar.gz", "strip = 2"),
            "it has no folder to leave out",
        ),
    ];
    for (inputs, said) in cases {
        let steps = "[[step]]\nname = 'x'\nrun = 'true'\n";
        project.write(".farmer.toml", &format!("{inputs}{steps}"));
        project.commit("another");
        let built = farm.build(&project).await;
        let Outcome::Misconfigured { text, hint } = built.outcome() else {
            panic!("{said}: {:?}", built.outcome());
        };
        assert!(text.contains(said), "{said}: {text}");
        assert!(!text.contains('\n') && !hint.is_empty(), "{text}: {hint}");
    }
    farm.stop().await;
}
