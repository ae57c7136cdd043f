//! Unpacks a tar or zip archive into a directory. Every entry must stay inside the directory, and
//! all entries together must not exceed a limit, because a small archive can unpack to any size.

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

/// How many files and directories an archive may have: more than any appliance has. Empty ones take
/// room in a file system too.
const MAX_ENTRIES: usize = 100_000;

/// How deep directories may be nested: deeper than those of any appliance.
const MAX_DEPTH: usize = 128;

/// How much of an entry is read and written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// How long the headers of one entry may be; those of a sparse file are long.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// How long the central directory of a zip archive may be.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// An archive in a file.
pub(crate) struct Archive<'a> {
    /// `tar` or `zip`.
    pub(crate) format: &'a str,
    pub(crate) file: StagedFile,
    /// The source, for messages.
    pub(crate) subject: &'a str,
    /// How many bytes all of its files together may have.
    pub(crate) max_bytes: u64,
    pub(crate) stop: &'a Stop,
}

impl Archive<'_> {
    /// Unpacks it into a new directory beside `path`, and syncs that to the disk.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for an archive that is broken, [`ErrorKind::Denied`] for an entry
    /// that is neither a file nor a directory, leaves the directory or exceeds a limit, and what
    /// the system reports.
    pub(crate) fn unpack_beside(self, path: &Path) -> Result<StagedFile, Error> {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = StagedFile::directory(parent)?;
        let unpacking = Unpacking {
            target: directory.path(),
            subject: self.subject,
            stop: self.stop,
            max_bytes: self.max_bytes,
            remaining_bytes: Cell::new(self.max_bytes),
            entries: Cell::new(0),
        };
        let mut file = self.file.open()?;
        file.seek(SeekFrom::Start(0)).map_err(|error| Error::io(self.subject, &error))?;
        match self.format {
            "zip" => unpacking.zip(file)?,
            _ => unpacking.tar(file)?,
        }
        unpacking.sync_directories()?;
        Ok(directory)
    }
}

/// A file of which only a limited number of bytes is read. The readers of archives keep headers in
/// memory, so these must not be endless.
struct LimitedFile {
    file: File,
    remaining_bytes: Rc<Cell<u64>>,
}

impl Read for LimitedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = self.remaining_bytes.get();
        if remaining == 0 {
            return Err(io::Error::other("its headers are too long"));
        }
        let max_count = usize::try_from(remaining).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..max_count])?;
        self.remaining_bytes.set(remaining - count as u64);
        Ok(count)
    }
}

impl Seek for LimitedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// An archive that is being unpacked.
struct Unpacking<'a> {
    target: PathBuf,
    subject: &'a str,
    stop: &'a Stop,
    max_bytes: u64,
    /// How many bytes may still be written.
    remaining_bytes: Cell<u64>,
    /// The number of files and directories so far.
    entries: Cell<usize>,
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

    /// Fails when the download is to stop.
    fn check_stop(&self) -> Result<(), Error> {
        self.stop.reason().map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Counts an entry, before its file or directory is created.
    fn count_entry(&self, entry: &str) -> Result<(), Error> {
        self.check_stop()?;
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() > MAX_ENTRIES {
            return Err(self.refuse(
                entry,
                &format!("is one of more than {MAX_ENTRIES} files and directories"),
            ));
        }
        Ok(())
    }

    /// Fails when an entry has more bytes than may still be written.
    fn check_bytes(&self, entry: &str, bytes: u64) -> Result<(), Error> {
        if bytes <= self.remaining_bytes.get() {
            return Ok(());
        }
        let limit = MiB::containing(self.max_bytes);
        let error =
            self.refuse(entry, &format!("makes it larger than the {limit} that may be unpacked"));
        Err(error.remedy(
            "if it is to be so large, set MAX_UNPACKED_MB in the datastore, or --unpacked-limit",
        ))
    }

    fn tar(&self, file: File) -> Result<(), Error> {
        let allowed = Rc::new(Cell::new(0));
        let limited = LimitedFile { file, remaining_bytes: Rc::clone(&allowed) };
        let mut archive = tar::Archive::new(BufReader::new(limited));
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
                .path_of(Path::new(&name))
                .ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            // In an archive before POSIX a directory is known by its name only.
            if kind.is_dir() || name.ends_with('/') {
                self.create_directory(&name, &path)?;
            } else {
                let length = entry.size();
                self.write_file(&name, &path, length, &mut entry)?;
            }
        }
    }

    fn zip(&self, file: File) -> Result<(), Error> {
        let allowed = Rc::new(Cell::new(MAX_DIRECTORY_BYTES));
        let limited = LimitedFile { file, remaining_bytes: Rc::clone(&allowed) };
        let mut archive =
            zip::ZipArchive::new(BufReader::new(limited)).map_err(|error| self.broken(&error))?;
        allowed.set(u64::MAX);
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.broken(&error))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let path = entry.enclosed_name().and_then(|path| self.path_of(&path));
            let path = path.ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            if entry.is_dir() {
                self.create_directory(&name, &path)?;
            } else if entry.is_file() {
                let length = entry.size();
                self.write_file(&name, &path, length, &mut entry)?;
            } else {
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    /// The path of an entry in the directory; `None` when its name leads out of it. Entries that
    /// are links are refused, so a path leads where it says.
    fn path_of(&self, name: &Path) -> Option<PathBuf> {
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

    /// Creates a directory with its missing parents.
    fn create_directory(&self, entry: &str, path: &Path) -> Result<(), Error> {
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
        if path.strip_prefix(&self.target).is_ok_and(|inner| inner.components().count() > MAX_DEPTH)
        {
            return Err(self.refuse(entry, &format!("lies in more than {MAX_DEPTH} directories")));
        }
        for directory in missing.into_iter().rev() {
            self.count_entry(entry)?;
            DirBuilder::new()
                .mode(0o755)
                .create(directory)
                .map_err(|error| self.failed(entry, &error))?;
        }
        Ok(())
    }

    /// Writes the file of an entry, zeros as holes, and syncs it. A later entry of the same name
    /// replaces an earlier one.
    fn write_file(
        &self,
        name: &str,
        path: &Path,
        length: u64,
        content: &mut impl Read,
    ) -> Result<(), Error> {
        self.check_bytes(name, length)?;
        if let Some(parent) = path.parent() {
            self.create_directory(name, parent)?;
        }
        self.count_entry(name)?;
        let fail = |error: io::Error| self.failed(name, &error);
        if path.is_file() {
            fs::remove_file(path).map_err(fail)?;
        }
        let mut file =
            File::options().write(true).create_new(true).mode(0o644).open(path).map_err(fail)?;
        let written = self.copy(name, &mut file, content)?;
        if written != length {
            return Err(
                self.broken(&format!("it holds {written} of the {length} bytes of an entry"))
            );
        }
        file.set_len(written).and_then(|()| file.sync_all()).map_err(fail)
    }

    fn copy(&self, name: &str, file: &mut File, content: &mut impl Read) -> Result<u64, Error> {
        let fail = |error: io::Error| self.failed(name, &error);
        let (mut buffer, mut written) = (vec![0; BUFFER_BYTES], 0);
        loop {
            self.check_stop()?;
            let count = content.read(&mut buffer).map_err(fail)?;
            if count == 0 {
                return Ok(written);
            }
            self.check_bytes(name, count as u64)?;
            self.remaining_bytes.set(self.remaining_bytes.get() - count as u64);
            written += count as u64;
            if buffer[..count] == ZEROS[..count] {
                file.seek(SeekFrom::Start(written)).map_err(fail)?;
            } else {
                file.write_all(&buffer[..count]).map_err(fail)?;
            }
        }
    }

    /// Syncs all directories, each after those in it. The files are synced already.
    fn sync_directories(&self) -> Result<(), Error> {
        let mut waiting = vec![(self.target.clone(), false)];
        while let Some((path, is_visited)) = waiting.pop() {
            self.check_stop()?;
            let fail = |error: io::Error| Error::io(path.display().to_string(), &error);
            if is_visited {
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
