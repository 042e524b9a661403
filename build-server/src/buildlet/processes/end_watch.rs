use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use rustix::process::Pid;
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells when to look whether a child has ended.
pub(super) enum EndWatch {
    /// Readable when it has ended.
    #[cfg(target_os = "linux")]
    Handle(AsyncFd<OwnedFd>),
    /// Without handles: whenever any child has ended.
    AnyChild(Signal),
}

impl EndWatch {
    /// An end before this call is not told: look first.
    ///
    /// # Errors
    /// The system's.
    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "an owned descriptor stays what it is; what replaces the function is unsafe"
    )]
    pub(super) fn new(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        use tokio::io::Interest;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => AsyncFd::with_interest(handle, Interest::READABLE).map(Self::Handle),
            // Some sandboxes know none.
            Err(_) => Self::any_child(),
        }
    }

    /// An end before this call is not told: look first.
    ///
    /// # Errors
    /// The system's.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(_: Pid) -> io::Result<Self> {
        Self::any_child()
    }

    pub(super) fn any_child() -> io::Result<Self> {
        signal(SignalKind::child()).map(Self::AnyChild)
    }

    /// Completes when it is time to look again. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Handle(handle) => match handle.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime ends, and with it whoever waits.
                Err(_) => std::future::pending().await,
            },
            Self::AnyChild(signals) => {
                // The stream of signals ends with the runtime only.
                let _ = signals.recv().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    async fn tells_an_end(watch: impl Fn(Pid) -> io::Result<EndWatch>) {
        let mut cat = Command::new("cat");
        let mut child = cat.stdin(Stdio::piped()).spawn().unwrap();
        let mut watch = watch(Pid::from_child(&child)).unwrap();
        drop(child.stdin.take());
        while child.try_wait().unwrap().is_none() {
            watch.changed().await;
        }
    }

    #[tokio::test]
    async fn a_handle_tells_the_end_of_its_child() {
        tells_an_end(EndWatch::new).await;
    }

    #[tokio::test]
    async fn the_signal_tells_it_too() {
        tells_an_end(|_| EndWatch::any_child()).await;
    }
}
