//! The backend: a bucket of an S3 service.

use crate::config::{self, UploadConfig};
use crate::deleter::delete_object;
use crate::failure::{error, is_bucket_missing};
use crate::key::{AppKeys, S3Key, belongs_to};
use crate::lister;
use crate::publisher::S3Upload;
use crate::uploads;
use crate::writer::Writer;
use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, Proof, ProofKind, Published,
    Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, ErrorKind as FailureKind, Piece, Source, redacted};
use market_s3::{Bucket, MAX_OBJECT_BYTES, ObjectUrl, S3Attributes};
use std::fmt;

/// A marketplace in a bucket: `MARKET_MAD = "s3"` (docs/s3.md).
pub struct S3Market {
    bucket: Bucket,
    keys: AppKeys,
    total: MiB,
    upload: UploadConfig,
    log: Log,
}

impl fmt::Debug for S3Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, keys, total, .. } = self;
        f.debug_struct("S3Market")
            .field("bucket", bucket)
            .field("keys", keys)
            .field("total", total)
            .finish_non_exhaustive()
    }
}

impl MarketBackend for S3Market {
    type Config = S3Attributes;

    const MAD: &'static str = "s3";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "OpenNebula marketplace driver for buckets of any S3 service.";

    async fn connect(attributes: S3Attributes, context: &Context) -> Result<Self, Error> {
        let access = attributes.access()?;
        let bucket = Bucket::new(&access, attributes.bucket.trim(), &context.options)?;
        config::check_signature_version(&attributes, &context.log);
        Ok(Self {
            bucket,
            keys: AppKeys::new(attributes.app_prefix.as_deref()),
            total: config::total(&attributes)?,
            upload: UploadConfig::new(&attributes, context)?,
            log: context.log.clone(),
        })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        let used = match self.used_bytes().await? {
            Some(used) => used,
            None => {
                let name = self.bucket.name();
                self.log
                    .info(format_args!("there is no bucket {name} yet: the first import makes it"));
                0
            }
        };
        let used = MiB::containing(used);
        let free = MiB(self.total.0.saturating_sub(used.0).max(0));
        Ok(MonitorReport::of_space(used, free, self.total))
    }
}

impl S3Market {
    /// What the apps take; `None` when there is no bucket yet.
    async fn used_bytes(&self) -> Result<Option<u64>, Error> {
        match lister::used_bytes(&self.bucket, &self.keys).await {
            Ok(used) => Ok(Some(used)),
            Err(failure) if is_bucket_missing(&self.bucket, &failure) => Ok(None),
            Err(failure) => Err(error(&self.bucket, "", failure)),
        }
    }

    fn object(&self, key: &str) -> ObjectUrl {
        ObjectUrl::new(self.bucket.name(), key)
    }

    /// The configured bucket, or the one that an app was made in earlier.
    fn bucket_of(&self, key: &S3Key) -> Result<Bucket, Error> {
        if key.bucket() == self.bucket.name() {
            return Ok(self.bucket.clone());
        }
        Ok(Bucket::new(self.bucket.access(), key.bucket(), &self.upload.options)?)
    }

    /// Refuses a key that is taken. Where there is no bucket yet, it is free.
    async fn must_be_free(&self, key: &str) -> Result<(), Error> {
        match self.bucket.retried(|| self.bucket.head(key)).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let cause = "already exists; nothing was replaced";
                let error = Error::new(ErrorKind::Exists, self.bucket.subject(key), cause);
                Err(error
                    .remedy("remove it if no app has it (see gc), or choose another APP_PREFIX"))
            }
            Err(failure) if is_bucket_missing(&self.bucket, &failure) => Ok(()),
            Err(failure) => Err(error(&self.bucket, key, failure)),
        }
    }

    /// Refuses what cannot be the object of an app.
    fn check_object(&self, object: &ObjectUrl, app: AppId) -> Result<(), String> {
        if !belongs_to(object.key(), app) {
            return Err(format!("names no object of app {app}: its key does not end in -{app}"));
        }
        if self.bucket.access().bucket_url(object.bucket()).is_err() {
            return Err("names no bucket".to_owned());
        }
        if !object.is_addressable() {
            return Err("has a key that cannot be asked for".to_owned());
        }
        Ok(())
    }
}

impl StorageBackend for S3Market {
    type Upload = S3Upload;
    type Key = S3Key;

    fn capabilities(&self) -> Capabilities {
        // Most services refuse to replace; Ceph up to version 16, for one, ignores the condition.
        Capabilities::new(Staging::Invisible, Create::Checked, ProofKind::Size)
            .with_largest_object(MAX_OBJECT_BYTES)
            .with_staged_listed()
    }

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        let used = self.used_bytes().await?.unwrap_or_default();
        Ok(Some(self.total.bytes().saturating_sub(used)))
    }

    async fn stage(&self, app: AppId, length: Length, _: Option<u64>) -> Result<S3Upload, Error> {
        let key = self.keys.of(app);
        config::check_prefix(&self.object(&key))?;
        // Until something is made, nothing has to be waited for.
        self.upload.stop.or(self.must_be_free(&key)).await?;
        let writer = Writer::new(self.bucket.clone(), key, length, self.upload.clone());
        writer.await.map(S3Upload::new)
    }

    async fn write(&self, upload: &mut S3Upload, piece: Piece) -> Result<(), Error> {
        upload.writer.write(piece).await
    }

    async fn finish(&self, upload: &mut S3Upload) -> Result<(), Error> {
        upload.writer.finish().await
    }

    async fn seal(&self, upload: &mut S3Upload, digests: &Digests) -> Result<Proof, Error> {
        upload.md5 = digests.md5;
        upload.writer.prove().await.map(Proof::Bytes)
    }

    async fn publish(&self, upload: &mut S3Upload) -> Published {
        upload.publish().await
    }

    async fn resolve(&self, upload: &mut S3Upload) -> Published {
        upload.resolve().await
    }

    async fn discard(&self, upload: S3Upload) -> Result<(), Error> {
        upload.abort().await
    }

    fn locate(&self, source: &SourceUrl, app: Option<AppId>) -> Result<S3Key, Error> {
        let refused = |cause: String| {
            let subject = format!("SOURCE {}", redacted(source.as_str()));
            Error::new(ErrorKind::Denied, subject, cause).remedy("nothing was touched")
        };
        let object: ObjectUrl = source
            .as_str()
            .parse()
            .map_err(|_| refused("names no object of an S3 marketplace".to_owned()))?;
        match app {
            Some(app) => self.check_object(&object, app).map_err(refused)?,
            None if object.bucket() == self.bucket.name() => {}
            None => return Err(refused("names no object of BUCKET".to_owned())),
        }
        Ok(S3Key::object(object))
    }

    async fn delete(&self, key: &S3Key) -> Result<Deleted, Error> {
        let (bucket, configured) = (self.bucket_of(key)?, self.bucket.name());
        if bucket.name() != configured {
            self.log.warn(format_args!(
                "the app is in another bucket than BUCKET ({configured}); its keys are tried"
            ));
        }
        delete_object(&bucket, key.key(), &self.log).await
    }

    async fn open(&self, key: &S3Key) -> Result<Option<Source>, Error> {
        let bucket = self.bucket_of(key)?;
        match bucket.open_object(key.key(), &self.upload.options).await {
            Ok(source) => Ok(Some(source)),
            Err(absent) if absent.kind == FailureKind::Absent => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<S3Key>)) -> Result<(), Error> {
        lister::list(&self.bucket, &self.keys, sink).await
    }

    async fn remove(&self, object: &StoredObject<S3Key>) -> Result<Deleted, Error> {
        let key = &object.key;
        match key.upload_id() {
            None => delete_object(&self.bucket, key.key(), &self.log).await,
            Some(id) => {
                let existed = uploads::abort(&self.bucket, key.key(), id, false, None).await?;
                Ok(Deleted::from_existed(existed))
            }
        }
    }
}
