#![doc = include_str!("../README.md")]

mod bridge;
mod config;
mod copy;
mod expected;
mod export;
mod local;
mod restricted;

pub use config::FsConfig;
pub use copy::{Placed, copy};
pub use export::export;
pub use restricted::Directories;

use market_core::action::{CopyAction, ExportAction};
use market_core::backend::Context;
use market_core::error::Error;
use market_core::opennebula::Helpers;
use market_core::runtime::{Call, Program, open_output, print};

/// The two actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say where an image's bytes are, and what they are.
    Export,
    /// Fetch an image.
    Copy,
}

/// The executable.
pub const PROGRAM: Program<'static, Action> = Program::new(
    "datastore-fs",
    env!("CARGO_PKG_VERSION"),
    "The marketplace side of an OpenNebula file datastore.",
    &[("export", Action::Export), ("cp", Action::Copy)],
)
.with_dump_on_stdin();

/// Runs an action and prints its answer.
///
/// # Errors
/// What stands in the way; then nothing is printed, and a copy is removed.
pub async fn act(call: Call<Action>, mut context: Context) -> Result<(), Error> {
    match call.action {
        Action::Export => {
            let action = ExportAction::decode(&call.dump)?;
            let info = export(&action, call.id, &context).await?;
            print(info.write()?.as_bytes())
        }
        Action::Copy => {
            let action = CopyAction::decode(&call.dump)?;
            call.check_id(action.image.id)?;
            open_output()?;
            context.options = Helpers::give_message(context.options, call.dump);
            let placed = copy(&action, &context).await?;
            let printed =
                placed.image.write().map_err(Error::from).and_then(|line| print(line.as_bytes()));
            if printed.is_err() {
                match placed.take_back().await {
                    Ok(()) => context
                        .log
                        .warn("the answer could not be delivered: the copy was removed again"),
                    Err(error) => {
                        context.log.error(format_args!(
                            "the answer could not be delivered, and the copy stays: {error}"
                        ));
                    }
                }
            }
            printed
        }
    }
}
