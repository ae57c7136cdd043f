//! A small HTTP/1.1 server on a free loopback port: it serves what a test tells it to, correctly or
//! wrongly.
//!
//! ```
//! use market_testkit::http::{HttpServer, Reply};
//!
//! let server = HttpServer::start(|_, nth| match nth {
//!     0 => Reply::bytes(vec![7; 1000]).cut_after(400),
//!     _ => Reply::bytes(vec![7; 1000]),
//! });
//! assert!(server.url("/image").starts_with("http://127.0.0.1:"));
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first byte that a `Range` asks for.
    pub fn range_start(&self) -> Option<u64> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What is sent back, and how it goes wrong.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    announced: Announced,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Body {
    Bytes(Arc<[u8]>),
    /// A file from an offset on. It is open from the beginning: whoever removes it meanwhile takes
    /// nothing from the reply.
    File(Arc<File>, u64),
}

#[derive(Clone, Copy, Debug)]
enum Announced {
    Truth,
    Bytes(u64),
    Nothing,
    Chunked,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Whole,
    CutAfter(u64),
    StallAfter(u64),
}

impl Reply {
    /// 200 with these bytes.
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        let body = Body::Bytes(Arc::from(body.into()));
        Self {
            status: 200,
            headers: Vec::new(),
            body,
            announced: Announced::Truth,
            fate: Fate::Whole,
        }
    }

    /// 200 with a file's bytes; 404 when there is none.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let file = File::open(path.into())
            .ok()
            .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()));
        match file {
            Some(file) => Self { body: Body::File(Arc::new(file), 0), ..Self::bytes([]) },
            None => Self::status(404),
        }
    }

    /// Another status, without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::bytes([]) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Honours a `Range` whose `If-Range` is this ETag, as a good server does.
    #[must_use]
    pub fn ranged(mut self, request: &Request, etag: &str) -> Self {
        let total = self.length();
        if let (Some(start), Some(true)) =
            (request.range_start(), request.header("if-range").map(|tag| tag == etag))
        {
            self.status = 206;
            self.body = match self.body {
                Body::Bytes(bytes) => Body::Bytes(bytes[usize::try_from(start).unwrap()..].into()),
                Body::File(file, _) => Body::File(file, start),
            };
            self = self.header("Content-Range", format!("bytes {start}-{}/{total}", total - 1));
        }
        self.header("ETag", etag)
    }

    /// 206 instead of 200, whatever was asked for.
    #[must_use]
    pub fn into_partial(mut self) -> Self {
        self.status = 206;
        self
    }

    /// Announces another length than the true one.
    #[must_use]
    pub fn announcing(mut self, bytes: u64) -> Self {
        self.announced = Announced::Bytes(bytes);
        self
    }

    /// Announces no length: the end of the connection is the end of the body.
    #[must_use]
    pub fn unannounced(mut self) -> Self {
        self.announced = Announced::Nothing;
        self
    }

    /// Sends the body in chunks.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.announced = Announced::Chunked;
        self
    }

    /// Closes the connection after this many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.fate = Fate::CutAfter(bytes);
        self
    }

    /// Sends nothing more after this many bytes of the body, and keeps the connection open.
    #[must_use]
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.fate = Fate::StallAfter(bytes);
        self
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(file, offset) => {
                file.metadata().map_or(0, |metadata| metadata.len()) - offset
            }
        }
    }
}

/// A running server. It accepts no more connections when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    /// Starts a server. `answer` gives the reply to a request, and gets the number of requests
    /// before it.
    ///
    /// # Panics
    /// When no port of loopback is free.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let closing = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let (accept_closing, accept_requests) = (Arc::clone(&closing), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accept_closing.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (answer, closing, requests) =
                    (answer.clone(), accept_closing.clone(), accept_requests.clone());
                std::thread::spawn(move || {
                    // An error means that the client has gone.
                    let _ = serve(&stream, &*answer, &requests, &closing);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, closing, requests }
    }

    /// Starts a server for the files of a directory, with ranges. A name that begins with a dot or
    /// leads out of the directory is 404.
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self::start(move |request, _| {
            let name = request.path.trim_start_matches('/').split('?').next().unwrap_or_default();
            if name.is_empty() || name.starts_with('.') || name.contains("..") {
                return Reply::status(404);
            }
            let path = root.join(name);
            let etag = format!("\"{}\"", path.metadata().map_or(0, |metadata| metadata.len()));
            Reply::file(path).ranged(request, &etag)
        })
    }

    /// The URL of a path on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The address on loopback that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in the order in which they came.
    ///
    /// # Panics
    /// When a thread of the server has panicked.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

type Answer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

fn serve(
    stream: &TcpStream,
    answer: &Answer,
    requests: &Mutex<Vec<Request>>,
    closing: &AtomicBool,
) -> io::Result<()> {
    let Some(request) = read_request(stream)? else { return Ok(()) };
    let nth = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    let reply = answer(&request, nth);
    let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.announced {
        Announced::Truth => head.push_str(&format!("Content-Length: {}\r\n", reply.length())),
        Announced::Bytes(bytes) => head.push_str(&format!("Content-Length: {bytes}\r\n")),
        Announced::Nothing => {}
        Announced::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    let mut out = stream;
    out.write_all(head.as_bytes())?;
    out.write_all(b"\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let limit = match reply.fate {
        Fate::Whole => u64::MAX,
        Fate::CutAfter(bytes) | Fate::StallAfter(bytes) => bytes,
    };
    send(&reply, limit, out)?;
    if matches!(reply.fate, Fate::StallAfter(_)) {
        stall(stream, closing);
    }
    Ok(())
}

fn send(reply: &Reply, limit: u64, mut out: &TcpStream) -> io::Result<()> {
    let chunked = matches!(reply.announced, Announced::Chunked);
    match &reply.body {
        Body::Bytes(bytes) if chunked => {
            let sent = &bytes[..usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len())];
            for chunk in sent.chunks(64 << 10) {
                write!(out, "{:x}\r\n", chunk.len())?;
                out.write_all(chunk)?;
                out.write_all(b"\r\n")?;
            }
            if limit == u64::MAX { out.write_all(b"0\r\n\r\n") } else { Ok(()) }
        }
        Body::Bytes(bytes) => {
            out.write_all(&bytes[..usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len())])
        }
        Body::File(file, offset) => {
            let (mut at, end) = (*offset, offset.saturating_add(limit));
            let mut buffer = vec![0; 64 << 10];
            loop {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read_at(&mut buffer[..most], at)?;
                if count == 0 {
                    return Ok(());
                }
                out.write_all(&buffer[..count])?;
                at += count as u64;
            }
        }
    }
}

fn stall(stream: &TcpStream, closing: &AtomicBool) {
    // Until the client gives up or the test is over.
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut byte = [0];
    let mut reader = stream;
    while !closing.load(Ordering::SeqCst) {
        match reader.read(&mut byte) {
            Ok(_) => return,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn read_request(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ');
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Request { method, path, headers }))
}
