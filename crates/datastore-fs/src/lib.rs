#![doc = include_str!("../README.md")]

mod bridge;
mod config;
mod copy;
mod expected;
mod export;
mod local;
mod request;
mod restricted;

pub use config::FsConfig;
pub use copy::{StoredImage, copy};
pub use export::export;
pub use restricted::Directories;

use market_core::action::{CopyAction, ExportAction};
use market_core::backend::Context;
use market_core::error::Error;
use market_core::opennebula::Helpers;
use market_core::runtime::{Call, Program, open_output, print};

/// An action of this executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `export`: tells where the bytes of an image are, and what they are.
    Export,
    /// `cp`: fetches an image into the datastore.
    Copy,
}

/// The executable: its names and its help text.
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
/// Those of [`export`] and [`copy`], and an answer that cannot be printed. Then no answer is
/// printed, and a copy is removed again.
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
            let stored = copy(&action, &context).await?;
            let answer = stored.answer().write().map_err(Error::from);
            let printed = answer.and_then(|line| print(line.as_bytes()));
            if printed.is_err() {
                remove_undelivered(stored, &context).await;
            }
            printed
        }
    }
}

async fn remove_undelivered(stored: StoredImage, context: &Context) {
    match stored.remove().await {
        Ok(()) => {
            context.log.warn("the answer could not be delivered: the copy was removed again");
        }
        Err(error) => context
            .log
            .error(format_args!("the answer could not be delivered, and the copy stays: {error}")),
    }
}
