//! The actions of a driver that discovers apps: it reports a catalogue, and refuses the rest.

use super::command_line::{Call, MarketAction};
use super::output::{open_output, undelivered};
use crate::action::{ImportAction, MonitorAction};
use crate::backend::Context;
use crate::configuration::connect;
use crate::discovery::DiscoveryBackend;
use crate::dispose::dispose;
use crate::encoding::encode;
use crate::error::{Error, ErrorKind};
use crate::report::{AppTemplate, DiscoveredApp, ReportError};
use crate::template::{Rules, Writer};
use std::io::{self, Write};

/// Runs the action of a call.
pub(super) async fn act<B: DiscoveryBackend>(
    call: Call<MarketAction>,
    context: Context,
) -> Result<(), Error> {
    match call.action {
        MarketAction::Monitor => monitor::<B>(&call, context).await,
        MarketAction::Import => {
            // The export step of the datastore may have made a temporary for this import.
            if let Some(command) =
                ImportAction::decode(&call.dump).ok().and_then(|action| action.dispose)
            {
                dispose(command.expose(), &context).await;
            }
            Err(refusal::<B>("import app into"))
        }
        MarketAction::Delete => Err(refusal::<B>("delete app from")),
    }
}

fn refusal<B: DiscoveryBackend>(what: &str) -> Error {
    let subject = format!("Cannot {what} {}", B::PLACE);
    Error::new(ErrorKind::Unsupported, subject, "its apps are made elsewhere")
}

async fn monitor<B: DiscoveryBackend>(
    call: &Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = MonitorAction::decode(&call.dump)?;
    call.check_id(action.marketplace.id)?;
    let backend = connect::<B>(&action.marketplace, &mut context).await?;
    let mut report = ReportWriter::new(open_output()?);
    context.stop.or(backend.discover(&mut |app| report.app(&app))).await?;
    if report.apps == 0 {
        context.log.warn(empty_catalogue::<B>());
    }
    report.finish()
}

/// The warning about a catalogue without apps: it may be right, and is hardly ever meant.
pub(super) fn empty_catalogue<B: DiscoveryBackend>() -> String {
    format!(
        "the catalogue holds no app for this OpenNebula, which keeps those that it has; {}",
        B::WHEN_EMPTY
    )
}

/// One record in so many is read back as `oned` reads it.
const READ_BACK_EVERY: usize = 16;

/// Writes the records of a monitor report as the apps come: a report of thousands is never in
/// memory as a whole.
struct ReportWriter<W: Write> {
    out: io::BufWriter<W>,
    apps: usize,
}

impl<W: Write> ReportWriter<W> {
    fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(256 << 10, out), apps: 0 }
    }

    fn app(&mut self, app: &AppTemplate) -> Result<(), Error> {
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

    fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(|error| undelivered(&error))
    }
}
