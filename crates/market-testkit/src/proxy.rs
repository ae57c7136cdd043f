//! A TCP proxy that breaks connections as a test plans it, and a SOCKS proxy.
//!
//! ```
//! use market_testkit::http::{HttpServer, Reply};
//! use market_testkit::proxy::{Break, Proxy};
//!
//! let server = HttpServer::start(|_, _| Reply::bytes(vec![7; 1000]));
//! let first_is_reset = |nth| if nth == 0 { Break::Reset(400) } else { Break::Never };
//! let proxy = Proxy::start(server.address(), first_is_reset);
//! assert_ne!(proxy.port(), server.address().port());
//! ```

use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a connection is broken. Bytes are those of both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Not at all.
    Never,
    /// It is reset after this many bytes.
    Reset(u64),
    /// It is closed in order after this many bytes.
    Close(u64),
    /// It stays open after this many bytes, and transfers nothing more.
    Stall(u64),
    /// It is not broken, but slow: this many bytes a millisecond, each in one write.
    Slow(usize),
}

/// A running proxy. It accepts no more connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy in front of an address. `fate` says how a connection is broken, by the number
    /// of connections before it.
    ///
    /// # Panics
    /// When no port of loopback is free.
    pub fn start(target: SocketAddr, fate: impl Fn(usize) -> Break + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let closing = Arc::new(AtomicBool::new(false));
        let accepting = Arc::clone(&closing);
        std::thread::spawn(move || {
            for (nth, stream) in listener.incoming().enumerate() {
                if accepting.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (stream, TcpStream::connect(target)) else {
                    continue;
                };
                connect(client, server, fate(nth), &accepting);
            }
        });
        Self { address, closing }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// A SOCKS 5 proxy (RFC 1928) without authentication, which records the hosts of all requests. It
/// accepts no more connections when it is dropped.
///
/// ```
/// let proxy = market_testkit::proxy::Socks::start();
/// assert!(proxy.asked().is_empty() && proxy.port() > 0);
/// ```
#[derive(Debug)]
pub struct Socks {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Starts the proxy. Whatever host a request names, the connection goes to this machine.
    ///
    /// # Panics
    /// When no port of loopback is free.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let (closing, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (accepting, hears) = (Arc::clone(&closing), Arc::clone(&asked));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok((server, host)) = negotiate(&client) {
                    hears.lock().expect("a list").push(host);
                    connect(client, server, Break::Never, &accepting);
                }
            }
        });
        Self { address, closing, asked }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The host names and addresses of all requests.
    ///
    /// # Panics
    /// When the proxy's thread has panicked.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a list").clone()
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// RFC 1928: the methods, the request, and an answer that names no address.
fn negotiate(client: &TcpStream) -> std::io::Result<(TcpStream, String)> {
    let read = |count: usize| {
        let mut bytes = vec![0; count];
        let mut client = client;
        client.read_exact(&mut bytes).map(|()| bytes)
    };
    let write = |bytes: &[u8]| {
        let mut client = client;
        client.write_all(bytes)
    };
    let methods = usize::from(read(2)?[1]);
    read(methods)?;
    write(&[5, 0])?;
    let host = match read(4)?[3] {
        3 => {
            let length = usize::from(read(1)?[0]);
            String::from_utf8_lossy(&read(length)?).into_owned()
        }
        1 => read(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        _ => {
            std::net::Ipv6Addr::from(<[u8; 16]>::try_from(read(16)?).expect("16 bytes")).to_string()
        }
    };
    let port = read(2)?;
    let server = TcpStream::connect(("127.0.0.1", u16::from_be_bytes([port[0], port[1]])))?;
    write(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok((server, host))
}

/// What the two directions of a connection share.
#[derive(Default)]
struct Shared {
    moved: AtomicU64,
    /// The connection is to be reset: it is closed with SO_LINGER 0.
    reset: AtomicBool,
}

fn connect(client: TcpStream, server: TcpStream, fate: Break, closing: &Arc<AtomicBool>) {
    let shared = Arc::new(Shared::default());
    let ends = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
    for (from, to) in ends {
        let (Ok(from), Ok(to)) = (from, to) else { return };
        let (shared, closing) = (Arc::clone(&shared), Arc::clone(closing));
        std::thread::spawn(move || forward(from, to, fate, &shared, &closing));
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    fate: Break,
    shared: &Shared,
    closing: &AtomicBool,
) {
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    let mut buffer = vec![0; if let Break::Slow(bytes) = fate { bytes.max(1) } else { 16 << 10 }];
    while !closing.load(Ordering::SeqCst) && !shared.reset.load(Ordering::SeqCst) {
        let count = match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                continue;
            }
            Err(_) => break,
        };
        let before = shared.moved.fetch_add(count as u64, Ordering::SeqCst);
        let left =
            |limit: u64| usize::try_from(limit.saturating_sub(before)).unwrap_or(count).min(count);
        match fate {
            Break::Reset(limit) if before + count as u64 > limit => {
                let _ = to.write_all(&buffer[..left(limit)]);
                for end in [&from, &to] {
                    let _ = set_socket_linger(end, Some(Duration::ZERO));
                }
                shared.reset.store(true, Ordering::SeqCst);
            }
            Break::Close(limit) if before + count as u64 > limit => {
                let _ = to.write_all(&buffer[..left(limit)]);
                break;
            }
            Break::Stall(limit) if before + count as u64 > limit => {
                let _ = to.write_all(&buffer[..left(limit)]);
                stall(&from, closing);
                break;
            }
            _ => {
                if matches!(fate, Break::Slow(_)) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
    }
    if shared.reset.load(Ordering::SeqCst) {
        return;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Until the other end gives up, or the test is over; what it still sends is left where it is.
fn stall(from: &TcpStream, closing: &AtomicBool) {
    let mut byte = [0];
    while !closing.load(Ordering::SeqCst) {
        match from.peek(&mut byte) {
            Ok(0) => return,
            // Waiting for what is never taken.
            Ok(_) => std::thread::sleep(Duration::from_millis(20)),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
    }
}
