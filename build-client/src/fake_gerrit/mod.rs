//! A Gerrit in memory, over HTTP on a port of its own, for tests of what speaks to one.
//!
//! It holds accounts, projects and changes; answers the calls of [`crate::gerrit`] with Gerrit's
//! statuses, guard line, escaped names and pages; and does what they ask: reviews, hashtags,
//! branches. What it cannot do is answered with 404, and said in [`FakeGerrit::seen`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use build_client::fake_gerrit::FakeGerrit;
//! use build_client::gerrit::{Auth, Client, QueryOptions};
//!
//! let server = FakeGerrit::start()?;
//! server.world().change("go", "master", "fmt: print more", "ann@example.test");
//! let client = Client::new(server.url(), Auth::None)?;
//! let open = client.query_changes("status:open", &QueryOptions::new()).await?;
//! assert_eq!(open[0].subject, "fmt: print more");
//! # Ok(()) }
//! ```

mod answer;
mod query;
mod routes;
mod world;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::sync::oneshot;

pub use world::World;

/// The server. It ends when this is dropped.
pub struct FakeGerrit {
    url: String,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Shared = Arc<Mutex<World>>;

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeGerrit {
    /// Starts an empty one on a free port of this machine, on a thread of its own.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Shared::default();
        let (stop, stopped) = oneshot::channel();
        let router = router(shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("fake gerrit".into())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)
                        .expect("a listener that listens");
                    let server = axum::serve(listener, router).into_future();
                    tokio::select! {
                        _ = server => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            url,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it holds, to be changed and looked at.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared)
    }

    /// What was asked so far, in order: `GET /changes/?q=…`.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.world().seen.clone()
    }
}

impl Drop for FakeGerrit {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed; the test fails by its own means.
            let _panicked = thread.join();
        }
    }
}

/// The calls of a world, for a server of one's own.
pub fn router(shared: Arc<Mutex<World>>) -> Router {
    routes::router(shared)
}
