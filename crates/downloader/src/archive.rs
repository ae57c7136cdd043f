//! A tar or zip archive, unpacked into a directory in its place. What an entry names must stay
//! inside, and all of them together must not be more than what is allowed: a few bytes of an
//! archive can stand for any number of them.

use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::stop::Stop;
use market_core::transfer::{StagedFile, ZEROS, redacted};
use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// More files and directories than any appliance has: an archive of empty ones would fill a file
/// system with them.
const MAX_ENTRIES: usize = 100_000;

/// More directories in one another than any appliance has.
const DEEPEST: usize = 128;

/// How much of an entry is written at once.
const STRETCH_BYTES: usize = 64 << 10;

/// More than this before an entry's content is no header; a file in pieces has a long one.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// More than this is no table of contents of so many entries.
const MAX_CONTENTS_BYTES: u64 = 64 << 20;

/// An archive that is to be unpacked.
pub(crate) struct Archive<'a> {
    pub(crate) format: &'a str,
    pub(crate) file: StagedFile,
    /// For messages.
    pub(crate) subject: &'a str,
    /// How many bytes all of its files together may have.
    pub(crate) most_bytes: u64,
    pub(crate) stop: &'a Stop,
}

impl Archive<'_> {
    /// Unpacks it into a directory beside `place`, which is on the disk then.
    pub(crate) fn extract(self, place: &Path) -> Result<StagedFile, Error> {
        let beside = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let directory = StagedFile::directory(beside)?;
        let unpacking = Unpacking {
            target: directory.path(),
            subject: self.subject,
            stop: self.stop,
            most_bytes: self.most_bytes,
            left: Cell::new(self.most_bytes),
            made: Cell::new(0),
        };
        let mut file = self.file.open()?;
        file.seek(SeekFrom::Start(0)).map_err(|error| Error::io(self.subject, &error))?;
        match self.format {
            "zip" => unpacking.zip(file)?,
            _ => unpacking.tar(file)?,
        }
        unpacking.sync()?;
        Ok(directory)
    }
}

/// A file of which no more is read than is allowed at the moment: what describes entries is kept in
/// memory.
struct Metered {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("what describes its entries has no end"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

struct Unpacking<'a> {
    target: PathBuf,
    subject: &'a str,
    stop: &'a Stop,
    most_bytes: u64,
    /// Bytes that may still be written.
    left: Cell<u64>,
    /// Files and directories so far.
    made: Cell<usize>,
}

impl Unpacking<'_> {
    fn refuse(&self, entry: &str, cause: &str) -> Error {
        let entry = redacted(entry);
        Error::new(
            ErrorKind::Denied,
            self.subject,
            format!("the entry \"{entry}\" of the archive {cause}"),
        )
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(ErrorKind::Mismatch, self.subject, format!("the archive is broken: {error}"))
    }

    fn failed(&self, entry: &str, error: &io::Error) -> Error {
        let entry = redacted(entry);
        Error::io(format!("{}, entry \"{entry}\"", self.subject), error)
    }

    /// Whether to go on.
    fn check_stop(&self) -> Result<(), Error> {
        self.stop.reason().map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Before a file or a directory is made.
    fn count(&self, entry: &str) -> Result<(), Error> {
        self.check_stop()?;
        self.made.set(self.made.get() + 1);
        if self.made.get() > MAX_ENTRIES {
            return Err(self.refuse(
                entry,
                &format!("is one of more than {MAX_ENTRIES} files and directories"),
            ));
        }
        Ok(())
    }

    /// Before so many bytes of an entry are written.
    fn allow(&self, entry: &str, bytes: u64) -> Result<(), Error> {
        if bytes <= self.left.get() {
            return Ok(());
        }
        let most = MiB::containing(self.most_bytes);
        let error =
            self.refuse(entry, &format!("makes it larger than the {most} that may be unpacked"));
        Err(error.remedy(
            "if it is to be so large, set MAX_UNPACKED_MB in the datastore, or --max-unpacked",
        ))
    }

    fn tar(&self, file: File) -> Result<(), Error> {
        let allowed = Rc::new(Cell::new(0));
        let metered = Metered { file, left: Rc::clone(&allowed) };
        let mut archive = tar::Archive::new(BufReader::new(metered));
        allowed.set(MAX_HEADER_BYTES);
        let mut entries = archive.entries_with_seek().map_err(|error| self.broken(&error))?;
        loop {
            self.check_stop()?;
            allowed.set(MAX_HEADER_BYTES);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            allowed.set(u64::MAX);
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if !(kind.is_file() || kind.is_dir() || kind.is_gnu_sparse()) {
                if kind.is_pax_global_extensions() {
                    continue;
                }
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
            let path = self
                .inside(Path::new(&name))
                .ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            // Archives of the oldest kind know directories by their names only.
            if kind.is_dir() || name.ends_with('/') {
                self.directory(&name, &path)?;
            } else {
                let length = entry.size();
                self.file(&name, &path, length, &mut entry)?;
            }
        }
    }

    fn zip(&self, file: File) -> Result<(), Error> {
        let allowed = Rc::new(Cell::new(MAX_CONTENTS_BYTES));
        let metered = Metered { file, left: Rc::clone(&allowed) };
        let mut archive =
            zip::ZipArchive::new(BufReader::new(metered)).map_err(|error| self.broken(&error))?;
        allowed.set(u64::MAX);
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.broken(&error))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let path = entry.enclosed_name().and_then(|path| self.inside(&path));
            let path = path.ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            if entry.is_dir() {
                self.directory(&name, &path)?;
            } else if entry.is_file() {
                let length = entry.size();
                self.file(&name, &path, length, &mut entry)?;
            } else {
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    /// Where an entry of this name goes; `None` when it would not be in the directory. No entry is
    /// a link, so names are places.
    fn inside(&self, name: &Path) -> Option<PathBuf> {
        let mut path = self.target.clone();
        for component in name.components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        Some(path)
    }

    /// Makes a directory and those above it that are missing.
    fn directory(&self, entry: &str, path: &Path) -> Result<(), Error> {
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
        if path.strip_prefix(&self.target).is_ok_and(|inner| inner.components().count() > DEEPEST) {
            return Err(self.refuse(entry, &format!("lies in more than {DEEPEST} directories")));
        }
        for directory in missing.into_iter().rev() {
            self.count(entry)?;
            DirBuilder::new()
                .mode(0o755)
                .create(directory)
                .map_err(|error| self.failed(entry, &error))?;
        }
        Ok(())
    }

    /// Writes an entry, holes for zeros, and puts it on the disk. Of two entries of one name the
    /// later one counts.
    fn file(
        &self,
        name: &str,
        path: &Path,
        length: u64,
        content: &mut impl Read,
    ) -> Result<(), Error> {
        self.allow(name, length)?;
        if let Some(parent) = path.parent() {
            self.directory(name, parent)?;
        }
        self.count(name)?;
        let fail = |error: io::Error| self.failed(name, &error);
        if path.is_file() {
            fs::remove_file(path).map_err(fail)?;
        }
        let mut file =
            File::options().write(true).create_new(true).mode(0o644).open(path).map_err(fail)?;
        let written = self.write(name, &mut file, content)?;
        if written != length {
            return Err(
                self.broken(&format!("it holds {written} of the {length} bytes of an entry"))
            );
        }
        file.set_len(written).and_then(|()| file.sync_all()).map_err(fail)
    }

    fn write(&self, name: &str, file: &mut File, content: &mut impl Read) -> Result<u64, Error> {
        let fail = |error: io::Error| self.failed(name, &error);
        let (mut buffer, mut written) = (vec![0; STRETCH_BYTES], 0);
        loop {
            self.check_stop()?;
            let count = content.read(&mut buffer).map_err(fail)?;
            if count == 0 {
                return Ok(written);
            }
            self.allow(name, count as u64)?;
            self.left.set(self.left.get() - count as u64);
            written += count as u64;
            if buffer[..count] == ZEROS[..count] {
                file.seek(SeekFrom::Start(written)).map_err(fail)?;
            } else {
                file.write_all(&buffer[..count]).map_err(fail)?;
            }
        }
    }

    /// Puts the names of all files on the disk: the directories, each after those that it holds.
    /// The files are there already.
    fn sync(&self) -> Result<(), Error> {
        let mut waiting = vec![(self.target.clone(), false)];
        while let Some((path, looked_into)) = waiting.pop() {
            self.check_stop()?;
            let fail = |error: io::Error| Error::io(path.display().to_string(), &error);
            if looked_into {
                File::open(&path).and_then(|directory| directory.sync_all()).map_err(fail)?;
                continue;
            }
            let entries = fs::read_dir(&path).map_err(fail)?;
            waiting.push((path.clone(), true));
            for entry in entries {
                let entry = entry.map_err(fail)?;
                if entry.file_type().map_err(fail)?.is_dir() {
                    waiting.push((entry.path(), false));
                }
            }
        }
        Ok(())
    }
}
