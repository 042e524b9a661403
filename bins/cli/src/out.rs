//! Standard output that remembers whether its reader went away, as in `| head`.

use std::io::{self, IsTerminal};

use crate::shown::Screen;

/// Standard output that remembers whether its reader went away. A terminal is shown what it
/// would obey; a file or a program gets every byte.
pub struct Out {
    inner: Inner,
    closed: bool,
    used: bool,
}

type Plain = io::BufWriter<io::StdoutLock<'static>>;

enum Inner {
    Terminal(Screen<Plain>),
    Other(Plain),
}

impl Out {
    /// Locks standard output; it is written in blocks of 64 KiB and at `flush`.
    pub fn new() -> Self {
        let plain = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let inner = match io::stdout().is_terminal() {
            true => Inner::Terminal(Screen::new(plain)),
            false => Inner::Other(plain),
        };
        Self {
            inner,
            closed: false,
            used: false,
        }
    }

    /// Whether a write met a closed pipe.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether anything was written, be it still here.
    pub fn is_used(&self) -> bool {
        self.used
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        result
    }
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.used |= !bytes.is_empty();
        let written = match &mut self.inner {
            Inner::Terminal(screen) => screen.write(bytes),
            Inner::Other(plain) => plain.write(bytes),
        };
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.inner {
            Inner::Terminal(screen) => screen.flush(),
            Inner::Other(plain) => plain.flush(),
        };
        self.note(flushed)
    }
}
