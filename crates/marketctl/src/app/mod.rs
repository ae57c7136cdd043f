//! `marketctl app`.

mod attributes;
mod build;
mod description;
mod entry;
mod entry_template;
mod meaning;
mod validate;
mod vm_template;
mod vocabulary;
mod xen;

use crate::cli::AppTask;
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::runtime::print;
use market_core::transfer::run_on_thread;
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::path::Path;

/// The largest description or list of entries that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Runs a command; whether what it looked at is as it should be.
pub(crate) async fn run(task: AppTask, context: &Context) -> Result<bool, Error> {
    match task {
        AppTask::Build(arguments) => build::build(arguments, context).await.map(|()| true),
        AppTask::Validate { files, format } => {
            apart(context, move || validate::validate(&files, format)).await
        }
        AppTask::Convert { file, image } => {
            let name = file.display().to_string();
            let converted = xen::convert(&read(&file)?, image.as_deref(), &name)?;
            converted
                .left_out
                .iter()
                .for_each(|left| context.log.warn(format_args!("{name}: {left}")));
            print(&converted.template).map(|()| true)
        }
    }
}

/// Reads what may be large on a thread of its own, so that a signal ends the wait.
async fn apart<T: Send + 'static>(
    context: &Context,
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let reading = run_on_thread("entries", read);
    let lost = |error: std::io::Error| Error::io("the entries", &error);
    context.stop.or(async { reading.await.map_err(lost)? }).await
}

/// A text of moderate size.
fn read(path: &Path) -> Result<String, Error> {
    let name = path.display().to_string();
    let fail = |error: std::io::Error| Error::io(&*name, &error);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
    let file = std::fs::File::from(file);
    // A pipe would make us wait, and no signal ends that.
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Error::new(ErrorKind::Usage, name, "is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::Usage, name, format!("has more than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::Usage, name, "is no UTF-8 text"))
}
