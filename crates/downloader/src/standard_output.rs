//! Bytes to standard output, or into a device or pipe: a thread writes, so that a reader who takes
//! his time holds up nothing else.

use market_core::error::{Error, ErrorKind};
use market_core::transfer::{Piece, Sink, start_thread};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use tokio::sync::{mpsc, oneshot};

/// Pieces that may wait for the reader.
const WAITING: usize = 4;

pub(crate) struct StandardOutput {
    pieces: Option<mpsc::Sender<Piece>>,
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

impl StandardOutput {
    pub(crate) fn open(stream: &impl AsFd) -> Result<Self, Error> {
        let file = stream.as_fd().try_clone_to_owned().map_err(|error| Error::io(NAME, &error))?;
        let (pieces, waiting) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        start_thread("output", move || drop(end.send(write_all(&mut File::from(file), waiting))))
            .map_err(|error| Error::io(NAME, &error))?;
        Ok(Self { pieces: Some(pieces), ended: Some(ended) })
    }

    /// Waits for the thread: how writing has ended.
    async fn end(&mut self) -> Result<(), Error> {
        self.pieces = None;
        let Some(ended) = self.ended.take() else { return Ok(()) };
        match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Error::new(ErrorKind::Cancelled, NAME, "nobody reads it any more"))
            }
            Ok(Err(error)) => Err(Error::io(NAME, &error)),
            Err(_) => Err(Error::new(ErrorKind::Failed, NAME, "the writing thread died")),
        }
    }
}

const NAME: &str = "the output";

fn write_all(output: &mut File, mut pieces: mpsc::Receiver<Piece>) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        for part in piece.parts() {
            output.write_all(part)?;
        }
    }
    // A device holds what is kept, as a file does; what a pipe or a terminal is given is gone.
    if output.metadata()?.file_type().is_block_device() { output.sync_all() } else { Ok(()) }
}

impl Sink for StandardOutput {
    type Error = Error;

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        // The thread has ended: it knows why.
        if sent { Ok(()) } else { self.end().await }
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.end().await
    }
}
