//! Compressed streams, unpacked on a thread of their own.

use crate::buffers::Buffers;
use crate::{Compression, Error, ErrorKind, PIECE_BYTES, Piece, ZEROS, split_zeros, start_thread};
use bytes::{Buf, Bytes, BytesMut};
use liblzma::bufread::XzDecoder;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;
use zstd::zstd_safe::DCtx;

/// Pieces that may wait before and after the thread.
const QUEUE: usize = 8;

/// The most memory that an xz stream may ask for; `xz -9` takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// An empty bzip2 stream after `BZh` and the digit of its level. It is recognised, because setting up
/// a decoder for each of many empty streams would take minutes.
const EMPTY_BZIP2: [u8; 10] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90, 0, 0, 0, 0];

/// Where packed pieces are sent; dropped after the last one.
pub(crate) struct PackedEnd(mpsc::Sender<Piece>);

impl PackedEnd {
    /// Sends a piece. After a failure it is dropped: [`UnpackedEnd`] has the error.
    pub(crate) async fn push(&mut self, piece: Piece) {
        let _ = self.0.send(piece).await;
    }
}

/// Where unpacked pieces are received.
pub(crate) struct UnpackedEnd(mpsc::Receiver<Result<Piece, Error>>);

impl UnpackedEnd {
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        self.0.recv().await.transpose()
    }
}

/// Starts a thread that unpacks.
pub(crate) fn start(
    compression: Compression,
    subject: &str,
) -> Result<(PackedEnd, UnpackedEnd), Error> {
    let (packed, packed_pieces) = mpsc::channel(QUEUE);
    let (unpacked, unpacked_pieces) = mpsc::channel(QUEUE);
    let name = subject.to_owned();
    let started = start_thread("unpack", move || {
        let mut unpacking = Unpacking {
            compression,
            input: Input {
                pieces: packed_pieces,
                waiting: VecDeque::new(),
                current: Piece::Hole(0),
                taken: 0,
            },
            output: Output::new(unpacked.clone()),
            zstd: DCtx::create(),
        };
        if let Err(failed) = unpacking.run() {
            let _ = unpacked.blocking_send(Err(failed.error(compression, name)));
        }
    });
    started.map_err(|error| Error::io(subject, &error))?;
    Ok((PackedEnd(packed), UnpackedEnd(unpacked_pieces)))
}

/// Why unpacking has stopped.
enum Failed {
    /// The compressed stream is damaged or cut.
    Stream(io::Error),
    /// At this offset other bytes follow a whole stream.
    Trailing(u64),
    /// The receiver is gone.
    Cancelled,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl Failed {
    fn error(self, compression: Compression, subject: String) -> Error {
        let name = compression.name();
        match self {
            Self::Stream(error) => Error::new(
                ErrorKind::Corrupt,
                subject,
                format!("is no whole {name} stream: {error}"),
            ),
            Self::Trailing(at) => {
                let cause = format!(
                    "is a whole {name} stream, but other bytes follow it from byte {at} on"
                );
                Error::new(ErrorKind::Trailing, subject, cause)
            }
            Self::Cancelled => Error::new(ErrorKind::Failed, subject, "is not read any further"),
        }
    }
}

struct Unpacking {
    compression: Compression,
    input: Input,
    output: Output,
    /// Reused for each frame.
    zstd: DCtx<'static>,
}

impl Unpacking {
    fn run(&mut self) -> Result<(), Failed> {
        loop {
            self.stream()?;
            if !self.is_followed()? {
                return self.output.hand_over();
            }
        }
    }

    /// Unpacks one stream.
    fn stream(&mut self) -> Result<(), Failed> {
        let Self { input, output, .. } = self;
        match self.compression {
            Compression::Gzip => output.take(&mut flate2::bufread::GzDecoder::new(input)),
            Compression::Bzip2 => match input.peek(14) {
                [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] if *rest == EMPTY_BZIP2 => {
                    input.consume(14);
                    Ok(())
                }
                _ => output.take(&mut bzip2::bufread::BzDecoder::new(input)),
            },
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, 0);
                let stream = stream.map_err(io::Error::from)?;
                output.take(&mut XzDecoder::new_stream(input, stream))
            }
            Compression::Zstd => {
                output.take(&mut zstd::Decoder::with_context(input, &mut self.zstd).single_frame())
            }
        }
    }

    /// Whether another stream follows the one that has ended. The padding of the last block of a
    /// tape or device is ignored: zeros behind gzip and bzip2, as `gunzip` and `bunzip2` do, and
    /// groups of four zeros behind xz, which its format allows.
    fn is_followed(&mut self) -> Result<bool, Failed> {
        loop {
            let (at, next) = (self.input.taken, self.input.peek(6));
            match (self.compression, next) {
                (_, []) => return Ok(false),
                (Compression::Gzip, [0x1f, 0x8b, ..])
                | (Compression::Bzip2, [b'B', b'Z', b'h', ..])
                | (Compression::Xz, [0xfd, b'7', b'z', b'X', b'Z', 0])
                | (
                    Compression::Zstd,
                    [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..],
                ) => {
                    return Ok(true);
                }
                (Compression::Gzip | Compression::Bzip2, [0, ..]) => {
                    return if self.input.is_zero_to_its_end() {
                        Ok(false)
                    } else {
                        Err(Failed::Trailing(at))
                    };
                }
                (Compression::Xz, [0, 0, 0, 0, ..]) => self.input.consume(4),
                _ => return Err(Failed::Trailing(at)),
            }
        }
    }
}

/// Gathers what was unpacked into whole pieces, in which runs of zeros are found.
struct Output {
    pieces: mpsc::Sender<Result<Piece, Error>>,
    buffers: Buffers,
    buffer: BytesMut,
    filled: usize,
    position: u64,
}

impl Output {
    fn new(pieces: mpsc::Sender<Result<Piece, Error>>) -> Self {
        let mut buffers = Buffers::default();
        let buffer = buffers.take();
        Self { pieces, buffers, buffer, filled: 0, position: 0 }
    }

    /// Reads a decoder to its end.
    fn take(&mut self, decoder: &mut dyn Read) -> Result<(), Failed> {
        loop {
            match decoder.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if self.filled == self.buffer.len() {
                self.hand_over()?;
            }
        }
    }

    fn hand_over(&mut self) -> Result<(), Failed> {
        let buffer = std::mem::replace(&mut self.buffer, self.buffers.take());
        let data = self.buffers.give_out(buffer, self.filled);
        let position = self.position;
        self.position += std::mem::take(&mut self.filled) as u64;
        for piece in split_zeros(position, data) {
            self.pieces.blocking_send(Ok(piece)).map_err(|_| Failed::Cancelled)?;
        }
        Ok(())
    }
}

/// Packed pieces as a reader.
struct Input {
    pieces: mpsc::Receiver<Piece>,
    /// Pieces that were received while peeking, and come before those of the channel.
    waiting: VecDeque<Piece>,
    current: Piece,
    /// Bytes that were consumed.
    taken: u64,
}

impl Input {
    fn next(&mut self) -> Option<Piece> {
        self.waiting.pop_front().or_else(|| self.pieces.blocking_recv())
    }

    /// Makes the current piece one that is not empty, unless everything was consumed.
    fn refill(&mut self) {
        while self.current.is_empty() {
            let Some(piece) = self.next() else { return };
            self.current = piece;
        }
    }

    /// The next bytes, at most [`PIECE_BYTES`]; fewer than `count` only at the end.
    fn peek(&mut self, count: usize) -> &[u8] {
        self.refill();
        if self.current.len() < count as u64 {
            let mut joined = Vec::with_capacity(count);
            self.current.copy_into(&mut joined, count);
            while joined.len() < count {
                let Some(piece) = self.next() else { break };
                let missing = count - joined.len();
                piece.copy_into(&mut joined, count);
                if let Some(rest) = piece.without_first(missing as u64) {
                    self.waiting.push_front(rest);
                }
            }
            self.current = Piece::Data(joined.into());
        }
        let next = self.next_bytes();
        &next[..count.min(next.len())]
    }

    fn next_bytes(&self) -> &[u8] {
        self.current.parts().next().unwrap_or_default()
    }

    /// Consumes the rest; whether it was all zeros.
    fn is_zero_to_its_end(&mut self) -> bool {
        loop {
            self.refill();
            let zero =
                |data: &Bytes| data.chunks(PIECE_BYTES).all(|part| *part == ZEROS[..part.len()]);
            match &self.current {
                piece if piece.is_empty() => return true,
                Piece::Data(data) if !zero(data) => return false,
                _ => self.current = Piece::Hole(0),
            }
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill();
        Ok(self.next_bytes())
    }

    fn consume(&mut self, count: usize) {
        self.taken += count as u64;
        match &mut self.current {
            Piece::Data(data) => Bytes::advance(data, count),
            Piece::Hole(length) => *length -= count as u64,
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let data = self.fill_buf()?;
        let count = data.len().min(buffer.len());
        buffer[..count].copy_from_slice(&data[..count]);
        self.consume(count);
        Ok(count)
    }
}
