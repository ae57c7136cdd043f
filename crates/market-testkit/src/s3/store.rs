//! Files as objects, and what the file store lacks: the list of multipart uploads in progress, parts
//! with ETags and in pages, completion that is atomic, and the right refusals.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput,
    ETag, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
    ListPartsOutput, MultipartUpload, Part, PutObjectInput, PutObjectOutput, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// The most uploads or parts of one page of a list.
const PAGE: usize = 1_000;

pub(super) struct Store {
    files: FileSystem,
    root: PathBuf,
    uploads: Uploads,
    /// One completion at a time: two are never both the first.
    completing: tokio::sync::Mutex<()>,
}

/// The condition of a request is not looked at.
#[derive(Clone)]
pub(super) struct Unconditional;

/// The uploads in progress, by their ids.
pub(super) type Uploads = Arc<Mutex<BTreeMap<String, Upload>>>;

pub(super) struct Upload {
    bucket: String,
    key: String,
    initiated: SystemTime,
    parts: BTreeMap<i32, StoredPart>,
}

struct StoredPart {
    etag: ETag,
    size: i64,
    written: SystemTime,
}

impl Store {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            files: FileSystem::new(root).expect("a directory"),
            root: root.to_owned(),
            uploads: Uploads::default(),
            completing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn uploads(&self) -> Uploads {
        Arc::clone(&self.uploads)
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.uploads.lock().expect("no panic")
    }

    fn known(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let uploads = self.list();
        match uploads.get(id) {
            Some(upload) if upload.bucket == bucket && upload.key == key => Ok(()),
            _ => Err(s3_error!(NoSuchUpload)),
        }
    }

    fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.root.join(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }
}

/// The part that a file was written as has the size of the file.
fn part_path(root: &Path, id: &str, number: i32) -> PathBuf {
    root.join(format!(".upload_id-{id}.part-{number}"))
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(req).await
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(req).await
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn put_object(
        &self,
        mut req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let _one = self.completing.lock().await;
        if req.extensions.get::<Unconditional>().is_some() {
            req.input.if_none_match = None;
        }
        self.files.put_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files
            .list_objects_v2(
                req.map_input(|input| ListObjectsV2Input { encoding_type: None, ..input }),
            )
            .await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.has_bucket(&bucket)?;
        let created = self.files.create_multipart_upload(req).await?;
        let id = created.output.upload_id.clone().unwrap_or_default();
        self.list().insert(
            id,
            Upload { bucket, key, initiated: SystemTime::now(), parts: BTreeMap::new() },
        );
        Ok(created)
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        self.known(&req.input.bucket, &req.input.key, &id)?;
        let stored = self.files.upload_part(req).await?;
        let size =
            part_path(&self.root, &id, number).metadata().map_or(0, |metadata| metadata.len());
        let part = StoredPart {
            etag: stored.output.e_tag.clone().ok_or_else(|| s3_error!(InternalError))?,
            size: i64::try_from(size).unwrap_or_default(),
            written: SystemTime::now(),
        };
        match self.list().get_mut(&id) {
            Some(upload) => drop(upload.parts.insert(number, part)),
            // It was given up in the meantime.
            None => drop(std::fs::remove_file(part_path(&self.root, &id, number))),
        }
        Ok(stored)
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput { bucket, key, upload_id, part_number_marker, .. } = req.input;
        self.known(&bucket, &key, &upload_id)?;
        let uploads = self.list();
        let upload = uploads.get(&upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let after = part_number_marker.unwrap_or(0);
        let mut rest = upload.parts.range(after + 1..);
        let parts: Vec<Part> = rest
            .by_ref()
            .take(PAGE)
            .map(|(number, part)| Part {
                part_number: Some(*number),
                e_tag: Some(part.etag.clone()),
                size: Some(part.size),
                last_modified: Some(Timestamp::from(part.written)),
                ..Part::default()
            })
            .collect();
        let next = parts.last().and_then(|part| part.part_number);
        let output = ListPartsOutput {
            is_truncated: Some(rest.next().is_some()),
            next_part_number_marker: next,
            parts: Some(parts),
            ..ListPartsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let ListMultipartUploadsInput { bucket, prefix, key_marker, upload_id_marker, .. } =
            req.input;
        self.has_bucket(&bucket)?;
        let prefix = prefix.unwrap_or_default();
        let after = (key_marker.unwrap_or_default(), upload_id_marker.unwrap_or_default());
        let uploads = self.list();
        let mut found: Vec<_> = uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket && upload.key.starts_with(&prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.initiated))
            .filter(|(key, id, _)| (key, id) > (&after.0, &after.1))
            .collect();
        found.sort();
        let is_truncated = found.len() > PAGE;
        found.truncate(PAGE);
        let last = found.last().cloned();
        let uploads = found.into_iter().map(|(key, id, initiated)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(Timestamp::from(initiated)),
            ..MultipartUpload::default()
        });
        let output = ListMultipartUploadsOutput {
            is_truncated: Some(is_truncated),
            next_key_marker: last.as_ref().map(|(key, _, _)| key.clone()),
            next_upload_id_marker: last.map(|(_, id, _)| id),
            uploads: Some(uploads.collect()),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _one = self.completing.lock().await;
        if req.extensions.get::<Unconditional>().is_some() {
            req.input.if_none_match = None;
        }
        let (bucket, key, id) =
            (req.input.bucket.clone(), req.input.key.clone(), req.input.upload_id.clone());
        self.known(&bucket, &key, &id)?;
        {
            let uploads = self.list();
            let upload = uploads.get(&id).ok_or_else(|| s3_error!(NoSuchUpload))?;
            for part in
                req.input.multipart_upload.iter().flat_map(|parts| parts.parts.iter().flatten())
            {
                let stored = part.part_number.and_then(|number| upload.parts.get(&number));
                if stored.map(|stored| &stored.etag) != part.e_tag.as_ref() {
                    return Err(s3_error!(InvalidPart));
                }
            }
        }
        let completed = self.files.complete_multipart_upload(req).await?;
        self.list().remove(&id);
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let _one = self.completing.lock().await;
        let id = req.input.upload_id.clone();
        self.known(&req.input.bucket, &req.input.key, &id)?;
        let aborted = self.files.abort_multipart_upload(req).await?;
        self.list().remove(&id);
        Ok(aborted)
    }
}
