use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, FutureExt as _, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Alarm, Timer, take_over};
use crate::h1::RequestHead;
use crate::h1::io::{Duplex, Rewind};
use crate::revdial::{Error, ListenerConn, ListenerEvent, PICK_UP_LIMIT};

/// Bytes read at a time: control lines are short.
const READ: usize = 4096;

/// Connects to the server again, TLS included.
pub type DialServer<I> = Box<dyn Fn() -> BoxFuture<'static, io::Result<I>> + Send>;

type Fetched<I> = (String, Result<Rewind<I>, String>);

/// The machine's end: gives the connections that the server asks for.
///
/// It lives from [`Listener::accept`] being called: whoever serves a connection does it
/// elsewhere and comes back at once.
pub struct Listener<C, I> {
    control: C,
    conn: ListenerConn,
    dial: DialServer<I>,
    timer: Arc<dyn Timer>,
    alarm: Alarm,
    unflushed: bool,
    fetching: FuturesUnordered<BoxFuture<'static, Fetched<I>>>,
}

impl<C, I> fmt::Debug for Listener<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("fetching", &self.fetching.len())
            .finish_non_exhaustive()
    }
}

impl<C, I> Listener<C, I>
where
    C: AsyncRead + AsyncWrite + Unpin,
    I: Duplex + 'static,
{
    /// A listener over a control connection whose registration was answered with 101.
    pub fn new(control: C, dial: DialServer<I>, timer: Arc<dyn Timer>) -> Self {
        Self {
            control,
            conn: ListenerConn::new(timer.now()),
            dial,
            timer,
            alarm: Alarm::new(),
            unflushed: false,
            fetching: FuturesUnordered::new(),
        }
    }

    /// The next connection. A pick-up that fails is reported to the server and does not end
    /// the listener.
    ///
    /// # Errors
    /// Why the control connection is over. Connections that were being fetched are lost.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn accept(&mut self) -> Result<Rewind<I>, Error> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Rewind<I>, Error>> {
        loop {
            let moved = self.poll_write(cx) | self.poll_read(cx) | self.poll_alarm(cx);
            while let Some(ListenerEvent::PickUp(path)) = self.conn.poll_event() {
                self.fetch(path);
            }
            let mut fetched = false;
            while let Poll::Ready(Some((path, result))) = self.fetching.poll_next_unpin(cx) {
                fetched = true;
                let now = self.timer.now();
                let report = result.as_ref().map(|_| ()).map_err(String::as_str);
                // An error has ended the connection.
                let _ = self.conn.fetched(&path, report, now);
                if let Ok(stream) = result {
                    return Poll::Ready(Ok(stream));
                }
            }
            if let Some(error) = self.conn.ended() {
                return Poll::Ready(Err(error.clone()));
            }
            if !moved && !fetched {
                return Poll::Pending;
            }
        }
    }

    /// Begins a pick-up, which has its deadline.
    fn fetch(&self, path: String) {
        let connect = (self.dial)();
        let limit = self.timer.sleep_until(self.timer.now() + PICK_UP_LIMIT);
        let target = path.clone();
        let work = async move {
            let io = connect.await.map_err(|error| error.to_string())?;
            take_over(io, RequestHead::new("GET", &target))
                .await
                .map_err(|error| describe(&error))
        };
        let fetched = async move {
            match select(work.boxed(), limit).await {
                Either::Left((result, _)) => (path, result),
                Either::Right(_) => (
                    path,
                    Err(format!("not done in {} s", PICK_UP_LIMIT.as_secs())),
                ),
            }
        };
        self.fetching.push(fetched.boxed());
    }

    /// Each step says whether there may be more to do.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let output = self.conn.output();
        let is_empty = output.is_empty();
        let result = if !is_empty {
            Pin::new(&mut self.control).poll_write(cx, output)
        } else if self.unflushed {
            Pin::new(&mut self.control).poll_flush(cx).map_ok(|()| 0)
        } else {
            return false;
        };
        match result {
            Poll::Ready(Ok(0)) if !is_empty => self.lost(&io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                self.unflushed = count > 0;
                self.conn.advance(count, self.timer.now());
            }
            Poll::Ready(Err(error)) => self.lost(&error),
            Poll::Pending => return false,
        }
        true
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.conn.ended().is_some() {
            return false;
        }
        let mut space = [0; READ];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.control).poll_read(cx, &mut buf) {
            Poll::Pending => return false,
            Poll::Ready(Err(error)) => self.lost(&error),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => self.conn.close(Error::Closed),
            Poll::Ready(Ok(())) => {
                // An error has ended the connection.
                let _ = self.conn.feed(buf.filled(), self.timer.now());
            }
        }
        true
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.alarm.poll(self.conn.deadline(), &*self.timer, cx);
        if due {
            // An error has ended the connection.
            let _ = self.conn.handle_timeout(self.timer.now());
        }
        due
    }

    fn lost(&mut self, error: &io::Error) {
        self.conn.close(Error::Lost(error.to_string()));
    }
}

/// The error and its causes, as one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
