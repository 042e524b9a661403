//! Where a program says what it does: standard error, and a second place if it names one, such as
//! a serial port.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Place = Box<dyn Write + Send>;

static SECOND: Mutex<Option<Place>> = Mutex::new(None);

fn second() -> MutexGuard<'static, Option<Place>> {
    SECOND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on what goes to standard error, the log and why a program failed, goes there too;
/// `None`: nowhere else. What was named before is dropped. A place that takes no more is given
/// up, which standard error is told.
pub fn log_also_to(place: Option<Box<dyn Write + Send>>) {
    *second() = place;
}

/// Standard error and the second place.
#[derive(Debug, Default)]
pub(crate) struct Aloud;

impl Write for Aloud {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut place = second();
        if let Some(writer) = place.as_mut()
            && let Err(error) = writer.write_all(bytes).and_then(|()| writer.flush())
        {
            *place = None;
            writeln!(io::stderr(), "the log goes here alone now: {error}")?;
        }
        io::stderr().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Small(Arc<Mutex<Vec<u8>>>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap();
            if all.len() >= 4 {
                return Err(io::Error::other("full"));
            }
            all.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_second_place_has_all_until_it_takes_no_more() {
        let all = Arc::new(Mutex::new(Vec::new()));
        log_also_to(Some(Box::new(Small(Arc::clone(&all)))));
        Aloud.write_all(b"abc").unwrap();
        assert_eq!(*all.lock().unwrap(), b"abc");
        Aloud.write_all(b"def").unwrap();
        assert!(
            second().is_none(),
            "it is given up, and the program goes on"
        );
        assert_eq!(*all.lock().unwrap(), b"abcd");
    }
}
