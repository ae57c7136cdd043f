#![doc = include_str!("../README.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test part fails its test"
)]

pub mod conformance;
pub mod driver;
pub mod dump;
pub mod guest;
pub mod http;
pub mod image;
pub mod memory;
pub mod oned;
pub mod proxy;
pub mod require;
#[cfg(feature = "s3")]
pub mod s3;
pub mod seeds;
pub mod shell;
pub mod sshd;

use market_core::backend::Context;
use market_core::log::Log;
use market_core::stop::StopSwitch;
use market_core::transfer::{Error, Options, Piece, Source, hex};
use md5::{Digest, Md5};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// The context of a backend in a test: a log in memory, no request to stop, no pause between
/// retries, and an idle time-out of 5 seconds.
pub fn context() -> Context {
    let options = Options::default()
        .with_first_pause(Duration::ZERO)
        .with_idle_timeout(Duration::from_secs(5));
    Context::new(Log::memory("test"), StopSwitch::new().listen(), options)
}

/// The MD5 of bytes.
pub fn md5(bytes: &[u8]) -> market_core::checksum::Md5 {
    Md5::digest(bytes).0.into()
}

/// The MD5 of bytes, in lower-case hexadecimal.
pub fn md5_hex(bytes: &[u8]) -> String {
    md5(bytes).to_string()
}

/// The MD5 of a file of any size, in lower-case hexadecimal.
///
/// # Errors
/// What the file system reports.
pub fn md5_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&md5.finalize())),
            count => md5.update(&buffer[..count]),
        }
    }
}

/// Waits until something is so, for a minute at most; it is looked at every 5 milliseconds.
///
/// # Panics
/// After a minute; `what` is in the message.
///
/// ```
/// market_testkit::wait_until("a directory for temporary files", || std::env::temp_dir().is_dir());
/// ```
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a future on a runtime of its own.
///
/// # Panics
/// When there is no runtime to be had.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// All bytes of a source, with zeros for holes.
///
/// # Errors
/// Those of the source.
///
/// # Panics
/// When it has more than fits in memory.
pub async fn read_to_end(source: &mut Source) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = source.next().await? {
        match piece {
            Piece::Data(data) => bytes.extend_from_slice(&data),
            Piece::Hole(length) => {
                bytes.resize(bytes.len() + usize::try_from(length).expect("a small hole"), 0)
            }
        }
    }
    Ok(bytes)
}

/// Pseudo-random numbers (xorshift), the same for the same seed. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a bound; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Pseudo-random bytes, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
