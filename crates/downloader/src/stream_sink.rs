//! Writes to standard output, a device or a pipe. A thread of its own writes, so that a slow reader
//! blocks nothing else.

use market_core::error::{Error, ErrorKind};
use market_core::transfer::{Piece, Sink, start_thread};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use tokio::sync::{mpsc, oneshot};

/// How many pieces may wait to be written.
const MAX_WAITING_PIECES: usize = 4;

/// What a stream is called in messages.
const SUBJECT: &str = "the output";

/// A stream that pieces are written to in order.
pub(crate) struct StreamSink {
    pieces: Option<mpsc::Sender<Piece>>,
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

impl StreamSink {
    pub(crate) fn open(stream: &impl AsFd) -> Result<Self, Error> {
        let file =
            stream.as_fd().try_clone_to_owned().map_err(|error| Error::io(SUBJECT, &error))?;
        let (pieces, waiting) = mpsc::channel(MAX_WAITING_PIECES);
        let (end, ended) = oneshot::channel();
        start_thread("output", move || drop(end.send(write_all(&mut File::from(file), waiting))))
            .map_err(|error| Error::io(SUBJECT, &error))?;
        Ok(Self { pieces: Some(pieces), ended: Some(ended) })
    }

    /// Waits until the thread has written everything, or has failed.
    async fn end(&mut self) -> Result<(), Error> {
        self.pieces = None;
        let Some(ended) = self.ended.take() else { return Ok(()) };
        match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Error::new(ErrorKind::Cancelled, SUBJECT, "nobody reads it any more"))
            }
            Ok(Err(error)) => Err(Error::io(SUBJECT, &error)),
            Err(_) => Err(Error::new(ErrorKind::Failed, SUBJECT, "the writing thread died")),
        }
    }
}

fn write_all(output: &mut File, mut pieces: mpsc::Receiver<Piece>) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        for part in piece.parts() {
            output.write_all(part)?;
        }
    }
    // A block device keeps the bytes, so they must be on it; a pipe or a terminal does not.
    if output.metadata()?.file_type().is_block_device() { output.sync_all() } else { Ok(()) }
}

impl Sink for StreamSink {
    type Error = Error;

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        // The thread has ended early: its result says why.
        if sent { Ok(()) } else { self.end().await }
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.end().await
    }
}
