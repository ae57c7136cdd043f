//! Threads whose start may fail: where the number of processes is limited, that is an error of the
//! operation, not a panic.

use std::io;
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// Starts a thread of a name of at most 15 bytes.
///
/// # Errors
/// What the system reports when it starts none: `WouldBlock` when no more are allowed (`ulimit -u`,
/// `TasksMax`).
///
/// ```
/// let thread = market_transfer::start_thread("adder", || 1 + 1)?;
/// assert_eq!(thread.join().unwrap(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn start_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// Runs work that blocks on a thread of its own. When this is dropped, the thread goes on and its
/// outcome is lost; nobody waits for it.
///
/// # Errors
/// As [`start_thread`], and when the thread dies.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let answer = runtime.block_on(market_transfer::run_on_thread("adder", || 1 + 1))?;
/// assert_eq!(answer, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn run_on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    start_thread(name, move || drop(done.send(work())))?;
    outcome.await.map_err(|_| io::Error::other(format!("the {name} thread died")))
}
