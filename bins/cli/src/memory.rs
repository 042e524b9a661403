//! Memory that a program had and does not need any more.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(
        unsafe_code,
        reason = "the C library's call is not declared safe; it takes a number"
    )
)]

use std::time::Duration;

/// How long free memory is kept at most: the next crowd may come at once.
const PERIOD: Duration = Duration::from_secs(20);

/// Gives free memory back to the system now and then, for ever: the C library of Linux keeps what a
/// crowd of connections took until the program ends. For programs that run for long. Cancel safe.
pub async fn give_back_now_and_then() {
    loop {
        tokio::time::sleep(PERIOD).await;
        // It takes milliseconds, in which other threads that allocate may wait.
        if tokio::task::spawn_blocking(give_back).await.is_err() {
            return;
        }
    }
}

/// Gives free memory back, where the C library keeps it.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only takes the number of bytes to keep, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
