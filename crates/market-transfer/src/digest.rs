//! Digests, each on a thread of its own, so that hashing overlaps with reading and writing.

use crate::{Piece, start_thread};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Which digests are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestSet {
    /// MD5.
    pub md5: bool,
    /// SHA-1.
    pub sha1: bool,
    /// SHA-256.
    pub sha256: bool,
}

impl DigestSet {
    /// MD5 alone.
    pub const MD5: Self = Self { md5: true, sha1: false, sha256: false };
    const SHA1: Self = Self { md5: false, sha1: true, sha256: false };
    const SHA256: Self = Self { md5: false, sha1: false, sha256: true };

    /// Each of them alone.
    fn each(self) -> impl Iterator<Item = Self> {
        let all = [(self.md5, Self::MD5), (self.sha1, Self::SHA1), (self.sha256, Self::SHA256)];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, alone)| alone)
    }
}

/// Digests in lower-case hexadecimal, and how many bytes they cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Bytes, holes included.
    pub bytes: u64,
    /// MD5, when it was wanted.
    pub md5: Option<String>,
    /// SHA-1, when it was wanted.
    pub sha1: Option<String>,
    /// SHA-256, when it was wanted.
    pub sha256: Option<String>,
}

/// Computes digests of what it is given, in order.
pub struct Digester {
    bytes: u64,
    threads: Vec<Thread>,
}

/// One that computes one digest.
struct Thread {
    queue: mpsc::Sender<Job>,
    /// What the thread will tell, or why there is none.
    outcome: io::Result<oneshot::Receiver<io::Result<Digests>>>,
}

#[derive(Clone)]
enum Job {
    Piece(Piece),
    /// A stretch of a file that holds its bytes already.
    Stretch(Arc<File>, Range<u64>),
}

/// Jobs that may wait for the thread. Pieces are in memory, 4 MiB of them. Stretches are in the
/// system's cache, at most 1 GiB of them, where they should still be when their turn comes: a copy
/// is several times faster than its digest, and should be on its way to the disk long before that
/// is done.
const QUEUE: usize = 16;

/// Read at once from a stretch: stays in the processor's cache between reading and hashing.
const READ_BYTES: usize = 128 << 10;

impl Digester {
    /// Starts a thread for each digest. They end when this is dropped. When one cannot be started,
    /// [`finish`](Self::finish) says so.
    pub fn start(wanted: DigestSet) -> Self {
        Self { bytes: 0, threads: wanted.each().map(Thread::start).collect() }
    }

    /// Why a thread could not be started: then nothing needs to be added.
    pub(crate) fn started(&mut self) -> io::Result<()> {
        match self.threads.iter().position(|thread| thread.outcome.is_err()) {
            Some(at) => self.threads.swap_remove(at).outcome.map(drop),
            None => Ok(()),
        }
    }

    /// Adds a piece; waits while a thread is busy with earlier ones.
    pub async fn update(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.tell(Job::Piece(piece)).await;
    }

    /// Adds a stretch of a file; waits while a thread is busy with earlier ones.
    pub(crate) async fn update_stretch(&mut self, file: Arc<File>, range: Range<u64>) {
        self.bytes += range.end - range.start;
        self.tell(Job::Stretch(file, range)).await;
    }

    async fn tell(&self, job: Job) {
        for thread in &self.threads {
            // A thread ends early only on an error, which `finish` reports.
            let _ = thread.queue.send(job.clone()).await;
        }
    }

    /// The digests of everything.
    ///
    /// # Errors
    /// When a stretch could not be read, or a thread not be started.
    pub async fn finish(self) -> io::Result<Digests> {
        let mut all = Digests { bytes: self.bytes, ..Digests::default() };
        // All of them end, before one is waited for.
        let outcomes: Vec<_> = self.threads.into_iter().map(|thread| thread.outcome).collect();
        for outcome in outcomes {
            let one = outcome?
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the hashing thread died")))?;
            all.md5 = all.md5.or(one.md5);
            all.sha1 = all.sha1.or(one.sha1);
            all.sha256 = all.sha256.or(one.sha256);
        }
        Ok(all)
    }
}

impl Thread {
    fn start(wanted: DigestSet) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (done, outcome) = oneshot::channel();
        let started = start_thread("digests", move || {
            let digests = digests(wanted, jobs, &done);
            drop(done.send(digests));
        });
        Self { queue, outcome: started.map(|_| outcome) }
    }
}

/// What the thread does; `done` tells when nobody wants to know any more.
fn digests(
    wanted: DigestSet,
    mut jobs: mpsc::Receiver<Job>,
    done: &oneshot::Sender<io::Result<Digests>>,
) -> io::Result<Digests> {
    let mut hashes = Hashes {
        md5: wanted.md5.then(Md5::new),
        sha1: wanted.sha1.then(Sha1::new),
        sha256: wanted.sha256.then(Sha256::new),
    };
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Piece(Piece::Data(data)) => hashes.update(&data),
            Job::Piece(Piece::Hole(length)) => hashes.zeros(length, &|| done.is_closed()),
            Job::Stretch(file, range) => hashes.stretch(&file, range, &|| done.is_closed())?,
        }
    }
    Ok(hashes.finish())
}

struct Hashes {
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
}

impl Hashes {
    fn update(&mut self, data: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(data);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(data);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
    }

    fn zeros(&mut self, length: u64, given_up: &dyn Fn() -> bool) {
        let hole = Piece::Hole(length);
        for part in hole.parts().take_while(|_| !given_up()) {
            self.update(part);
        }
    }

    fn stretch(
        &mut self,
        file: &File,
        range: Range<u64>,
        given_up: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut position = range.start;
        while position < range.end && !given_up() {
            let wanted =
                usize::try_from(range.end - position).unwrap_or(READ_BYTES).min(READ_BYTES);
            file.read_exact_at(&mut buffer[..wanted], position)?;
            self.update(&buffer[..wanted]);
            position += wanted as u64;
        }
        Ok(())
    }

    fn finish(self) -> Digests {
        let Self { md5, sha1, sha256 } = self;
        Digests {
            bytes: 0,
            md5: md5.map(|md5| hex(&md5.finalize())),
            sha1: sha1.map(|sha1| hex(&sha1.finalize())),
            sha256: sha256.map(|sha256| hex(&sha256.finalize())),
        }
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
