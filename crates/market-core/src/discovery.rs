//! Marketplaces whose apps are discovered in somebody's catalogue: nothing can be stored there.
//!
//! [`runtime::run_discovery`](crate::runtime::run_discovery) is the whole main of such a driver.

use crate::backend::MarketBackend;
use crate::error::{Error, ErrorKind};
use crate::report::{AppTemplate, MonitorReport};
use market_transfer::start_thread;

/// What a driver adds that discovers apps.
#[allow(async_fn_in_trait, reason = "a driver runs on one thread; its futures need not be Send")]
pub trait DiscoveryBackend: MarketBackend {
    /// What it is called in a refusal: `Cannot import app into OpenNebula marketplace`.
    const PLACE: &'static str;

    /// What an operator looks at when the catalogue holds no app.
    const WHEN_EMPTY: &'static str = "look at ENDPOINT";

    /// Tells `sink` of every app of the catalogue. What cannot be reported of a single entry costs
    /// that entry; everything else is an error, and the first app is told only when there can be no
    /// more of those: a partial list makes `oned` drop apps.
    ///
    /// # Errors
    /// When the catalogue cannot be had as a whole, and what `sink` returns.
    async fn discover(&self, sink: &mut Sink<'_>) -> Result<(), Error>;
}

/// A whole catalogue at once: what [`MarketBackend::monitor`] of such a driver returns.
///
/// # Errors
/// Those of [`DiscoveryBackend::discover`].
pub async fn collect<B: DiscoveryBackend>(backend: &B) -> Result<MonitorReport, Error> {
    let mut report = MonitorReport::default();
    let mut keep = |app| {
        report.apps.push(app);
        Ok(())
    };
    backend.discover(&mut keep).await?;
    Ok(report)
}

/// Reads a catalogue on a thread of its own, so that signals are heard while it takes long; `read`
/// is what tells of the apps. When this is dropped, `read` ends with the next app that it tells of.
///
/// # Errors
/// Those of `read`, and what `sink` returns.
pub async fn read_apart(
    read: impl FnOnce(&mut Sink<'_>) -> Result<(), Error> + Send + 'static,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    const WAITING: usize = 64;
    let (told, mut apps) = tokio::sync::mpsc::channel(WAITING);
    let reading = start_thread("catalogue", move || {
        let nobody =
            |_| Error::new(ErrorKind::Cancelled, "the catalogue", "nobody takes its apps any more");
        read(&mut |app| told.blocking_send(app).map_err(nobody))
    });
    let reading = reading.map_err(|error| Error::io("the catalogue", &error))?;
    while let Some(app) = apps.recv().await {
        sink(app)?;
    }
    // It has dropped its end of the queue: there is nothing to wait for.
    reading
        .join()
        .map_err(|_| Error::new(ErrorKind::Failed, "the catalogue", "the reading thread died"))?
}

/// What takes the apps.
pub type Sink<'a> = dyn FnMut(AppTemplate) -> Result<(), Error> + 'a;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::model::AppType;
    use crate::stop::{StopReason, StopSwitch};

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn a_signal_is_heard_while_a_catalogue_is_read() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let switch = StopSwitch::new();
        let stop = switch.listen();
        let read = move |_: &mut Sink<'_>| {
            switch.stop(StopReason::Signal("SIGTERM"));
            // Until the test is over.
            let _ = ended.recv();
            Ok(())
        };
        run(async {
            let stopped = stop.or(read_apart(read, &mut |_| Ok(()))).await;
            assert_eq!(stopped.unwrap_err().kind, ErrorKind::Cancelled);
            drop(end);
        });
    }

    #[test]
    fn apps_come_in_order_and_a_failure_is_the_last_word() {
        let read = |told: &mut Sink<'_>| {
            for number in 0..200 {
                told(AppTemplate::new(&format!("{number}"), AppType::Image).map_err(Error::from)?)?;
            }
            Err(Error::new(ErrorKind::Mismatch, "the catalogue", "ends"))
        };
        let mut names = Vec::new();
        let mut keep = |app: AppTemplate| {
            names.push(app.name().to_owned());
            Ok(())
        };
        let outcome = run(read_apart(read, &mut keep));
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Mismatch);
        assert_eq!(names, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
        let full = |_| Err(Error::new(ErrorKind::Failed, "standard output", "is closed"));
        assert_eq!(run(read_apart(read, &mut { full })).unwrap_err().kind, ErrorKind::Failed);
    }
}
