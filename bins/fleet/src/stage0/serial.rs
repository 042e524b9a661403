//! The serial port of a machine, which its makers read while it starts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// As Go's program opens it.
const BAUD: u32 = 9600;
/// How long a port may take no byte.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// A port that is written to; what is no terminal, such as a file or a pipe, is written as it is.
pub(super) struct SerialPort(File);

impl SerialPort {
    /// 9600 baud, 8 bits, no parity. A port without a carrier is no reason to wait.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(i32::try_from(flags.bits()).map_err(io::Error::other)?)
            .open(path)?;
        match tcgetattr(&file) {
            Ok(mut settings) => {
                settings.make_raw();
                settings.set_speed(BAUD)?;
                tcsetattr(&file, OptionalActions::Now, &settings)?;
            }
            Err(Errno::NOTTY) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self(file))
    }
}

impl Write for SerialPort {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
            if begin.elapsed() > PATIENCE {
                let text = format!("the serial port took nothing for {} s", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
