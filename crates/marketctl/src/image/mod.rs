//! `marketctl image`.

mod info;
mod prepare;
mod table;

use crate::cli::{Check, Expected, Format, ImageTask};
use crate::fetch::{fetch, inspect};
use image_check::{Declared, Options, Policy, Report};
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::runtime::print;
use serde::Serialize;
use std::time::Duration;

/// How long an image is looked at where no option says it. Hashing takes what it takes.
pub(crate) const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Runs a command; whether what it looked at is as it should be.
pub(crate) async fn run(task: ImageTask, context: &Context) -> Result<bool, Error> {
    match task {
        ImageTask::Check(arguments) => check(arguments, context).await,
        ImageTask::Info(arguments) => info::info(arguments, context).await.map(|()| true),
        ImageTask::Prepare(arguments) => prepare::prepare(arguments, context).await,
    }
}

pub(crate) fn policy(name: &str) -> Result<Policy, Error> {
    Policy::load(name).map_err(|error| Error::new(ErrorKind::Usage, error.subject(), error.cause()))
}

impl Expected {
    pub(crate) fn declared(&self) -> Declared {
        let mut declared = Declared::default();
        declared.format.clone_from(&self.expect_format);
        declared.virtual_bytes = self.expect_size;
        declared.md5 = self.expect_md5;
        declared.sha256 = self.expect_sha256;
        declared
    }
}

async fn check(arguments: Check, context: &Context) -> Result<bool, Error> {
    let policy = policy(&arguments.policy)?;
    let declared = arguments.expected.declared();
    let fetched = fetch(&arguments.image, declared.has_checksum(), context).await?;
    let checksums = fetched.digests.clone();
    let options = Options::default()
        .with_policy(policy)
        .with_declared(declared)
        .with_checksums(checksums)
        .with_time_limit(Duration::from_secs(arguments.time_limit));
    let report = inspect(fetched.image, context, move |image| image.check(&options)).await?;
    let text = match arguments.format {
        _ if arguments.fix_script => report.repair_script(),
        Format::Table => table::report(&report),
        Format::Json => json(&report)?,
    };
    print(text.as_bytes())?;
    Ok(report.is_ready())
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::new(ErrorKind::Failed, "the report", error.to_string()))
}

/// A line for each finding that fails or warns.
fn problems(report: &Report) -> impl Iterator<Item = String> {
    use image_check::Outcome::{Fail, Warn};
    report
        .with(Fail)
        .chain(report.with(Warn))
        .map(|finding| format!("{}  {}: {}", finding.outcome.word(), finding.id, finding.found))
}
