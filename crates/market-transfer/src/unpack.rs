//! Compressed streams, unpacked on a thread of their own.

use crate::buffers::Buffers;
use crate::{Error, ErrorKind, PIECE_BYTES, Piece, ZEROS, split_zeros};
use bytes::{Buf, Bytes};
use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;

/// What a stream is packed in, told by its first bytes; names do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// One compressed stream.
    Compressed(Compression),
    /// Several files (`tar`, `zip`): never an image.
    Archive(&'static str),
}

/// A compressed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The word that its tool is called by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

impl Packing {
    /// Looks at the first bytes of a stream; 262 are enough.
    ///
    /// ```
    /// use market_transfer::{Compression, Packing};
    ///
    /// assert_eq!(Packing::sniff(&[0x1f, 0x8b, 8]), Some(Packing::Compressed(Compression::Gzip)));
    /// assert_eq!(Packing::sniff(b"QFI\xfb"), None);
    /// ```
    pub fn sniff(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Packing); 5] = [
            (&[0x1f, 0x8b], Packing::Compressed(Compression::Gzip)),
            (b"BZh", Packing::Compressed(Compression::Bzip2)),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Compressed(Compression::Xz)),
            (&[0x28, 0xb5, 0x2f, 0xfd], Packing::Compressed(Compression::Zstd)),
            (b"PK\x03\x04", Packing::Archive("zip")),
        ];
        let by_magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, packing)| packing);
        by_magic.or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(Self::Archive("tar")))
    }
}

/// Pieces that may wait before and after the thread.
const QUEUE: usize = 8;

/// The most memory that an xz stream may ask for; `xz -9` takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// The end that packed pieces go into; dropped after the last one.
pub(crate) struct PackedEnd(mpsc::Sender<Piece>);

impl PackedEnd {
    /// Hands over a piece. One that is not wanted any more is dropped: the other end tells why.
    pub(crate) async fn push(&mut self, piece: Piece) {
        let _ = self.0.send(piece).await;
    }
}

/// The end that unpacked pieces come out of.
pub(crate) struct UnpackedEnd(mpsc::Receiver<Result<Piece, Error>>);

impl UnpackedEnd {
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        self.0.recv().await.transpose()
    }
}

/// Starts a thread that unpacks.
pub(crate) fn start(compression: Compression, subject: &str) -> (PackedEnd, UnpackedEnd) {
    let (packed, packed_pieces) = mpsc::channel(QUEUE);
    let (unpacked, unpacked_pieces) = mpsc::channel(QUEUE);
    let subject = subject.to_owned();
    std::thread::spawn(move || {
        let input = Input { pieces: packed_pieces, current: None };
        if let Err(error) = unpack(compression, input, &unpacked) {
            let cause = format!("is no whole {} stream: {error}", compression.name());
            let _ = unpacked.blocking_send(Err(Error::new(ErrorKind::Corrupt, subject, cause)));
        }
    });
    (PackedEnd(packed), UnpackedEnd(unpacked_pieces))
}

fn unpack(compression: Compression, input: Input, output: &mpsc::Sender<Result<Piece, Error>>) -> io::Result<()> {
    let mut decoder: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
    };
    let mut buffers = Buffers::default();
    let mut position = 0;
    loop {
        let mut buffer = buffers.take();
        let filled = fill(&mut decoder, &mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
        let data = buffers.give_out(buffer, filled);
        for piece in split_zeros(position, data) {
            // Nobody wants more.
            if output.blocking_send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
        position += filled as u64;
    }
}

/// Whole pieces: zeros are told only there.
fn fill(decoder: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match decoder.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Packed pieces as a reader.
struct Input {
    pieces: mpsc::Receiver<Piece>,
    current: Option<Piece>,
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(Piece::is_empty) {
            self.current = self.pieces.blocking_recv();
        }
        Ok(match &self.current {
            None => &[],
            Some(Piece::Data(data)) => data,
            Some(Piece::Hole(length)) => &ZEROS[..usize::try_from(*length).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)],
        })
    }

    fn consume(&mut self, count: usize) {
        match &mut self.current {
            Some(Piece::Data(data)) => Bytes::advance(data, count),
            Some(Piece::Hole(length)) => *length -= count as u64,
            None => {}
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
