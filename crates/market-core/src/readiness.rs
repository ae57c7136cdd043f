//! Checks whether an image is ready to be published, as the marketplace's attributes `IMAGE_CHECK`
//! and `IMAGE_CHECK_POLICY` ask for (docs/image-check.md).

use crate::action::{ImportAction, ImportInfo};
use crate::backend::Context;
use crate::configuration::{configuration, in_marketplace};
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use crate::model::{ImageType, Marketplace};
use ::image_check::{
    Declared, Finding, Group, Image, Options, Outcome, Policy, Report, check_head,
};
use market_transfer::{Source, run_on_thread};
use serde::Deserialize;
use std::fs::File;
use std::os::fd::AsRawFd;

/// What becomes of an image that is not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It is not checked.
    #[default]
    Off,
    /// It is published, and the log says what is wrong.
    Warn,
    /// It is refused.
    Enforce,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Attributes {
    image_check: Option<String>,
    image_check_policy: Option<String>,
}

impl Attributes {
    fn mode(&self) -> Result<Mode, Error> {
        let word = self.image_check.as_deref().unwrap_or_default().trim().to_lowercase();
        match word.as_str() {
            "" | "off" => Ok(Mode::Off),
            "warn" => Ok(Mode::Warn),
            "enforce" => Ok(Mode::Enforce),
            // The value is not shown: it may be anything that was put into the wrong attribute.
            _ => Err(Error::config("IMAGE_CHECK", "has to be warn, enforce or off")),
        }
    }

    fn policy(&self) -> Result<Policy, Error> {
        let name =
            self.image_check_policy.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.unwrap_or("opennebula");
        Policy::load(name)
            .map_err(|error| Error::config("IMAGE_CHECK_POLICY", one_line(&error.to_string())))
    }
}

/// Checks the attributes themselves: a monitor reports what is wrong with them, not only the next
/// import.
///
/// # Errors
/// [`ErrorKind::Config`], with the marketplace and the attribute.
pub(crate) fn check_attributes(marketplace: &Marketplace) -> Result<(), Error> {
    settings(marketplace).map(drop)
}

/// How a marketplace wants its images to be checked; `None` when it does not.
fn settings(marketplace: &Marketplace) -> Result<Option<(Mode, Policy)>, Error> {
    let attributes: Attributes = configuration(marketplace)?;
    let settings = match attributes.mode() {
        Ok(Mode::Off) => Ok(None),
        Ok(mode) => attributes.policy().map(|policy| Some((mode, policy))),
        Err(error) => Err(error),
    };
    settings.map_err(|error| in_marketplace(marketplace, error))
}

/// Checks an image that is about to be published, if the marketplace wants that.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the checks are enforced and one fails; [`ErrorKind::Config`] when
/// the attributes are wrong.
pub(crate) async fn check(
    action: &ImportAction,
    info: &ImportInfo,
    source: &Source,
    head: &[u8],
    context: &Context,
) -> Result<(), Error> {
    let Some((mode, policy)) = settings(&action.marketplace)? else { return Ok(()) };
    let options = options(policy, action, info);
    let checked = match source.file() {
        Some(file) => check_file(file, source.subject(), options, context).await,
        None => {
            context.log.info(
                "IMAGE_CHECK: of a stream the first 64 KiB are looked at, before the rest has come",
            );
            Ok(check_head(head, source.subject(), &options.policy, &options.declared))
        }
    };
    let mut report = match checked {
        // With warnings only, a check that cannot be made is a warning too.
        Err(error) if mode == Mode::Warn && error.kind != ErrorKind::Cancelled => {
            context.log.warn(format_args!("IMAGE_CHECK: {error}"));
            return Ok(());
        }
        checked => checked?,
    };
    if action.image.as_ref().is_some_and(|image| image.image_type != ImageType::Os) {
        drop_guest_checks_of_data(&mut report);
    }
    judge(&report, mode, context)
}

/// Removes the checks of an operating system from the report of an image that is none and holds
/// none: a CD, a disk of data, a kernel. An image that holds one is checked whatever its type: the
/// type can be changed, and the app be exported as an OS image.
fn drop_guest_checks_of_data(report: &mut Report) {
    let is_of_guest = |finding: &Finding| finding.group != Group::Container;
    if !report
        .findings
        .iter()
        .any(|finding| is_of_guest(finding) && finding.outcome != Outcome::Skip)
    {
        report.findings.retain(|finding| !is_of_guest(finding) && finding.id != "format-known");
    }
}

fn options(policy: Policy, action: &ImportAction, info: &ImportInfo) -> Options {
    let size =
        info.size.or(action.image.as_ref().map(|image| image.size)).filter(|size| size.0 > 0);
    let mut declared = Declared::default();
    if !info.format.is_empty() {
        declared = declared.with_format(&info.format);
    }
    if let Some(mib) = size.and_then(|size| u64::try_from(size.0).ok()) {
        declared = declared.with_size_mib(mib);
    }
    Options::default().with_policy(policy).with_declared(declared)
}

/// All checks, on a thread, so that a signal ends the action at once.
async fn check_file(
    file: &File,
    subject: &str,
    options: Options,
    context: &Context,
) -> Result<Report, Error> {
    // An open file of its own: looking for holes moves the position.
    let own = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|error| Error::io(subject, &error))?;
    let name = subject.to_owned();
    let checked =
        run_on_thread("image-check", move || Image::from_file(own, &name)?.check(&options));
    let fail = |cause: String| {
        Error::new(ErrorKind::Failed, subject, format!("could not be looked at: {cause}"))
    };
    let checked = async { checked.await.map_err(|error| fail(error.to_string())) };
    context.stop.or(checked).await?.map_err(|error| fail(error.cause().to_owned()))
}

fn judge(report: &Report, mode: Mode, context: &Context) -> Result<(), Error> {
    for finding in report.with(Outcome::Fail).chain(report.with(Outcome::Warn)) {
        context.log.warn(format_args!(
            "IMAGE_CHECK: {} {}: {}",
            finding.outcome.word(),
            finding.id,
            finding.found
        ));
    }
    let skipped: Vec<&Finding> = report.with(Outcome::Skip).collect();
    context.log.info(format_args!(
        "IMAGE_CHECK: {} of {} checks passed, {} could not be made{}",
        report.count(Outcome::Pass),
        report.findings.len(),
        skipped.len(),
        skipped.last().map_or_else(String::new, |finding| format!(" ({})", finding.found)),
    ));
    if mode == Mode::Warn {
        return Ok(());
    }
    if report.ran_out_of_time() {
        let cause = "could not be looked at in time, and IMAGE_CHECK is enforced";
        let error = Error::new(ErrorKind::Unsupported, &report.image, cause);
        return Err(error
            .remedy("import it again when the disk is less busy, or with IMAGE_CHECK=\"warn\""));
    }
    if report.is_ready() {
        return Ok(());
    }
    let failed: Vec<String> = report
        .with(Outcome::Fail)
        .map(|finding| format!("{} ({})", finding.id, finding.found))
        .collect();
    let cause = format!("is not ready to be published: {}", failed.join(", "));
    let remedy =
        "marketctl image check says how to repair it; IMAGE_CHECK=\"warn\" publishes it as it is";
    Err(Error::new(ErrorKind::Unsupported, &report.image, cause).remedy(remedy))
}
