//! What of a bucket is the marketplace's: the objects of its apps, and their multipart uploads in
//! progress.

use crate::failure::error;
use crate::key::{AppKeys, S3Key};
use market_core::backend::StoredObject;
use market_core::error::{Error, ErrorKind};
use market_core::model::AppId;
use market_core::transfer::ErrorKind as FailureKind;
use market_s3::{Bucket, ListedObject, ListedUpload, ObjectUrl, S3Error};

/// What the apps take, in bytes; foreign objects do not count.
pub(crate) async fn used_bytes(bucket: &Bucket, keys: &AppKeys) -> Result<u64, S3Error> {
    let mut used = 0_u64;
    let mut add = |object: ListedObject, _: AppId| used = used.saturating_add(object.bytes);
    apps(bucket, keys, &mut add).await?;
    Ok(used)
}

/// Tells of all objects of apps, and then of all multipart uploads in progress.
pub(crate) async fn list(
    bucket: &Bucket,
    keys: &AppKeys,
    sink: &mut dyn FnMut(StoredObject<S3Key>),
) -> Result<(), Error> {
    let fail = |failure| error(bucket, "", failure);
    let url = |key: String| ObjectUrl::new(bucket.name(), key);
    let mut published = |object: ListedObject, app| {
        let key = S3Key::object(url(object.key));
        sink(StoredObject::published(key, object.bytes, object.age).of_app(app));
    };
    apps(bucket, keys, &mut published).await.map_err(fail)?;
    for upload in uploads(bucket, keys).await? {
        let Some(app) = keys.app(&upload.key) else { continue };
        let parts = match bucket.list_parts(&upload.key, &upload.id).await {
            Ok(parts) => parts,
            // Completed or aborted in the meantime.
            Err(failure) if failure.is_no_such_upload() => continue,
            // That it was created is all that is known of it.
            Err(failure) if failure.is_unsupported_list_of_parts() => Vec::new(),
            Err(failure) => return Err(fail(failure)),
        };
        // What was written last counts: an import may take days.
        let age = parts.iter().map(|part| part.age).fold(upload.age, std::cmp::Ord::min);
        let bytes = parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
        let key = S3Key::upload(url(upload.key), upload.id);
        sink(StoredObject::staged(key, bytes, age).of_app(app));
    }
    Ok(())
}

/// Tells of every object whose key is an app's.
async fn apps(
    bucket: &Bucket,
    keys: &AppKeys,
    sink: &mut dyn FnMut(ListedObject, AppId),
) -> Result<(), S3Error> {
    let mut of_apps = |object: ListedObject| {
        if let Some(app) = keys.app(&object.key) {
            sink(object, app);
        }
    };
    bucket.list_objects(keys.prefix(), |key| keys.app(key).is_some(), &mut of_apps).await
}

async fn uploads(bucket: &Bucket, keys: &AppKeys) -> Result<Vec<ListedUpload>, Error> {
    let listed = bucket.list_uploads(keys.prefix(), |key| keys.app(key).is_some()).await;
    listed.map_err(|failure| {
        let unsupported = failure.is_unsupported_request() || failure.kind() == FailureKind::Denied;
        let error = error(bucket, "", failure);
        let subject = format!("the multipart uploads of {}", error.subject);
        // All objects have been told.
        let kind = if unsupported { ErrorKind::Unsupported } else { error.kind };
        error.with_kind(kind).with_subject(subject)
    })
}
