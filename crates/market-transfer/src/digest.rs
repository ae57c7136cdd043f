//! Digests, each on a thread of its own, so that hashing overlaps with reading and writing.

use crate::{Piece, start_thread};
use market_checksum::{Algorithm, Checksum, DigestSet, Digests, Md5, Sha1, Sha256};
use md5::Digest;
use md5::digest::Output;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Computes digests of what it is given, in order.
pub struct Digester {
    bytes: u64,
    threads: Vec<Thread>,
}

/// One that computes one digest.
struct Thread {
    queue: mpsc::Sender<Job>,
    /// What the thread will tell, or why there is none.
    outcome: io::Result<oneshot::Receiver<io::Result<Checksum>>>,
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

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digester").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Digester {
    /// Starts a thread for each digest. They end when this is dropped. When one cannot be started,
    /// [`finish`](Self::finish) says so.
    pub fn start(wanted: DigestSet) -> Self {
        Self { bytes: 0, threads: wanted.iter().map(Thread::start).collect() }
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
        let mut all = Digests::new(self.bytes);
        // All of them end, before one is waited for.
        let outcomes: Vec<_> = self.threads.into_iter().map(|thread| thread.outcome).collect();
        for outcome in outcomes {
            let checksum = outcome?
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the hashing thread died")))?;
            all = all.with(checksum);
        }
        Ok(all)
    }
}

impl Thread {
    fn start(algorithm: Algorithm) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (done, outcome) = oneshot::channel();
        let started = start_thread("digests", move || {
            let checksum = digest(algorithm, jobs, &done);
            drop(done.send(checksum));
        });
        Self { queue, outcome: started.map(|_| outcome) }
    }
}

/// What the thread does; `done` tells when nobody wants to know any more.
fn digest(
    algorithm: Algorithm,
    jobs: mpsc::Receiver<Job>,
    done: &oneshot::Sender<io::Result<Checksum>>,
) -> io::Result<Checksum> {
    let given_up = || done.is_closed();
    Ok(match algorithm {
        Algorithm::Md5 => Md5::from(hash::<md5::Md5>(jobs, &given_up)?.0).into(),
        Algorithm::Sha1 => Sha1::from(hash::<sha1::Sha1>(jobs, &given_up)?.0).into(),
        Algorithm::Sha256 => Sha256::from(hash::<sha2::Sha256>(jobs, &given_up)?.0).into(),
        other => return Err(io::Error::other(format!("{other} is not computed here"))),
    })
}

/// The digest of all jobs; of some of them when it was given up, which nobody looks at.
fn hash<H: Digest>(
    mut jobs: mpsc::Receiver<Job>,
    given_up: &dyn Fn() -> bool,
) -> io::Result<Output<H>> {
    let mut hasher = H::new();
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Piece(Piece::Data(data)) => hasher.update(&data),
            Job::Piece(hole) => {
                hole.parts().take_while(|_| !given_up()).for_each(|part| hasher.update(part));
            }
            Job::Stretch(file, range) => hash_stretch(&mut hasher, &file, range, given_up)?,
        }
    }
    Ok(hasher.finalize())
}

fn hash_stretch(
    hasher: &mut impl Digest,
    file: &File,
    range: Range<u64>,
    given_up: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut position = range.start;
    while position < range.end && !given_up() {
        let wanted = usize::try_from(range.end - position).unwrap_or(READ_BYTES).min(READ_BYTES);
        file.read_exact_at(&mut buffer[..wanted], position)?;
        hasher.update(&buffer[..wanted]);
        position += wanted as u64;
    }
    Ok(())
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
