//! The backend: a bucket of an S3 service.

use crate::key::{self, Keys, S3Key};
use crate::listing;
use crate::parts::{LARGEST_OBJECT_BYTES, LARGEST_PART_BYTES, MAX_PARTS, SMALLEST_PART_BYTES};
use crate::unfinished;
use crate::upload::{Terms, Upload};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use market_core::attributes::{S3Attributes, s3_remedy};
use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, Proof, ProofKind, Published,
    Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::report::MonitorReport;
use market_core::stop::Stop;
use market_core::template::{Rules, Writer};
use market_core::transfer::s3::{Bucket, Reason, S3Error, S3Scheme};
use market_core::transfer::{Digests, ErrorKind as FailureKind, Options, Piece, Source, redacted};
use std::sync::Arc;

/// A marketplace in a bucket.
pub struct S3Market {
    bucket: Arc<Bucket>,
    keys: Keys,
    total: MiB,
    part_bytes: Option<u64>,
    most_parts: Option<u64>,
    /// What new objects are sent with.
    headers: HeaderMap,
    options: Options,
    stop: Stop,
    log: Log,
}

/// An import under way.
pub struct S3Upload(Upload);

/// A failure as an error about an object, or about the bucket when the key is empty; and what can
/// be done.
pub(crate) fn error(bucket: &Bucket, key: &str, failure: S3Error) -> Error {
    let remedy = s3_remedy(&failure, bucket);
    let error = Error::from(failure.about(bucket.subject(key)));
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

impl MarketBackend for S3Market {
    type Config = S3Attributes;

    const MAD: &'static str = "s3";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "OpenNebula marketplace driver for buckets of any S3 service.";

    async fn connect(config: S3Attributes, context: &Context) -> Result<Self, Error> {
        let access = config.access()?;
        let mut options = context.options.clone();
        options = options.with_scheme(S3Scheme::new(access.clone()));
        let bucket = Bucket::open(&access, config.bucket.trim(), &options)?;
        let keys = Keys::new(config.app_prefix.as_deref());
        let version = config.signature_version.as_deref().unwrap_or("v4").trim();
        if !version.eq_ignore_ascii_case("v4") {
            context.log.warn("SIGNATURE_VERSION: requests are signed in version 4 all the same");
        }
        Ok(Self {
            bucket: Arc::new(bucket),
            keys,
            total: config.total_mb.map_or(Ok(S3Attributes::TOTAL), total)?,
            part_bytes: config
                .read_length
                .or(config.readx_length)
                .map(|mib| part_bytes(mib, &context.log)),
            most_parts: config.max_parts.map(most_parts).transpose()?,
            headers: object_headers(&config)?,
            options,
            stop: context.stop.clone(),
            log: context.log.clone(),
        })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        let used = match self.used_bytes().await {
            Err(failure) if unfinished::is_to_be_made(&self.bucket, &failure) => {
                let name = self.bucket.name();
                self.log
                    .info(format_args!("there is no bucket {name} yet: the first import makes it"));
                0
            }
            used => used.map_err(|failure| error(&self.bucket, "", failure))?,
        };
        let used = MiB::containing(used);
        let free = MiB(self.total.0.saturating_sub(used.0).max(0));
        Ok(MonitorReport::of_space(used, free, self.total))
    }
}

/// What cannot be answered, or be asked for, must not be imported. Monitor and delete go on with
/// what there is.
fn check_prefix(bucket: &Bucket, key: &str) -> Result<(), Error> {
    if key.len() > 1_024 {
        return Err(Error::config("APP_PREFIX", "is longer than a key may be"));
    }
    bucket.path(key).map_err(|_| {
        let cause =
            "begins with a slash, or has an empty segment, \".\" or \"..\", or a control character";
        Error::config("APP_PREFIX", cause)
            .remedy("choose another one; apps that are there can still be deleted")
    })?;
    let source = source(bucket, key);
    let source = Writer::new(Rules::Oned).single("SOURCE", source.as_str());
    source.map_err(|error| Error::config("APP_PREFIX", error.reason.to_string()))
}

fn source(bucket: &Bucket, key: &str) -> SourceUrl {
    S3Key::new(bucket.name(), key).source()
}

fn total(mib: u64) -> Result<MiB, Error> {
    i64::try_from(mib).map(MiB).map_err(|_| Error::config("TOTAL_MB", "is too large"))
}

/// The stock driver never looked at it, so that templates may hold anything.
fn part_bytes(mib: u64, log: &Log) -> u64 {
    let bytes = mib.saturating_mul(1 << 20);
    let usable = bytes.clamp(SMALLEST_PART_BYTES, LARGEST_PART_BYTES);
    if usable != bytes {
        log.warn(format_args!(
            "READ_LENGTH: parts have 5 to 5120 MiB; {} MiB are used",
            usable >> 20
        ));
    }
    usable
}

fn most_parts(parts: u64) -> Result<u64, Error> {
    let usable = (1..=MAX_PARTS).contains(&parts);
    usable.then_some(parts).ok_or_else(|| Error::config("MAX_PARTS", "is not between 1 and 10000"))
}

/// What the template asks for of new objects.
fn object_headers(config: &S3Attributes) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (attribute, header, value) in [
        ("STORAGE_CLASS", "x-amz-storage-class", &config.storage_class),
        ("SERVER_SIDE_ENCRYPTION", "x-amz-server-side-encryption", &config.server_side_encryption),
        ("SSE_KMS_KEY_ID", "x-amz-server-side-encryption-aws-kms-key-id", &config.sse_kms_key_id),
    ] {
        let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) else {
            continue;
        };
        if attribute == "STORAGE_CLASS" && matches!(value, "GLACIER" | "DEEP_ARCHIVE") {
            return Err(Error::config(attribute, "keeps objects where no export can read them"));
        }
        let plain = value.bytes().all(|b| b.is_ascii_graphic());
        let value = HeaderValue::from_str(value).ok().filter(|_| plain);
        headers.insert(
            header,
            value.ok_or_else(|| {
                Error::config(attribute, "holds what no request can be sent with")
            })?,
        );
    }
    Ok(headers)
}

impl S3Market {
    /// What the apps take; foreign objects do not count.
    async fn used_bytes(&self) -> Result<u64, S3Error> {
        let mut used = 0_u64;
        let mut add = |object: listing::Object| used = used.saturating_add(object.bytes);
        listing::list(&self.bucket, &self.keys, &mut add).await?;
        Ok(used)
    }

    /// The object of a SOURCE; anything that is not the app's is refused.
    fn named(&self, source: &SourceUrl, app: Option<AppId>) -> Result<S3Key, Error> {
        let refused = |cause: &str| {
            let subject = format!("SOURCE {}", redacted(source.as_str()));
            let error = Error::new(ErrorKind::Denied, subject, cause);
            error.remedy("nothing was touched")
        };
        let (bucket, key) = key::of_source(source.as_str())
            .ok_or_else(|| refused("names no object of an S3 marketplace"))?;
        let Some(app) = app else {
            return if bucket == self.bucket.name() {
                Ok(S3Key::new(&bucket, &key))
            } else {
                Err(refused("names no object of BUCKET"))
            };
        };
        if !key::belongs_to(&key, app) {
            return Err(refused(&format!(
                "names no object of app {app}: its key does not end in -{app}"
            )));
        }
        self.bucket.access().bucket_url(&bucket).map_err(|_| refused("names no bucket"))?;
        if !key::can_be_asked_for(&key) {
            return Err(refused("has a key that cannot be asked for"));
        }
        Ok(S3Key::new(&bucket, &key))
    }

    /// The configured bucket, or the one that an app was made in earlier.
    fn bucket_of(&self, name: &str) -> Result<Arc<Bucket>, Error> {
        if name == self.bucket.name() {
            return Ok(Arc::clone(&self.bucket));
        }
        let configured = self.bucket.name();
        self.log.warn(format_args!(
            "the app is in another bucket than BUCKET ({configured}); its keys are tried"
        ));
        Ok(Arc::new(Bucket::open(self.bucket.access(), name, &self.options)?))
    }
}

impl StorageBackend for S3Market {
    type Upload = S3Upload;
    type Key = S3Key;

    fn capabilities(&self) -> Capabilities {
        // Most services refuse to replace; Ceph up to version 16, for one, ignores the condition.
        Capabilities::new(Staging::Invisible, Create::Checked, ProofKind::Size)
            .with_largest_object(LARGEST_OBJECT_BYTES)
            .with_staged_listed()
    }

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        let used = match self.used_bytes().await {
            Ok(used) => used,
            Err(failure) if unfinished::is_to_be_made(&self.bucket, &failure) => 0,
            Err(failure) => return Err(error(&self.bucket, "", failure)),
        };
        Ok(Some(self.total.bytes().saturating_sub(used)))
    }

    async fn stage(&self, app: AppId, length: Length, _: Option<u64>) -> Result<S3Upload, Error> {
        let key = self.keys.of(app);
        check_prefix(&self.bucket, &key)?;
        // Until something is made, nothing has to be waited for.
        self.stop.or(unfinished::must_be_free(&self.bucket, &key)).await?;
        let terms = Terms {
            part_bytes: self.part_bytes,
            most_parts: self.most_parts,
            headers: self.headers.clone(),
            options: self.options.clone(),
            stop: self.stop.clone(),
            log: self.log.clone(),
        };
        Upload::begin(Arc::clone(&self.bucket), key, length, terms).await.map(S3Upload)
    }

    async fn write(&self, staged: &mut S3Upload, piece: Piece) -> Result<(), Error> {
        staged.0.write(piece).await
    }

    async fn finish(&self, staged: &mut S3Upload) -> Result<(), Error> {
        staged.0.finish().await
    }

    async fn seal(&self, staged: &mut S3Upload, digests: &Digests) -> Result<Proof, Error> {
        staged.0.md5 = digests.md5;
        staged.0.prove().await.map(Proof::Bytes)
    }

    async fn publish(&self, staged: &mut S3Upload) -> Published {
        staged.0.complete(&source(&self.bucket, &staged.0.key)).await
    }

    async fn resolve(&self, staged: &mut S3Upload) -> Published {
        staged.0.resolve(&source(&self.bucket, &staged.0.key), self.options.retry.first_pause).await
    }

    async fn discard(&self, staged: S3Upload) -> Result<(), Error> {
        staged.0.abort().await
    }

    fn locate(&self, source: &SourceUrl, app: Option<AppId>) -> Result<S3Key, Error> {
        self.named(source, app)
    }

    async fn delete(&self, key: &S3Key) -> Result<Deleted, Error> {
        remove_object(&*self.bucket_of(&key.bucket)?, &key.object, &self.log).await
    }

    async fn open(&self, key: &S3Key) -> Result<Option<Source>, Error> {
        match Source::open(key.source().as_str(), &self.options).await {
            Ok(source) => Ok(Some(source)),
            Err(absent) if absent.kind == FailureKind::Absent => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<S3Key>)) -> Result<(), Error> {
        let fail = |failure| error(&self.bucket, "", failure);
        let mut published = |object: listing::Object| {
            let listing::Object { app, key, bytes, age } = object;
            let key = S3Key::new(self.bucket.name(), &key);
            sink(StoredObject::published(key, bytes, age).of_app(app));
        };
        listing::list(&self.bucket, &self.keys, &mut published).await.map_err(fail)?;
        let uploads = listing::uploads(&self.bucket, &self.keys).await.map_err(|failure| {
            let listed = failure.is_unknown_request() || failure.kind == FailureKind::Denied;
            let error = fail(failure);
            let subject = format!("the unfinished uploads of {}", error.subject);
            // All objects have been told.
            let kind = if listed { ErrorKind::Unsupported } else { error.kind };
            error.with_kind(kind).with_subject(subject)
        })?;
        for upload in uploads {
            let Some(app) = self.keys.app(&upload.key) else { continue };
            let parts = match listing::parts(&self.bucket, &upload.key, &upload.id).await {
                Ok(parts) => parts,
                // Finished in the meantime.
                Err(failure) if unfinished::is_gone(&failure) => continue,
                // What was begun is all that is known of it.
                Err(failure) if unfinished::lists_no_parts(&failure) => Vec::new(),
                Err(failure) => return Err(fail(failure)),
            };
            // What was written last counts: an import may take days.
            let age = parts.iter().map(|part| part.age).fold(upload.age, std::cmp::Ord::min);
            let bytes = parts.iter().map(|part| part.bytes).sum();
            let key = S3Key::new(self.bucket.name(), &upload.key);
            let key = S3Key { upload: Some(upload.id), ..key };
            sink(StoredObject::staged(key, bytes, age).of_app(app));
        }
        Ok(())
    }

    async fn remove(&self, object: &StoredObject<S3Key>) -> Result<Deleted, Error> {
        let S3Key { object: key, upload, .. } = &object.key;
        match upload {
            None => remove_object(&self.bucket, key, &self.log).await,
            Some(id) => {
                let was_there = unfinished::abort(&self.bucket, key, id, false, None).await?;
                Ok(Deleted::from_existed(was_there))
            }
        }
    }
}

/// Removes an object. A service says nothing of whether there was one, so it is looked for before
/// and after.
pub(crate) async fn remove_object(bucket: &Bucket, key: &str, log: &Log) -> Result<Deleted, Error> {
    let fail = |failure| error(bucket, key, failure);
    if unfinished::find(bucket, key).await.map_err(fail)?.is_none() {
        return Ok(Deleted::Absent);
    }
    let delete = || bucket.send(Method::DELETE, key, &[], HeaderMap::new(), Bytes::new());
    let accepted = match bucket.retried(delete).await {
        // Some say so when an earlier answer was lost; what is true is looked for.
        Err(failure) if failure.status == Some(404) => false,
        deleted => deleted.map(|_| true).map_err(fail)?,
    };
    let gone = || async {
        match unfinished::find_once(bucket, key).await? {
            None => Ok(()),
            Some(_) => Err(S3Error::unsettled(
                "the service says that it has deleted the object, and still has it",
            )),
        }
    };
    match bucket.retried(gone).await {
        // It was found before, and is not any more: this is the place.
        Err(failure) if accepted && failure.reason == Reason::StillListed => {
            let subject = bucket.subject(key);
            log.warn(format_args!(
                "{subject} was deleted and is not found any more; the service still lists it"
            ));
        }
        gone => gone.map_err(fail)?,
    }
    Ok(Deleted::Removed)
}
