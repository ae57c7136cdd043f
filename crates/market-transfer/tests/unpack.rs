//! Compressed streams are unpacked while they are copied, hashed as they were fetched, and damaged
//! ones are errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::http::{HttpServer, Reply};
use market_testkit::{block_on, md5, noise};
use market_transfer::{
    Compression, DigestSet, Error, ErrorKind, FileSink, Options, Packing, Source, SparseFile,
    Transfer, Transferred,
};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ALL: [Compression; 4] =
    [Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];

fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut packed = Vec::new();
            bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast())
                .read_to_end(&mut packed)
                .unwrap();
            packed
        }
        Compression::Xz => {
            let mut packed = Vec::new();
            liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).unwrap();
            packed
        }
        Compression::Zstd => {
            // As the tool does it.
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        other => panic!("no tool for {other:?}"),
    }
}

/// Fetches into a file; what was moved, and the file's bytes.
fn fetch(
    location: &str,
    how: Transfer,
    options: &Options,
) -> Result<(Transferred, SparseFile, Vec<u8>), Error> {
    let mut file = SparseFile::new(tempfile::tempfile().unwrap(), true);
    let moved = block_on(async {
        let mut source = Source::open(location, options).await?;
        source.transfer(&mut FileSink::temporary(&mut file, "the copy"), how).await
    })?;
    file.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut bytes, 0).unwrap();
    Ok((moved, file, bytes))
}

fn quick() -> Options {
    Options::default().with_first_pause(Duration::ZERO).with_retries(1)
}

fn unpacking(compression: Compression) -> Transfer {
    Transfer::hashed(DigestSet::MD5).unpacking(compression)
}

/// An image with data at both ends and a hole between.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 8 << 20];
    bytes[..300_000].copy_from_slice(&noise(1, 300_000));
    bytes[(8 << 20) - 100..].copy_from_slice(&noise(2, 100));
    bytes
}

#[test]
fn every_format_is_recognized_unpacked_and_hashed_as_it_came() {
    let directory = TempDir::new().unwrap();
    let bytes = image();
    for compression in ALL {
        let packed = pack(compression, &bytes);
        assert_eq!(Packing::sniff(&packed), Some(Packing::Compressed(compression)));
        let path = directory.path().join(compression.name());
        std::fs::write(&path, &packed).unwrap();
        let served = packed.clone();
        let server = HttpServer::start(move |request, nth| {
            let reply = Reply::bytes(served.clone()).ranged(request, "\"v\"");
            if nth == 0 { reply.cut_after(served.len() as u64 / 2) } else { reply }
        });
        for location in [path.to_str().unwrap(), &server.url("/i")] {
            let (moved, file, unpacked) =
                fetch(location, unpacking(compression), &quick()).unwrap();
            assert!(unpacked == bytes, "{compression:?}");
            assert_eq!(moved.digests.md5, Some(md5(&packed)), "{compression:?}");
            assert_eq!(
                (moved.bytes, moved.digests.bytes),
                (bytes.len() as u64, packed.len() as u64)
            );
            assert!(moved.head == bytes[..64 << 10]);
            assert!(
                file.file().metadata().unwrap().blocks() < 2_048,
                "holes are kept: {compression:?}"
            );
        }
    }
}

#[test]
fn several_streams_one_behind_the_other_are_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("packed");
    for compression in ALL {
        let packed = [pack(compression, b"one "), pack(compression, b"two")].concat();
        std::fs::write(&path, packed).unwrap();
        let (_, _, bytes) =
            fetch(path.to_str().unwrap(), unpacking(compression), &quick()).unwrap();
        assert_eq!(bytes, b"one two", "{compression:?}");
    }
}

#[test]
fn streams_that_end_early_or_are_damaged_are_errors() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("packed");
    let bytes = noise(3, 500_000);
    for compression in ALL {
        let whole = pack(compression, &bytes);
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x55;
        let cases = [whole[..whole.len() - 5].to_vec(), whole[..20].to_vec(), damaged];
        for (number, packed) in cases.into_iter().enumerate() {
            std::fs::write(&path, packed).unwrap();
            let fetched = fetch(path.to_str().unwrap(), unpacking(compression), &quick()).map(drop);
            let error = fetched.expect_err(&format!("{compression:?} {number}"));
            assert_eq!(error.kind, ErrorKind::Corrupt, "{compression:?} {number}: {error}");
            assert!(error.cause.contains(compression.name()), "{error}");
        }
    }
}

#[test]
fn a_source_that_fails_is_told_rather_than_the_stream_that_it_broke() {
    let packed = pack(Compression::Gzip, &noise(4, 900_000));
    let server = HttpServer::start(move |_, _| Reply::bytes(packed.clone()).cut_after(300_000));
    let error =
        fetch(&server.url("/i"), unpacking(Compression::Gzip), &quick()).map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

/// One image in every place and form that counts.
struct Places {
    bytes: Vec<u8>,
    directory: TempDir,
    server: HttpServer,
    /// Does not tell the length.
    chunked: HttpServer,
}

impl Places {
    fn new() -> Self {
        let (directory, bytes) = (TempDir::new().unwrap(), image());
        std::fs::write(directory.path().join("plain"), &bytes).unwrap();
        let packed = pack(Compression::Zstd, &bytes);
        std::fs::write(directory.path().join("packed"), packed).unwrap();
        let server = HttpServer::directory(directory.path());
        let served = bytes.clone();
        let chunked = HttpServer::start(move |_, _| Reply::bytes(served.clone()).chunked());
        Self { bytes, directory, server, chunked }
    }

    /// Each with the format that it is unpacked from.
    fn locations(&self) -> [(String, Option<Compression>); 5] {
        let path = |name: &str| self.directory.path().join(name).to_str().unwrap().to_owned();
        let zstd = Some(Compression::Zstd);
        [
            (path("plain"), None),
            (self.server.url("/plain"), None),
            (self.chunked.url("/plain"), None),
            (path("packed"), zstd),
            (self.server.url("/packed"), zstd),
        ]
    }
}

#[test]
fn no_more_is_written_than_was_asked_for() {
    let places = Places::new();
    let bytes = &places.bytes;
    for most in [0, 1, 100_000, 400_000, 5 << 20] {
        for (location, unpack) in places.locations() {
            let how = Transfer::default().unpacking(unpack).max_bytes(most);
            let (moved, _, part) = fetch(&location, how, &quick()).unwrap();
            assert_eq!(moved.bytes, most, "{location}");
            assert!(part == bytes[..usize::try_from(most).unwrap()], "{location}");
        }
    }
    let how = Transfer::hashed(DigestSet::MD5).max_bytes(100 << 20);
    let (moved, _, _) = fetch(&places.locations()[0].0, how, &quick()).unwrap();
    assert_eq!(moved.digests.md5, Some(md5(bytes)), "a limit beyond the end changes nothing");
}

#[test]
fn a_limit_slows_every_kind_of_source() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, noise(5, 1 << 20)).unwrap();
    let server = HttpServer::directory(directory.path());
    let options = quick().with_limit(Some("2M".parse().unwrap()));
    for location in [path.to_str().unwrap(), &server.url("/image")] {
        let start = Instant::now();
        fetch(location, Transfer::hashed(DigestSet::MD5), &options).unwrap();
        // 1 MiB at 2 MiB a second; slower is the machine's business.
        assert!(start.elapsed() >= Duration::from_millis(490), "{location}: {:?}", start.elapsed());
    }
}

#[test]
fn what_unpacks_to_far_more_than_it_is_takes_little_memory_and_keeps_its_holes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bomb");
    let zeros = vec![0; 64 << 20];
    for compression in [Compression::Gzip, Compression::Zstd] {
        std::fs::write(&path, pack(compression, &zeros)).unwrap();
        let (moved, file, _) =
            fetch(path.to_str().unwrap(), unpacking(compression), &quick()).unwrap();
        assert_eq!((moved.bytes, file.file().metadata().unwrap().blocks()), (64 << 20, 0));
    }
}

#[test]
fn zeros_that_fill_up_a_block_are_no_part_of_a_stream_and_other_bytes_are_said() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("packed");
    let bytes = noise(6, 400_000);
    for compression in ALL {
        let whole = pack(compression, &bytes);
        let fetched = |packed: &[u8]| {
            std::fs::write(&path, packed).unwrap();
            fetch(path.to_str().unwrap(), unpacking(compression), &quick())
                .map(|(_, _, bytes)| bytes)
        };
        for zeros in [1, 3, 4, 512, 700_000] {
            let padded = fetched(&[&whole[..], &vec![0; zeros]].concat());
            let accepted = match compression {
                Compression::Gzip | Compression::Bzip2 => true,
                Compression::Xz => zeros % 4 == 0,
                _ => false,
            };
            assert_eq!(padded.is_ok(), accepted, "{compression:?} {zeros}");
            assert!(padded.is_err() || padded.unwrap() == bytes, "{compression:?} {zeros}");
        }
        for trailer in
            [&b"x"[..], b"rubbish", b"\0\0\0\0\0x", &[&[0; 300_000][..], b"x"].concat(), b"\x1f"]
        {
            let error = fetched(&[&whole[..], trailer].concat()).expect_err("a trailer");
            assert_eq!(error.kind, ErrorKind::Trailing, "{compression:?}: {error}");
            assert!(error.cause.contains("other bytes follow"), "{error}");
        }
    }
    // The padding of a sparse file is a hole.
    std::fs::write(&path, pack(Compression::Gzip, &bytes)).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let how = Transfer::default().unpacking(Compression::Gzip);
    let (moved, ..) = fetch(path.to_str().unwrap(), how, &quick()).unwrap();
    assert_eq!((moved.bytes, moved.digests.bytes), (400_000, 1 << 40));
}

#[test]
fn frames_without_data_come_before_those_with_them() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("packed");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let packed = [
        &skippable[..],
        &pack(Compression::Zstd, b"one "),
        &skippable,
        &pack(Compression::Zstd, b"two"),
    ]
    .concat();
    assert_eq!(Packing::sniff(&packed), Some(Packing::Compressed(Compression::Zstd)));
    std::fs::write(&path, &packed).unwrap();
    assert_eq!(
        fetch(path.to_str().unwrap(), unpacking(Compression::Zstd), &quick()).unwrap().2,
        b"one two"
    );
    std::fs::write(&path, &skippable[..9]).unwrap();
    let error = fetch(path.to_str().unwrap(), unpacking(Compression::Zstd), &quick())
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_hundred_thousand_streams_of_nothing_or_next_to_nothing_take_no_time() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("packed");
    for compression in ALL {
        for content in [&b""[..], b"x"] {
            let one = pack(compression, content);
            // As level 9 writes it: the most memory.
            let one =
                if compression == Compression::Bzip2 { [b"BZh9", &one[4..]].concat() } else { one };
            let count = 1_400_000 / one.len();
            std::fs::write(&path, one.repeat(count)).unwrap();
            let start = Instant::now();
            let (moved, _, _) =
                fetch(path.to_str().unwrap(), unpacking(compression), &quick()).unwrap();
            assert_eq!(moved.bytes, (count * content.len()) as u64);
            // A decoder that is set up for each stream takes several minutes.
            assert!(start.elapsed() < Duration::from_secs(60), "{compression:?} {count}");
        }
    }
}

#[test]
fn more_than_is_allowed_is_not_stored() {
    let places = Places::new();
    let bytes = &places.bytes;
    for (location, unpack) in places.locations() {
        let location = &location;
        let allowing = |most: u64| quick().with_max_unpacked_bytes(most);
        let how = Transfer::hashed(DigestSet::MD5).unpacking(unpack);
        let error = fetch(location, how, &allowing(bytes.len() as u64 - 1)).map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{location}: {error}");
        assert!(
            fetch(location, how, &allowing(bytes.len() as u64)).unwrap().2 == *bytes,
            "{location}"
        );
        let part = how.max_bytes(1_000);
        assert_eq!(fetch(location, part, &allowing(2_000)).unwrap().0.bytes, 1_000, "{location}");
    }
}
