//! `qemu-img`, the one program that writes images in every format of QEMU's. It is never given an image that names another file:
//! those are refused before.

use crate::backend::Context;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use market_transfer::Process;
use std::ffi::OsStr;
use std::io;
use std::time::Duration;
use tokio::process::Command;

/// How long it may be silent: it says nothing while it works.
const PATIENCE: Duration = Duration::from_secs(12 * 3_600);

/// Runs `qemu-img` until it ends well; it is killed when the context asks to stop. Paths must be absolute: others may be taken for
/// the names of protocols.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when it is not installed, [`ErrorKind::Failed`] with its own words when it fails.
pub async fn qemu_img<S: AsRef<OsStr>>(arguments: &[S], context: &Context) -> Result<(), Error> {
    // What it was to do, without the paths, which are temporaries.
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    let words: Vec<_> = words.filter(|word| !word.starts_with('/') && word != "-q").collect();
    let subject = format!("qemu-img {}", words.join(" "));
    let mut command = Command::new("qemu-img");
    command.args(arguments);
    let fail = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::Unsupported, &subject, "qemu-img is not installed").remedy("install qemu-utils")
        }
        _ => Error::io(subject.as_str(), error),
    };
    let run = async {
        let mut process = Process::start(command, PATIENCE).map_err(|error| fail(&error))?;
        process.close_input();
        while process.read().await.map_err(|error| fail(&error))?.is_some() {}
        let ended = process.wait().await.map_err(|error| fail(&error))?;
        if ended.status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Failed, &subject, one_line(&ended.cause())))
    };
    context.stop.or(run).await
}
