//! Marketplaces whose apps are discovered in somebody's catalogue: nothing can be stored there.
//!
//! [`shim::run_discovery`](crate::shim::run_discovery) is the whole main of such a driver.

use crate::backend::MarketBackend;
use crate::encoding::encode;
use crate::error::{Error, ErrorKind};
use crate::report::{AppTemplate, DiscoveredApp, MonitorReport, ReportError};
use crate::shim::undelivered;
use crate::template::{Rules, Writer};
use market_transfer::start_thread;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write};

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

/// What is said of a catalogue without apps: it may be right, and is hardly ever meant.
pub(crate) fn empty<B: DiscoveryBackend>() -> String {
    format!(
        "the catalogue holds no app for this OpenNebula, which keeps those that it has; {}",
        B::WHEN_EMPTY
    )
}

/// What takes the apps.
pub type Sink<'a> = dyn FnMut(AppTemplate) -> Result<(), Error> + 'a;

/// Every so many records one is read back as `oned` reads it; the tests read back all.
const READ_BACK_EVERY: usize = 16;

/// Prints apps as they come: a report of thousands is never in memory as a whole.
pub(crate) struct Printer<W: Write> {
    out: io::BufWriter<W>,
    pub(crate) apps: usize,
}

impl<W: Write> Printer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(256 << 10, out), apps: 0 }
    }

    pub(crate) fn app(&mut self, app: &AppTemplate) -> Result<(), Error> {
        let record = encode(&app.write()?);
        if self.apps.is_multiple_of(READ_BACK_EVERY)
            && DiscoveredApp::read(record.as_bytes())?.name != app.name()
        {
            let cause = format!("the app {:?} does not read back", app.name());
            return Err(Error::new(ErrorKind::Failed, "the driver's answer", cause));
        }
        self.apps += 1;
        let mut writer = Writer::with_capacity(Rules::Oned, record.len() + 8);
        writer.single("APP", record).map_err(ReportError::from)?;
        self.out.write_all(&writer.finish()).map_err(|error| undelivered(&error))
    }

    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(|error| undelivered(&error))
    }
}

/// What people want to see of an app.
const COLUMNS: [(&str, &str); 6] = [
    ("name", "NAME"),
    ("type", "TYPE"),
    ("size_mib", "SIZE"),
    ("arch", "ARCHITECTURE"),
    ("hypervisor", "HYPERVISOR"),
    ("source", "SOURCE"),
];

fn cells(app: &AppTemplate) -> [String; 6] {
    COLUMNS.map(|(_, attribute)| match attribute {
        "NAME" => app.name().to_owned(),
        "TYPE" => app.app_type().word().unwrap_or_default().to_owned(),
        attribute => app.value(attribute).unwrap_or_default().to_owned(),
    })
}

/// A table for people.
pub(crate) fn table(apps: &[AppTemplate]) -> String {
    let mut rows = vec![["name", "type", "MiB", "arch", "hypervisor", "source"].map(str::to_owned)];
    rows.extend(apps.iter().map(cells));
    let shown: Vec<[String; 6]> =
        rows.into_iter().map(|row| row.map(|cell| crate::line::one_line(&cell))).collect();
    let width = |column: usize| {
        shown.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut table = String::new();
    for row in &shown {
        let [name, kind, size, arch, hypervisor, source] = row;
        let [n, k, s, a, h, _] = widths;
        let _ = writeln!(
            table,
            "{name:n$}  {kind:k$}  {size:>s$}  {arch:a$}  {hypervisor:h$}  {source}"
        );
    }
    let _ = writeln!(table, "{} app(s)", apps.len());
    table
}

/// The same for programs.
pub(crate) fn json(apps: &[AppTemplate]) -> String {
    let app = |app: &AppTemplate| -> Value {
        let cells = cells(app);
        let members = COLUMNS.iter().zip(cells).map(|((name, _), cell)| {
            let value =
                if *name == "size_mib" { json!(cell.parse::<i64>().ok()) } else { json!(cell) };
            ((*name).to_owned(), value)
        });
        Value::Object(members.collect())
    };
    format!("{}\n", json!({ "apps": apps.iter().map(app).collect::<Vec<_>>() }))
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
