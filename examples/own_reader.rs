//! A reader of one's own, in a program that runs alone: it follows the log of a corpus and greets
//! whoever opens an issue, once, over restarts.
//!
//! The mailbox stands in for a service that knows the keys of what it was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use build_core::ids::ReaderName;
use build_core::reader::{Call, Taken};
use build_server::readers::{
    CorpusFeed, CorpusItem, FileMemos, Follower, Made, Reader, Sink, effect,
};
use maintner_core::source::{MemoryLog, MutationSink};
use maintner_core::{Corpus, Options, Touch, pb};
use tokio_util::sync::CancellationToken;

struct Greeter(ReaderName);

#[async_trait]
impl Reader for Greeter {
    type Feed = CorpusFeed;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn take(&mut self, items: &[CorpusItem]) -> build_core::Result<Taken> {
        let mut taken = Taken::default();
        for touch in items.iter().flat_map(|item| &item.touched) {
            if let Touch::Issue {
                owner,
                repo,
                number,
            } = touch
            {
                let issue = format!("{owner}/{repo}#{number}");
                let words = format!("welcome to {issue}");
                taken
                    .effects
                    .push(effect(&issue, &issue, "mailbox", &words)?);
            }
        }
        Ok(taken)
    }
}

#[derive(Clone, Default)]
struct Mailbox(Arc<Mutex<BTreeMap<String, String>>>);

#[async_trait]
impl Sink for Mailbox {
    async fn make(&self, call: &Call) -> Made {
        let mut letters = self.0.lock().expect("nobody panics with it");
        letters.insert(call.effect.key.to_string(), call.effect.body.to_string());
        Made::Yes
    }
}

/// The program once, until it has greeted everybody.
async fn run(corpus: &Corpus, mailbox: &Mailbox, dir: &Path) -> build_core::Result<()> {
    let reader = Greeter(ReaderName::new("greeter")?);
    let memos = Arc::new(FileMemos::open(dir)?);
    let follower = Follower::new(reader, CorpusFeed::new(corpus.clone()), memos)
        .from_end()
        .sink("mailbox".parse()?, mailbox.clone());
    let (outbox, stop) = (follower.outbox(), CancellationToken::new());
    let watch = async {
        outbox.caught_up(Duration::from_secs(30)).await?;
        stop.cancel();
        Ok(())
    };
    futures::future::try_join(follower.run(stop.clone()), watch).await?;
    Ok(())
}

fn issue(number: i32) -> pb::Mutation {
    pb::Mutation {
        github_issue: Some(pb::GithubIssueMutation {
            owner: "golang".into(),
            repo: "go".into(),
            number,
            ..pb::GithubIssueMutation::default()
        }),
        ..pb::Mutation::default()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut log = MemoryLog::of(&[issue(1)]);
    let corpus = Corpus::load(log.clone(), Options::default())?;
    let mailbox = Mailbox::default();
    // Whoever was there before is not greeted.
    run(&corpus, &mailbox, dir.path()).await?;
    for number in 2..5 {
        log.append_mutations(&[issue(number)])?;
    }
    corpus.update()?;
    run(&corpus, &mailbox, dir.path()).await?;
    run(&corpus, &mailbox, dir.path()).await?;
    let letters = mailbox.0.lock().expect("nobody panics with it").clone();
    for words in letters.values() {
        println!("{words}");
    }
    anyhow::ensure!(letters.len() == 3, "three are new: {letters:?}");
    Ok(())
}
