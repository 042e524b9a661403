//! Both ends against each other over in-memory streams. Time stands still or is moved by hand.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, poll_fn};
use futures::task::LocalSpawnExt as _;
use futures_executor::LocalPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::h1::io::{Rewind, Server};
use crate::h1::{Limits, RequestHead, ResponseHead};
use crate::revdial::{DialerId, Error, PICK_UP_LIMIT, SILENCE};

/// Moved by hand.
struct Hand {
    begin: Instant,
    millis: AtomicU64,
    sleepers: Mutex<Vec<std::task::Waker>>,
}

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            millis: AtomicU64::new(0),
            sleepers: Mutex::default(),
        })
    }

    fn advance(&self, by: Duration) {
        self.millis
            .fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        for sleeper in self.sleepers.lock().unwrap().drain(..) {
            sleeper.wake();
        }
    }
}

/// [`Timer`] needs something that its sleeps can hold on to.
struct HandTimer(Arc<Hand>);

impl Timer for HandTimer {
    fn now(&self) -> Instant {
        self.0.begin + Duration::from_millis(self.0.millis.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let timer = Self(Arc::clone(&self.0));
        poll_fn(move |cx| {
            if timer.now() >= at {
                return std::task::Poll::Ready(());
            }
            timer.0.sleepers.lock().unwrap().push(cx.waker().clone());
            std::task::Poll::Pending
        })
        .boxed()
    }
}

type Stream = Rewind<DuplexStream>;

/// A server and a machine whose pick-ups go where the test says.
struct Pair {
    pool: LocalPool,
    hand: Arc<Hand>,
    registry: Registry<Stream>,
    dialer: Dialer<Stream>,
    /// Ends of the connections that the machine has made, at the server.
    arriving: Arc<Mutex<Vec<DuplexStream>>>,
    accepted: Rc<RefCell<Vec<Stream>>>,
    listener_ended: Rc<RefCell<Option<Error>>>,
    control_ended: Rc<RefCell<Option<Error>>>,
}

impl Pair {
    fn new() -> Self {
        let pool = LocalPool::new();
        let hand = Hand::new();
        let (near, far) = duplex(1 << 16);
        let registry = Registry::default();
        let id = DialerId::from_entropy([9; 16]);
        let timer = || Arc::new(HandTimer(Arc::clone(&hand)));
        let (dialer, control) = registry.dialer(near, id, "/revdial", timer());
        let arriving = Arc::<Mutex<Vec<DuplexStream>>>::default();
        let dial: DialServer<DuplexStream> = Box::new({
            let arriving = Arc::clone(&arriving);
            move || {
                let (mine, theirs) = duplex(1 << 16);
                arriving.lock().unwrap().push(theirs);
                async move { Ok(mine) }.boxed()
            }
        });
        let mut listener = Listener::new(far, dial, timer());
        let accepted = Rc::<RefCell<Vec<Stream>>>::default();
        let listener_ended = Rc::<RefCell<Option<Error>>>::default();
        let control_ended = Rc::<RefCell<Option<Error>>>::default();
        let (into, ended) = (Rc::clone(&accepted), Rc::clone(&listener_ended));
        let serve = async move {
            let error = loop {
                match listener.accept().await {
                    Ok(stream) => into.borrow_mut().push(stream),
                    Err(error) => break error,
                }
            };
            *ended.borrow_mut() = Some(error);
        };
        pool.spawner().spawn_local(serve).unwrap();
        let ended = Rc::clone(&control_ended);
        let run = async move {
            let error = control.run().await;
            *ended.borrow_mut() = Some(error);
        };
        pool.spawner().spawn_local(run).unwrap();
        Self {
            pool,
            hand,
            registry,
            dialer,
            arriving,
            accepted,
            listener_ended,
            control_ended,
        }
    }

    /// Begins a dial; its result appears in the cell.
    fn dial(&self) -> Rc<RefCell<Option<Result<Stream, Error>>>> {
        let slot = Rc::<RefCell<_>>::default();
        let (dialer, into) = (self.dialer.clone(), Rc::clone(&slot));
        let dial = async move {
            let result = dialer.dial().await;
            *into.borrow_mut() = Some(result);
        };
        self.pool.spawner().spawn_local(dial).unwrap();
        slot
    }

    fn settle(&mut self) {
        self.pool.run_until_stalled();
    }

    /// The server's side of the oldest connection that has arrived: judges its request.
    fn answer(&mut self) -> Result<(), Refusal> {
        let io = self.arriving.lock().unwrap().remove(0);
        let registry = self.registry.clone();
        let result = Rc::<RefCell<_>>::default();
        let into = Rc::clone(&result);
        let answer = async move {
            let mut server = Server::new(io, Limits::default());
            let exchange = server.next().await.unwrap().unwrap();
            match registry.pick_up(exchange.head(), true) {
                Ok(reservation) => {
                    let _ = exchange
                        .switch_protocols(&ResponseHead::new(101))
                        .await
                        .unwrap();
                    let _ = reservation.deliver(server.into_stream());
                    *into.borrow_mut() = Some(Ok(()));
                }
                Err(refusal) => {
                    // A machine whose listener has ended does not read it.
                    let _ = exchange.refuse(refusal.status(), refusal.text()).await;
                    *into.borrow_mut() = Some(Err(refusal));
                }
            }
        };
        self.pool.spawner().spawn_local(answer).unwrap();
        self.settle();
        result.take().expect("answered")
    }
}

#[test]
fn a_dialed_connection_carries_bytes_both_ways() {
    let mut pair = Pair::new();
    let dialed = pair.dial();
    pair.settle();
    pair.answer().unwrap();
    let mut ours = dialed.take().unwrap().unwrap();
    let mut theirs = pair.accepted.borrow_mut().pop().unwrap();
    pair.pool.run_until(async {
        ours.write_all(b"first words").await.unwrap();
        let mut got = [0; 11];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"first words");
        theirs.write_all(b"answer").await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut got = String::new();
        ours.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "answer");
    });
}

#[test]
fn a_dial_that_was_given_up_leaves_nothing_for_the_next() {
    let mut pair = Pair::new();
    {
        let mut first = Box::pin(pair.dialer.dial());
        assert!(first.as_mut().now_or_never().is_none());
        pair.pool.run_until_stalled();
    }
    let second = pair.dial();
    pair.settle();
    // The first connection arrives late, and before the second.
    let refusal = pair.answer().unwrap_err();
    assert_eq!(
        (refusal.status(), refusal.text()),
        (400, "nobody waits for this connection")
    );
    assert!(second.borrow().is_none());
    pair.answer().unwrap();
    assert!(second.take().unwrap().is_ok());
    pair.settle();
    assert_eq!(
        pair.accepted.borrow().len(),
        1,
        "the machine has the second alone"
    );
    assert_eq!(pair.dialer.ended(), None);
}

#[test]
fn a_dial_that_is_given_up_while_its_connection_is_answered_serves_nobody_else() {
    let mut pair = Pair::new();
    let mut first = Box::pin(pair.dialer.dial());
    assert!(first.as_mut().now_or_never().is_none());
    pair.pool.run_until_stalled();
    let id = crate::revdial::ConnPath {
        dialer: DialerId::from_entropy([9; 16]),
        conn: Some(crate::revdial::ConnId::new(1)),
    };
    let head = RequestHead::new("GET", &id.text("/revdial"));
    let reserved = pair.registry.pick_up(&head, true).unwrap();
    drop(first);
    let second = pair.dial();
    let (late, _) = duplex(8);
    assert!(
        reserved
            .deliver(Rewind::new(bytes::Bytes::new(), late))
            .is_err()
    );
    pair.settle();
    assert!(second.borrow().is_none());
}

#[test]
fn a_reservation_that_is_dropped_fails_its_dial() {
    let mut pair = Pair::new();
    let dialed = pair.dial();
    pair.settle();
    let io = pair.arriving.lock().unwrap().remove(0);
    pair.pool.run_until(async {
        let mut server = Server::new(io, Limits::default());
        let exchange = server.next().await.unwrap().unwrap();
        drop(pair.registry.pick_up(exchange.head(), true).unwrap());
    });
    pair.settle();
    assert_eq!(dialed.take().unwrap().unwrap_err(), Error::PickUpLost);
}

#[test]
fn a_machine_reports_what_it_could_not_fetch() {
    let mut pair = Pair::new();
    let dialed = pair.dial();
    pair.settle();
    // The server cuts the connection instead of an answer.
    pair.arriving.lock().unwrap().clear();
    pair.settle();
    let error = dialed.take().unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::PickUpFailed(text) if text.contains("http")),
        "{error}"
    );
    // And the next dial works.
    let dialed = pair.dial();
    pair.settle();
    pair.answer().unwrap();
    assert!(dialed.take().unwrap().is_ok());
}

#[test]
fn a_server_that_does_not_answer_a_pick_up_is_given_up() {
    let mut pair = Pair::new();
    let dialed = pair.dial();
    pair.settle();
    pair.hand.advance(PICK_UP_LIMIT);
    pair.settle();
    let error = dialed.take().unwrap().unwrap_err();
    assert_eq!(error, Error::PickUpFailed("not done in 20 s".into()));
}

#[test]
fn silence_is_broken_by_keep_alives_and_noticed_without_them() {
    let mut pair = Pair::new();
    for _ in 0..20 {
        pair.hand.advance(Duration::from_secs(30));
        pair.settle();
    }
    assert_eq!(*pair.listener_ended.borrow(), None, "keep-alives came");
    pair.dialer.close();
    pair.settle();
    assert_eq!(*pair.listener_ended.borrow(), Some(Error::Closed));
    // A machine whose server is gone without a word.
    let (far, _near) = duplex(64);
    let hand = Hand::new();
    let refuse: DialServer<DuplexStream> =
        Box::new(|| async { Err(io::Error::other("not asked for")) }.boxed());
    let mut alone = Listener::new(far, refuse, Arc::new(HandTimer(Arc::clone(&hand))));
    assert!(alone.accept().now_or_never().is_none());
    hand.advance(SILENCE);
    assert_eq!(
        alone.accept().now_or_never().unwrap().unwrap_err(),
        Error::Silent(SILENCE)
    );
}

#[test]
fn the_end_of_the_control_connection_ends_every_dial_and_leaves_nothing() {
    let mut pair = Pair::new();
    let (first, second) = (pair.dial(), pair.dial());
    pair.settle();
    assert_eq!((pair.registry.len(), pair.dialer.waiting()), (1, 2));
    pair.dialer.close();
    pair.settle();
    for dialed in [first, second] {
        assert_eq!(dialed.take().unwrap().unwrap_err(), Error::Closed);
    }
    assert_eq!(*pair.control_ended.borrow(), Some(Error::Closed));
    assert!(pair.registry.is_empty());
    // What arrives now finds nobody.
    assert_eq!(pair.answer().unwrap_err().text(), "unknown dialer");
    assert!(matches!(
        pair.dialer.dial().now_or_never(),
        Some(Err(Error::Closed))
    ));
}

#[test]
fn garbage_ends_the_control_connection() {
    let registry = Registry::<DuplexStream>::default();
    let (near, mut far) = duplex(1 << 12);
    let timer = Arc::new(HandTimer(Hand::new()));
    let id = DialerId::from_entropy([1; 16]);
    let (dialer, control) = registry.dialer(near, id, "/revdial", timer);
    let ended = futures_executor::block_on(async {
        far.write_all(b"garbage\n").await.unwrap();
        control.run().await
    });
    assert!(ended.to_string().contains("\"garbage\""), "{ended}");
    assert_eq!(dialer.ended(), Some(ended));
}

#[test]
fn requests_are_judged_in_the_order_of_the_protocol() {
    let pair = Pair::new();
    let judge = |method: &str, target: &str, encrypted| {
        let refusal = pair
            .registry
            .pick_up(&RequestHead::new(method, target), encrypted)
            .unwrap_err();
        let mut head = refusal.head().headers().clone();
        let allow = head.get_str("Allow").map(str::to_owned);
        head.set("x", "");
        (refusal.status(), refusal.text(), allow)
    };
    assert_eq!(
        judge("POST", "/revdial", false),
        (500, "handler requires TLS", None)
    );
    let text = "expected GET request to revdial conn handler";
    assert_eq!(
        judge("POST", "/revdial", true),
        (405, text, Some("GET".into()))
    );
    assert_eq!(
        judge("GET", "/revdial", true),
        (400, "unknown dialer", None)
    );
    let own = format!("/revdial?revdial.dialer={}", hex::encode([9; 16]));
    assert_eq!(
        judge("GET", &own, true),
        (400, "nobody waits for this connection", None)
    );
}

/// Answers each request with the next text, and gives what was asked.
async fn play(mut io: DuplexStream, answers: &[&str]) -> (Vec<String>, DuplexStream) {
    let mut asked = Vec::new();
    for answer in answers {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await.unwrap());
        }
        asked.push(String::from_utf8(request).unwrap());
        io.write_all(answer.as_bytes()).await.unwrap();
    }
    (asked, io)
}

fn try_take_over(answers: &[&str]) -> (Vec<String>, Result<String, TakeOverError>) {
    let (near, far) = duplex(1 << 16);
    futures_executor::block_on(async {
        let head = RequestHead::new("GET", "/reverse").with("X-Revdial-Version", "2");
        let take = async {
            let mut stream = take_over(near, head).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            Ok(text)
        };
        let answers = async {
            let (asked, io) = play(far, answers).await;
            drop(io);
            asked
        };
        let (result, asked) = futures::future::join(take, answers).await;
        (asked, result)
    })
}

#[test]
fn a_stream_is_taken_over_from_go_servers_with_what_follows_the_answer() {
    let (asked, got) = try_take_over(&["HTTP/0.0 101 Switching Protocols\r\n\r\n{\"command\""]);
    assert_eq!(got.unwrap(), "{\"command\"");
    assert_eq!(
        asked,
        ["GET /reverse HTTP/1.1\r\nHost: \r\nX-Revdial-Version: 2\r\n\r\n"]
    );
}

#[test]
fn one_redirect_within_the_server_is_followed() {
    const MOVED: &str =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 2\r\n\r\nno";
    let (asked, got) = try_take_over(&[MOVED, "HTTP/1.1 101 Switching Protocols\r\n\r\nyes"]);
    assert_eq!(got.unwrap(), "yes");
    assert!(asked[1].starts_with("GET /there HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].contains("X-Revdial-Version: 2\r\n"));
    let (_, got) = try_take_over(&[MOVED, MOVED]);
    assert_eq!(
        got.unwrap_err().to_string(),
        "want HTTP status 101 or 307; got 307 to \"/there\""
    );
    for elsewhere in ["http://other/", "//other/"] {
        let moved = MOVED.replace("/there", elsewhere);
        let (asked, got) = try_take_over(&[&moved]);
        assert_eq!(asked.len(), 1);
        assert!(
            matches!(got, Err(TakeOverError::Redirected { location }) if location == elsewhere)
        );
    }
}

#[test]
fn a_refusal_is_told_with_its_words() {
    let (_, got) = try_take_over(&[
        "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 18\r\n\r\ninvalid build key\n",
    ]);
    let text = got.unwrap_err().to_string();
    assert_eq!(
        text,
        "non-101 response 412 Precondition Failed: invalid build key"
    );
}

const AGE: Duration = Duration::from_secs(10);

impl Pair {
    /// Keeps two connections ready.
    fn ready(&self) -> Ready<Stream> {
        let (ready, refill) = Ready::new(self.dialer.clone(), 2, AGE);
        let run = async move { drop(refill.run().await) };
        self.pool.spawner().spawn_local(run).unwrap();
        ready
    }

    /// Answers all that arrive, one after the other.
    fn answer_all(&mut self) {
        self.settle();
        while !self.arriving.lock().unwrap().is_empty() {
            self.answer().unwrap();
        }
    }

    /// Dials and waits.
    fn use_once(&mut self, ready: &Ready<Stream>) -> Stream {
        let slot = Rc::<RefCell<_>>::default();
        let (ready, into) = (ready.clone(), Rc::clone(&slot));
        let dial = async move { *into.borrow_mut() = Some(ready.dial().await) };
        self.pool.spawner().spawn_local(dial).unwrap();
        self.answer_all();
        slot.take().unwrap().unwrap()
    }
}

#[test]
fn connections_are_made_ahead_while_a_machine_is_in_use() {
    let mut pair = Pair::new();
    let ready = pair.ready();
    pair.answer_all();
    assert_eq!(ready.waiting(), 0, "nobody has dialed");
    pair.use_once(&ready);
    assert_eq!(ready.waiting(), 0, "it may have been the only one");
    pair.use_once(&ready);
    assert_eq!(ready.waiting(), 2);
    let mut ours = ready.dial().now_or_never().expect("at once").unwrap();
    pair.answer_all();
    assert_eq!(ready.waiting(), 2, "another has taken its place");
    let mut theirs = pair.accepted.borrow_mut().remove(2);
    pair.pool.run_until(async {
        ours.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    });
    pair.hand.advance(AGE);
    pair.answer_all();
    assert_eq!(ready.waiting(), 0, "nobody has dialed for long");
}

#[test]
fn connections_that_have_ended_are_not_given_out() {
    let mut pair = Pair::new();
    let ready = pair.ready();
    pair.use_once(&ready);
    pair.use_once(&ready);
    pair.accepted.borrow_mut().clear();
    let mut ours = pair.use_once(&ready);
    let mut theirs = pair.accepted.borrow_mut().remove(0);
    pair.pool.run_until(async {
        ours.write_all(b"x").await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn nothing_is_made_ahead_once_the_control_connection_is_over() {
    let mut pair = Pair::new();
    let ready = pair.ready();
    pair.use_once(&ready);
    pair.use_once(&ready);
    pair.dialer.close();
    pair.settle();
    let last = [ready.dial(), ready.dial()].map(|dial| dial.now_or_never().unwrap().is_ok());
    assert_eq!(last, [true, true], "what was made is still there");
    let error = ready.dial().now_or_never().unwrap().unwrap_err();
    assert_eq!(error, Error::Closed);
}
