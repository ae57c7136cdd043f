//! Marketplaces that offer the apps of a catalogue which somebody else publishes. Nothing can be
//! stored in them.
//!
//! [`run_discovery`](crate::runtime::run_discovery) is the main function of such a driver, and
//! [`catalogue`](crate::catalogue) has what reading a catalogue takes.
//!
//! The [crate's page](crate#a-driver) has an example that compiles.

use crate::backend::MarketBackend;
use crate::error::{Error, ErrorKind};
use crate::report::{AppTemplate, MonitorReport};
use market_transfer::start_thread;

/// Takes the apps of a catalogue, one after the other. Its error ends the discovery.
pub type AppSink<'a> = dyn FnMut(AppTemplate) -> Result<(), Error> + 'a;

/// A marketplace that offers the apps of a catalogue.
#[allow(async_fn_in_trait, reason = "a driver runs on one thread; its futures need not be Send")]
pub trait DiscoveryBackend: MarketBackend {
    /// What the marketplace is called in the refusal of imports and deletions: `Cannot import app
    /// into OpenNebula marketplace: its apps are made elsewhere`.
    const PLACE: &'static str;

    /// What an operator is told to check when the catalogue holds no app.
    const WHEN_EMPTY: &'static str = "look at ENDPOINT";

    /// Gives every app of the catalogue to `sink`. `oned` removes the apps that a report lacks, so a
    /// partial list must not be reported: the whole catalogue is fetched and checked before the
    /// first app is given. A single entry that cannot be reported is skipped, with a warning.
    ///
    /// # Errors
    /// When the catalogue cannot be fetched or read as a whole, and what `sink` returns.
    async fn discover(&self, sink: &mut AppSink<'_>) -> Result<(), Error>;
}

/// A whole catalogue as one report: what [`MarketBackend::monitor`] of such a driver returns.
///
/// # Errors
/// Those of [`DiscoveryBackend::discover`].
pub async fn collect_report<B: DiscoveryBackend>(backend: &B) -> Result<MonitorReport, Error> {
    let mut report = MonitorReport::default();
    let mut keep = |app| {
        report.apps.push(app);
        Ok(())
    };
    backend.discover(&mut keep).await?;
    Ok(report)
}

/// How many apps may wait between the thread that reads a catalogue and the report.
const MAX_WAITING_APPS: usize = 64;

/// Reads a catalogue on a thread of its own, so that the action can be stopped by signals
/// meanwhile. `read` runs on that thread and gives the apps to the sink that it gets; they reach
/// `sink` in the same order. When this future is dropped, that sink returns
/// [`ErrorKind::Cancelled`].
///
/// # Errors
/// Those of `read`, and what `sink` returns.
pub async fn read_on_thread(
    read: impl FnOnce(&mut AppSink<'_>) -> Result<(), Error> + Send + 'static,
    sink: &mut AppSink<'_>,
) -> Result<(), Error> {
    let (sender, mut apps) = tokio::sync::mpsc::channel(MAX_WAITING_APPS);
    let reading = start_thread("catalogue", move || {
        let nobody =
            |_| Error::new(ErrorKind::Cancelled, "the catalogue", "nobody takes its apps any more");
        read(&mut |app| sender.blocking_send(app).map_err(nobody))
    });
    let reading = reading.map_err(|error| Error::io("the catalogue", &error))?;
    while let Some(app) = apps.recv().await {
        sink(app)?;
    }
    // The thread has ended: it has dropped its end of the queue.
    reading
        .join()
        .map_err(|_| Error::new(ErrorKind::Failed, "the catalogue", "the reading thread died"))?
}

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
        let read = move |_: &mut AppSink<'_>| {
            switch.stop(StopReason::Signal("SIGTERM"));
            // Until the test is over.
            let _ = ended.recv();
            Ok(())
        };
        run(async {
            let stopped = stop.or(read_on_thread(read, &mut |_| Ok(()))).await;
            assert_eq!(stopped.unwrap_err().kind, ErrorKind::Cancelled);
            drop(end);
        });
    }

    #[test]
    fn apps_come_in_order_and_a_failure_is_the_last_word() {
        let read = |told: &mut AppSink<'_>| {
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
        let outcome = run(read_on_thread(read, &mut keep));
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Mismatch);
        assert_eq!(names, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
        let full = |_| Err(Error::new(ErrorKind::Failed, "standard output", "is closed"));
        assert_eq!(run(read_on_thread(read, &mut { full })).unwrap_err().kind, ErrorKind::Failed);
    }
}
