//! A marketplace in a directory of its own, as the executable and a web server see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use market_core::transfer::PIECE_BYTES;
use market_testkit::dump::Dump;
use market_testkit::{Random, md5_hex};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-http");
pub const BASE_URL: &str = "http://market.example:8080/";

/// PUBLIC_DIR, and room beside it.
pub struct Market {
    pub directory: TempDir,
}

impl Market {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("public")).unwrap();
        Self { directory }
    }

    pub fn public(&self) -> PathBuf {
        self.directory.path().join("public")
    }

    pub fn dump(&self) -> Dump {
        Dump::of_market(&[("BASE_URL", BASE_URL), ("PUBLIC_DIR", self.public().to_str().unwrap())])
    }

    /// A message to import these bytes, which are put into a file.
    pub fn import_of(&self, bytes: &[u8]) -> Dump {
        let path = self.directory.path().join("image");
        fs::write(&path, bytes).unwrap();
        self.import_from(path.to_str().unwrap(), &md5_hex(bytes))
    }

    pub fn import_from(&self, source: &str, md5: &str) -> Dump {
        Dump { import_source: source.to_owned(), md5: md5.to_owned(), ..self.dump() }
    }

    /// The files that a web server could see by their names.
    pub fn visible(&self) -> Vec<PathBuf> {
        files(&self.public())
    }

    /// What imports have staged; nothing before the first one has made the directory.
    pub fn staged(&self) -> Vec<PathBuf> {
        let staging = self.public().join(".market-staging");
        if staging.exists() { files(&staging) } else { Vec::new() }
    }

    pub fn assert_nothing(&self) {
        assert_eq!(self.visible(), Vec::<PathBuf>::new(), "something is visible");
        assert_eq!(self.staged(), Vec::<PathBuf>::new(), "something is left staged");
    }

    /// Every visible file is whole and right.
    pub fn assert_all_whole(&self, md5: &str) {
        for file in self.visible() {
            assert_eq!(md5_hex(&fs::read(&file).unwrap()), md5, "{}", file.display());
        }
    }

    /// Waits until `import` has staged so many bytes; whether it has, and has not ended before.
    pub fn wait_for_staged(&self, import: &mut Child, bytes: u64) -> bool {
        let staged = || self.staged().iter().any(|path| size(path) >= bytes);
        wait_for(import, "staged bytes", staged)
    }
}

/// The most that an import has received and not yet staged, in bytes: a few pieces.
pub const IN_MEMORY: u64 = 4 * PIECE_BYTES as u64;

/// How much of `length` bytes a source sends before it stands still: more than an import keeps in
/// memory, so that something is staged, and not all.
pub fn stalls_at(random: &mut Random, length: usize) -> u64 {
    let least = IN_MEMORY + 1;
    least + random.below(length as u64 - least)
}

/// The size of a file that may go at any moment.
fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.size())
}

/// Waits for something that `child` does; whether it has done it, and has not ended before.
///
/// # Panics
/// After two minutes.
pub fn wait_for(child: &mut Child, what: &str, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        // In this order: what has been done is seen although the child has ended since.
        let ended = child.try_wait().unwrap().is_some();
        if done() {
            return true;
        }
        if ended {
            return false;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::yield_now();
    }
}

/// The regular files of a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    // One may go while they are looked at.
    entries.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file())).collect()
}
