//! Mails the changes of wiki pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::issues::MAX_BODY;
use super::mail::{Mail, Mailer};
use crate::child::Git;
use crate::http::page::text;
use crate::http::{Guard, Hosts, guarded};

/// Pages of one message.
const MAX_PAGES: usize = 100;
/// Bytes of one page's change; more is cut off, and said.
const MAX_DIFF: usize = 512 << 10;
/// To get the wiki's newest state.
const FETCH_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks into the folder of messages.
const LOOK: Duration = Duration::from_millis(500);
/// Until a message that failed is tried again, the first time; doubled each time.
const RETRY: Duration = Duration::from_secs(2);
const MAX_RETRY: Duration = Duration::from_secs(600);

/// What is mailed, and where the wiki is.
#[derive(Clone, Debug)]
pub struct WikiMailOptions {
    /// The wiki's repository.
    pub repo: String,
    /// Where the copy of it is.
    pub data: PathBuf,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The wiki's address, without a scheme: `golang.org/wiki`.
    pub wiki: String,
    /// A folder of messages, as [`super::WikiHook`] writes them; those that are done are deleted.
    pub spool: Option<PathBuf>,
    /// The token that callers of `/` show as `?token=`; without one they must come from here.
    pub token: Option<String>,
}

impl WikiMailOptions {
    /// The wiki of the Go project, with its copy in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            repo: "https://github.com/golang/go.wiki.git".to_owned(),
            data: data.into(),
            from: "WikiDiffBot <nobody@golang.org>".to_owned(),
            to: "golang-wikichanges@googlegroups.com".to_owned(),
            wiki: "golang.org/wiki".to_owned(),
            spool: None,
            token: None,
        }
    }
}

/// Mails the changes of wiki pages that messages name.
#[derive(Clone)]
pub struct WikiMail(Arc<Inner>);

struct Inner {
    options: WikiMailOptions,
    mailer: Box<dyn Mailer>,
    /// One at a time uses the copy of the wiki.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
struct Message {
    data: Option<String>,
    message: Option<Box<Message>>,
}

#[derive(Deserialize)]
struct Notice {
    #[serde(default)]
    pages: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    page_name: String,
    sha: String,
}

impl WikiMail {
    /// A sender of mail through `mailer`.
    pub fn new(options: WikiMailOptions, mailer: impl Mailer + 'static) -> Self {
        Self(Arc::new(Inner {
            options,
            mailer: Box::new(mailer),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Serves until `token` is canceled: takes messages at `/` and from the folder.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, hosts: Hosts, on: TcpListener, token: CancellationToken) -> Result<()> {
        let routes = Router::new()
            .route("/", post(take))
            .route("/healthz", get(async || "ok\n"));
        // The fetch and the mails of one message take their time.
        let guard = Guard::new(hosts)
            .with_max_body(MAX_BODY)
            .with_max_wait(FETCH_LIMIT * 3);
        let router = guarded(routes, guard).with_state(self.clone());
        let serve = crate::http::serve(on, router, token.clone());
        let spool = async {
            if let Some(spool) = self.0.options.spool.clone() {
                token.run_until_cancelled(self.follow(&spool)).await;
            }
            token.cancelled().await;
        };
        tokio::join!(serve, spool).0
    }

    /// Mails what messages in a folder name, for ever. A message that fails stays and is tried
    /// again; one that can never succeed is put aside as `NAME.bad`.
    async fn follow(&self, spool: &Path) {
        let mut later: BTreeMap<PathBuf, (u32, Instant)> = BTreeMap::new();
        loop {
            let entries = fs::read_dir(spool).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|e| e.path()).collect();
            files.retain(|f| f.extension().is_some_and(|e| e == "json"));
            files.sort();
            later.retain(|file, _| files.contains(file));
            for file in files {
                if later
                    .get(&file)
                    .is_some_and(|(_, again)| Instant::now() < *again)
                {
                    continue;
                }
                let done = match fs::read(&file) {
                    Ok(bytes) => self.handle(&bytes).await,
                    Err(error) => Err(error.into()),
                };
                let shown = file.display();
                let moved = match done {
                    Ok(_) => fs::remove_file(&file),
                    Err(error) if error.kind() == ErrorKind::Invalid => {
                        tracing::error!(error = error.chain(), %shown, "a message is put aside");
                        fs::rename(&file, file.with_extension("bad"))
                    }
                    Err(error) => {
                        tracing::warn!(error = error.chain(), %shown, "a message is tried again");
                        let times = later.get(&file).map_or(0, |(times, _)| *times);
                        let pause = (RETRY * 2u32.pow(times.min(12))).min(MAX_RETRY);
                        later.insert(file.clone(), (times + 1, Instant::now() + pause));
                        Ok(())
                    }
                };
                if let Err(error) = moved {
                    // It would be mailed again: better late than twice.
                    tracing::error!(%error, %shown, "a message that is done stays");
                    later.insert(file.clone(), (0, Instant::now() + MAX_RETRY));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Mails the changes that a message names; answers how many.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it can never succeed; other kinds when it may later.
    pub async fn handle(&self, message: &[u8]) -> Result<usize> {
        let wrong = |what, e: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused_by(ErrorKind::Invalid, what, e)
        };
        let message: Message =
            serde_json::from_slice(message).map_err(|e| wrong("read a message", e.into()))?;
        let data = message
            .data
            .or_else(|| message.message.and_then(|m| m.data));
        let data = BASE64_STANDARD
            .decode(data.unwrap_or_default())
            .map_err(|e| wrong("read a message's data", e.into()))?;
        let notice: Notice =
            serde_json::from_slice(&data).map_err(|e| wrong("read a notice", e.into()))?;
        if notice.pages.len() > MAX_PAGES {
            let text = format!("a notice of more than {MAX_PAGES} pages");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        // All are checked before the first mail is sent.
        for page in &notice.pages {
            let is_hash = page.sha.len() == 40 && page.sha.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hash || page.page_name.chars().any(char::is_control) {
                let text = format!("a page {:?} at {:?}", page.page_name, page.sha);
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        }
        let _turn = self.0.turn.lock().await;
        let git = self.update(&notice.pages).await?;
        let mut mails = Vec::new();
        for page in &notice.pages {
            let shown = git.command([
                "show",
                "--no-ext-diff",
                "--no-textconv",
                "--end-of-options",
                &page.sha,
            ]);
            let diff = shown.max_output(64 << 20).run().await?.passed()?;
            mails.push(self.mail(page, &diff));
        }
        for mail in &mails {
            self.0.mailer.send(mail).await?;
        }
        Ok(mails.len())
    }

    /// Brings the copy of the wiki to its newest state, unless it has all commits already.
    async fn update(&self, pages: &[Page]) -> Result<Git> {
        let options = &self.0.options;
        let dir = options.data.join("wiki.git");
        if !dir.join("HEAD").exists() {
            fs::create_dir_all(&dir)?;
            Git::new(&dir)
                .run(["init", "--quiet", "--bare", "."])
                .await?;
        }
        let git = Git::new(&dir).limit(FETCH_LIMIT);
        let mut has_all = true;
        for page in pages {
            let commit = format!("{}^{{commit}}", page.sha);
            has_all &= git.ask(["cat-file", "-e", &commit]).await?.status.success();
        }
        if !has_all {
            let all = "+refs/heads/*:refs/heads/*";
            git.run(["fetch", "--quiet", "--end-of-options", &options.repo, all])
                .await?;
        }
        Ok(git)
    }

    fn mail(&self, page: &Page, diff: &[u8]) -> Mail {
        let options = &self.0.options;
        let cut = diff.len().min(MAX_DIFF);
        let mut text = String::from_utf8_lossy(&diff[..cut]).into_owned();
        if cut < diff.len() {
            text.push_str("\n(the rest is left out)\n");
        }
        let escaped = |text: &str| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;")
        };
        let html = format!(
            "<p><a href=\"https://{}/{}\">View page</a></p>\n<pre style=\"font-family: \
             monospace,monospace; white-space: pre-wrap;\">{}</pre>\n",
            escaped(&options.wiki),
            escaped(&page.page_name),
            escaped(&text)
        );
        Mail {
            from: options.from.clone(),
            to: options.to.clone(),
            subject: format!("{}/{} was updated", options.wiki, page.page_name),
            text,
            html,
        }
    }
}

async fn take(
    State(mail): State<WikiMail>,
    axum::extract::Query(query): axum::extract::Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    if let Some(token) = &mail.0.options.token {
        let shown = query.get("token").map_or("", String::as_str);
        if !build_core::key::same_secret(shown.as_bytes(), token.as_bytes()) {
            return text(StatusCode::UNAUTHORIZED, "show the token as ?token=\n");
        }
    }
    match mail.handle(&body).await {
        Ok(count) => text(StatusCode::OK, format!("{count} mails\n")),
        Err(error) => {
            tracing::error!(error = error.chain(), "a message failed");
            match error.kind() {
                ErrorKind::Invalid => text(StatusCode::BAD_REQUEST, format!("{}\n", error.chain())),
                _ => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "it failed; send it again later\n",
                ),
            }
        }
    }
}
