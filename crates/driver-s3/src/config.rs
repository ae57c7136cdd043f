//! What the template of the marketplace asks for, checked.

use market_core::backend::Context;
use market_core::error::Error;
use market_core::log::Log;
use market_core::model::MiB;
use market_core::stop::Stop;
use market_core::template::{Rules, Writer};
use market_core::transfer::Options;
use market_s3::{
    InvalidHeader, MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, ObjectOptions, ObjectUrl,
    S3Attributes,
};

/// The longest key of S3, in bytes.
const MAX_KEY_BYTES: usize = 1_024;

/// Storage classes that keep objects where no export can read them.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// How imports are stored, and what they need of the process.
#[derive(Clone)]
pub(crate) struct UploadConfig {
    /// The size of a part in bytes; by the length of the image when it is not set.
    pub(crate) part_bytes: Option<u64>,
    /// The most parts of an upload; found out when it is not set.
    pub(crate) max_parts: Option<u64>,
    /// What new objects are stored with.
    pub(crate) object: ObjectOptions,
    /// How an object is read back.
    pub(crate) options: Options,
    pub(crate) stop: Stop,
    pub(crate) log: Log,
}

impl UploadConfig {
    /// Checks the attributes about uploads.
    pub(crate) fn new(attributes: &S3Attributes, context: &Context) -> Result<Self, Error> {
        let log = context.log.clone();
        let part_mib = attributes.read_length.or(attributes.readx_length);
        Ok(Self {
            part_bytes: part_mib.map(|mib| part_bytes(mib, &log)),
            max_parts: attributes.max_parts.map(max_parts).transpose()?,
            object: object_options(attributes)?,
            options: context.options.clone(),
            stop: context.stop.clone(),
            log,
        })
    }
}

/// The quota.
pub(crate) fn total(attributes: &S3Attributes) -> Result<MiB, Error> {
    let Some(mib) = attributes.total_mb else { return Ok(S3Attributes::DEFAULT_TOTAL) };
    i64::try_from(mib).map(MiB).map_err(|_| Error::config("TOTAL_MB", "is too large"))
}

/// Warns of what the template asks for and no request does.
pub(crate) fn check_signature_version(attributes: &S3Attributes, log: &Log) {
    let version = attributes.signature_version.as_deref().unwrap_or("v4").trim();
    if !version.eq_ignore_ascii_case("v4") {
        log.warn("SIGNATURE_VERSION: requests are signed in version 4 all the same");
    }
}

/// Refuses a prefix whose keys cannot be asked for, or be answered to the core. It must not be
/// imported under; monitor and delete go on with what is there.
pub(crate) fn check_prefix(object: &ObjectUrl) -> Result<(), Error> {
    let key = object.key();
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::config("APP_PREFIX", "is longer than a key may be"));
    }
    let plain = |segment: &str| !matches!(segment, "" | "." | "..");
    if !key.split('/').all(plain) || key.contains(char::is_control) {
        let cause =
            "begins with a slash, or has an empty segment, \".\" or \"..\", or a control character";
        return Err(Error::config("APP_PREFIX", cause)
            .remedy("choose another one; apps that are there can still be deleted"));
    }
    let source = Writer::new(Rules::Oned).single("SOURCE", object.to_string());
    source.map_err(|error| Error::config("APP_PREFIX", error.reason.to_string()))
}

/// The stock driver never looks at it, so that templates may hold anything.
fn part_bytes(mib: u64, log: &Log) -> u64 {
    let bytes = mib.saturating_mul(1 << 20);
    let usable = bytes.clamp(MIN_PART_BYTES, MAX_PART_BYTES);
    if usable != bytes {
        let used = usable >> 20;
        log.warn(format_args!("READ_LENGTH: parts have 5 to 5120 MiB; {used} MiB are used"));
    }
    usable
}

fn max_parts(parts: u64) -> Result<u64, Error> {
    let usable = (1..=MAX_PARTS).contains(&parts);
    usable.then_some(parts).ok_or_else(|| Error::config("MAX_PARTS", "is not between 1 and 10000"))
}

fn object_options(attributes: &S3Attributes) -> Result<ObjectOptions, Error> {
    type Setter = fn(ObjectOptions, &str) -> Result<ObjectOptions, InvalidHeader>;
    let settings: [(&str, Setter, &Option<String>); 3] = [
        ("STORAGE_CLASS", ObjectOptions::with_storage_class, &attributes.storage_class),
        (
            "SERVER_SIDE_ENCRYPTION",
            ObjectOptions::with_server_side_encryption,
            &attributes.server_side_encryption,
        ),
        ("SSE_KMS_KEY_ID", ObjectOptions::with_sse_kms_key_id, &attributes.sse_kms_key_id),
    ];
    let mut options = ObjectOptions::default();
    for (attribute, set, value) in settings {
        let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) else {
            continue;
        };
        if attribute == "STORAGE_CLASS" && ARCHIVES.contains(&value) {
            return Err(Error::config(attribute, "keeps objects where no export can read them"));
        }
        options =
            set(options, value).map_err(|error| Error::config(attribute, error.to_string()))?;
    }
    Ok(options)
}
