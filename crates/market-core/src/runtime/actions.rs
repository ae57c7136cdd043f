//! The actions of a driver that stores images.

use super::command_line::{Call, MarketAction, Program, driver_name};
use super::output::{open_output, print};
use super::process::{execute, protect_memory, run_main, run_until_stopped};
use crate::action::{DeleteAction, ImportAction, MonitorAction};
use crate::backend::{Context, StorageBackend};
use crate::configuration::connect;
use crate::dispose::dispose;
use crate::error::{Error, ErrorKind};
use crate::opennebula::Helpers;
use crate::pipeline;
use crate::readiness;
use crate::report::ImportedApp;
use crate::upkeep::{self, Work};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a storage driver: all that its main function does.
pub fn run<B: StorageBackend>() -> ExitCode {
    let name = driver_name::<B>();
    let arguments: Vec<_> = std::env::args_os().collect();
    match Work::of(&arguments) {
        Some(work) => run_upkeep::<B>(work, &name, &arguments),
        None => {
            let program = Program::new(&name, B::VERSION, B::ABOUT, MarketAction::ALL);
            execute(&program, act::<B>)
        }
    }
}

/// Runs `gc` or `audit`.
fn run_upkeep<B: StorageBackend>(work: Work, name: &str, arguments: &[OsString]) -> ExitCode {
    run_main(ErrorKind::exit_code, || match work.parse(name, arguments)? {
        None => print(work.help(name).as_bytes()),
        Some(task) => {
            protect_memory();
            run_until_stopped(work.word(), async |context| upkeep::run::<B>(task, context).await)
        }
    })
}

/// Runs the action of a call.
async fn act<B: StorageBackend>(call: Call<MarketAction>, context: Context) -> Result<(), Error> {
    match call.action {
        MarketAction::Monitor => monitor::<B>(&call, context).await,
        MarketAction::Import => import::<B>(&call, context).await,
        MarketAction::Delete => delete::<B>(&call, context).await,
    }
}

async fn monitor<B: StorageBackend>(
    call: &Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = MonitorAction::decode(&call.dump)?;
    call.check_id(action.marketplace.id)?;
    let backend = connect::<B>(&action.marketplace, &mut context).await?;
    readiness::check_attributes(&action.marketplace)?;
    let report = context.stop.or(backend.monitor()).await?;
    print(&report.write()?)
}

async fn import<B: StorageBackend>(
    call: &Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = ImportAction::decode(&call.dump)?;
    context.options = Helpers::give_message(context.options, call.dump.as_slice());
    let outcome = publish::<B>(call, &action, &mut context).await;
    if let Some(command) = &action.dispose {
        dispose(command.expose(), &context).await;
    }
    let (backend, app) = outcome?;
    let answered = app.write().map_err(Error::from).and_then(|answer| print(&answer));
    if answered.is_err() {
        withdraw(&backend, &action, &app, &context).await;
    }
    answered
}

async fn publish<B: StorageBackend>(
    call: &Call<MarketAction>,
    action: &ImportAction,
    context: &mut Context,
) -> Result<(B, ImportedApp), Error> {
    call.check_id(action.app.id.0)?;
    open_output()?;
    let backend = connect::<B>(&action.marketplace, context).await?;
    let app = pipeline::import(&backend, action, context).await?;
    Ok((backend, app))
}

/// Removes an app whose answer was not delivered: `oned` will never know of it.
async fn withdraw<B: StorageBackend>(
    backend: &B,
    action: &ImportAction,
    app: &ImportedApp,
    context: &Context,
) {
    match pipeline::delete_source(backend, action.app.id, &app.source).await {
        Ok(_) => context.log.warn("the answer could not be delivered: the app was removed again"),
        Err(error) => context
            .log
            .error(format_args!("the answer could not be delivered, and the app stays: {error}")),
    }
}

async fn delete<B: StorageBackend>(
    call: &Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = DeleteAction::decode(&call.dump)?;
    call.check_id(action.app.id.0)?;
    let backend = connect::<B>(&action.marketplace, &mut context).await?;
    pipeline::delete(&backend, &action, &context).await
}
