//! S3 servers: one in this process that may misbehave, and a gateway of Ceph.
//!
//! ```
//! use market_testkit::s3::S3Server;
//!
//! let server = S3Server::start();
//! server.create_bucket("apps");
//! assert!(server.endpoint().starts_with("http://127.0.0.1:"));
//! assert!(server.keys("apps").is_empty());
//! ```

mod ceph;
mod store;

pub use ceph::CephGateway;

use crate::dump::owned;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::host::SingleDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::{Store, Unconditional, Uploads};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The id of the one access key that the servers know.
pub const ACCESS_KEY_ID: &str = "MARKETTESTKEYID00000";
/// The secret access key that belongs to it.
pub const SECRET_ACCESS_KEY: &str = "market-test/hunter2+secret";
/// The domain that buckets may stand in front of.
pub const DOMAIN: &str = "s3.test";

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    #[default]
    Whole,
    /// It is not done, and refused with a status, a code, and a `Retry-After` in seconds.
    Refused(u16, &'static str, Option<u32>),
    /// It is done, and the connection ends without an answer.
    Lost,
    /// It is not done, and the connection ends without an answer.
    Dropped,
    /// It is done, and the answer ends in the middle of its body, or of its headers when there is
    /// no body.
    Truncated,
    /// It is done, and the answer tells another ETag.
    WrongETag,
    /// One bit of its body is another one when it arrives.
    Flipped,
    /// It is done as if it carried no condition.
    Unconditional,
    /// Nothing is done before [`S3Server::release`]; then that becomes of it. Nothing at all when
    /// the client goes away before.
    Held(Box<Fate>),
    /// It is done, and not answered before [`S3Server::release`].
    Unanswered,
    /// It is not done, and answered with a status and a body of that content.
    Says(u16, String),
    /// It is done, and the answer has one text in place of another.
    Rewritten(&'static str, &'static str),
}

impl Fate {
    /// It waits for [`S3Server::release`], and is done and answered then.
    pub fn held() -> Self {
        Self::Held(Box::default())
    }
}

/// A request that the server got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method: `GET`, `PUT` ..
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query; empty when there is none.
    pub query: String,
    /// The host that was asked for.
    pub host: String,
    /// Whether it has the condition that nothing may be replaced (`If-None-Match: *`).
    pub creates: bool,
    /// All headers.
    pub headers: HeaderMap,
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            host: header("host").to_owned(),
            creates: header("if-none-match") == "*",
            headers: request.headers().clone(),
        }
    }

    /// What is asked for, in a word or two: `"create upload"`, `"part"`, `"head"` ..
    pub fn what(&self) -> &'static str {
        let has =
            |word: &str| self.query.split('&').any(|pair| pair.split('=').next() == Some(word));
        match self.method.as_str() {
            "POST" if has("uploads") => "create upload",
            "POST" if has("uploadId") => "complete",
            "PUT" if has("partNumber") => "part",
            "PUT" if self.path.trim_matches('/').contains('/') => "put",
            "PUT" => "create bucket",
            "DELETE" if has("uploadId") => "abort",
            "DELETE" => "delete",
            "GET" if has("uploadId") => "list parts",
            "GET" if has("uploads") => "list uploads",
            "GET" if has("list-type") => "list",
            "GET" => "get",
            "HEAD" => "head",
            _ => "other",
        }
    }
}

type Judge = dyn Fn(&Seen, usize) -> Fate + Send + Sync;

/// A running server; it ends when it is dropped.
pub struct S3Server {
    address: SocketAddr,
    root: TempDir,
    uploads: Uploads,
    seen: Arc<Mutex<Vec<Seen>>>,
    holds: Arc<Holds>,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for S3Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Server")
            .field("address", &self.address)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Requests that wait to be released.
#[derive(Default)]
struct Holds {
    waiting: AtomicUsize,
    released: watch::Sender<()>,
}

impl Holds {
    async fn wait(&self) {
        struct Waiting<'a>(&'a AtomicUsize);

        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }

        let mut released = self.released.subscribe();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        let _ = released.changed().await;
    }
}

impl S3Server {
    /// Starts a server that behaves.
    pub fn start() -> Self {
        Self::start_with(|_, _| Fate::Whole)
    }

    /// Starts a server; `judge` decides what becomes of each request, and also gets the number of
    /// requests before it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(judge: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static) -> Self {
        Self::start_in(&std::env::temp_dir(), judge)
    }

    /// As [`start_with`](Self::start_with), with its files in a directory of that one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(
        directory: &Path,
        judge: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self::launch(directory, true, Box::new(judge))
    }

    /// Starts a server that behaves, and serves no hosts with buckets in front.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_without_hosts() -> Self {
        Self::launch(&std::env::temp_dir(), false, Box::new(|_, _| Fate::Whole))
    }

    fn launch(directory: &Path, hosts: bool, judge: Box<Judge>) -> Self {
        let root = tempfile::Builder::new()
            .prefix("market-s3-")
            .tempdir_in(directory)
            .expect("a directory");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = Store::new(root.path());
        let uploads = store.uploads();
        let mut builder = S3ServiceBuilder::new(store);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        if hosts {
            builder.set_host(SingleDomain::new(DOMAIN).expect("a domain"));
        }
        let listener =
            runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let holds = Arc::<Holds>::default();
        let front = Arc::new(Front {
            service: builder.build(),
            judge,
            seen: Arc::clone(&seen),
            holds: Arc::clone(&holds),
            count: AtomicUsize::new(0),
        });
        runtime.spawn(accept(listener, front));
        Self { address, root, uploads, seen, holds, runtime: Some(runtime) }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The template of a marketplace in a bucket, and more attributes.
    pub fn market(&self, bucket: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        market(&self.endpoint(), "default", bucket, more)
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create_bucket(&self, bucket: &str) {
        std::fs::create_dir(self.root.path().join(bucket)).expect("a bucket");
    }

    /// Puts an object there.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let path = self.path(bucket, key);
        std::fs::create_dir_all(path.parent().expect("a bucket")).expect("a directory");
        std::fs::write(path, bytes).expect("an object");
    }

    /// The file that holds an object.
    pub fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.path().join(bucket).join(key)
    }

    /// The bytes of an object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(bucket, key)).ok()
    }

    /// The keys in a bucket, without directories; none when there is no bucket.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let entries =
            std::fs::read_dir(self.root.path().join(bucket)).into_iter().flatten().flatten();
        let mut keys: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        keys.sort();
        keys
    }

    /// How many multipart uploads are in progress.
    ///
    /// # Panics
    /// When a request has panicked.
    pub fn uploads(&self) -> usize {
        self.uploads.lock().expect("no panic").len()
    }

    /// How many requests wait now, as [`Fate::Held`] and [`Fate::Unanswered`] have it.
    pub fn held(&self) -> usize {
        self.holds.waiting.load(Ordering::SeqCst)
    }

    /// Lets all requests go on that wait now.
    pub fn release(&self) {
        self.holds.released.send_replace(());
    }

    /// The requests so far.
    ///
    /// # Panics
    /// When a request has panicked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The template of an S3 marketplace with the keys of this module, and more attributes.
pub fn market(
    endpoint: &str,
    region: &str,
    bucket: &str,
    more: &[(&str, &str)],
) -> Vec<(String, String)> {
    let plain = [
        ("ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ("BUCKET", bucket),
        ("REGION", region),
        ("ENDPOINT", endpoint),
        ("FORCE_PATH_STYLE", "YES"),
    ];
    let kept = plain.iter().filter(|(name, _)| more.iter().all(|(other, _)| name != other));
    owned(&kept.chain(more).copied().collect::<Vec<_>>())
}

/// What stands in front of the service: it decides what becomes of each request.
struct Front {
    service: S3Service,
    judge: Box<Judge>,
    seen: Arc<Mutex<Vec<Seen>>>,
    holds: Arc<Holds>,
    count: AtomicUsize,
}

async fn accept(listener: TcpListener, front: Arc<Front>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let service = service_fn(|request| front.answer(request));
            // A client that goes away is the client's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is to be closed.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is to be closed")
    }
}

impl std::error::Error for Closed {}

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<s3s::Body>, Closed> {
        let seen = Seen::of(&request);
        let fate = (self.judge)(&seen, self.count.fetch_add(1, Ordering::SeqCst));
        self.seen.lock().expect("no panic").push(seen);
        let fate = match fate {
            Fate::Held(then) => {
                self.holds.wait().await;
                *then
            }
            fate => fate,
        };
        let request = match &fate {
            Fate::Dropped => return Err(Closed),
            Fate::Refused(status, code, pause) => {
                // As a server does that looks at the request before it refuses it.
                let _ = request.into_body().collect().await;
                return Ok(refusal(*status, code, *pause));
            }
            Fate::Says(status, text) => {
                let _ = request.into_body().collect().await;
                let mut response = Response::new(s3s::Body::from(Bytes::from(text.clone())));
                *response.status_mut() = StatusCode::from_u16(*status).expect("a status");
                return Ok(response);
            }
            Fate::Flipped => flipped(request).await?,
            _ => request.map(s3s::Body::from),
        };
        let mut request = request;
        if fate == Fate::Unconditional {
            // The condition is signed: it is the store that does not look at it.
            request.extensions_mut().insert(Unconditional);
        }
        // To its end, whether or not the client stays: what is half done is nothing that a service
        // leaves.
        let service = self.service.clone();
        let response = tokio::spawn(async move { service.call(request).await }).await;
        let response = response.map_err(|_| Closed)?.map_err(|_| Closed)?;
        if fate == Fate::Unanswered {
            self.holds.wait().await;
        }
        let (mut parts, body) = response.into_parts();
        match fate {
            Fate::Lost => Err(Closed),
            Fate::Truncated => {
                let bytes = body.collect().await.map_err(|_| Closed)?.to_bytes();
                let half = bytes.slice(..bytes.len() / 2);
                parts.headers.insert("content-length", HeaderValue::from(bytes.len().max(1)));
                parts.headers.remove("transfer-encoding");
                // Shorter than it says: the connection ends in the middle.
                let frames = futures_util::stream::iter([Ok(Frame::data(half)), Err(Closed)]);
                Ok(Response::from_parts(parts, s3s::Body::http_body(StreamBody::new(frames))))
            }
            Fate::Rewritten(from, to) => {
                let bytes = body.collect().await.map_err(|_| Closed)?.to_bytes();
                let text = String::from_utf8_lossy(&bytes).replace(from, to);
                parts.headers.remove("content-length");
                Ok(Response::from_parts(parts, s3s::Body::from(Bytes::from(text))))
            }
            Fate::WrongETag => {
                parts.headers.insert(
                    "etag",
                    HeaderValue::from_static("\"00000000000000000000000000000000\""),
                );
                Ok(Response::from_parts(parts, body))
            }
            _ => Ok(Response::from_parts(parts, body)),
        }
    }
}

async fn flipped(request: Request<Incoming>) -> Result<Request<s3s::Body>, Closed> {
    let (parts, body) = request.into_parts();
    let mut bytes = body.collect().await.map_err(|_| Closed)?.to_bytes().to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    Ok(Request::from_parts(parts, s3s::Body::from(Bytes::from(bytes))))
}

fn refusal(status: u16, code: &str, pause: Option<u32>) -> Response<s3s::Body> {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    let mut response = Response::new(s3s::Body::from(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Some(seconds) = pause {
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    response
}
