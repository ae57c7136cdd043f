//! A tar or zip archive, unpacked into a directory in its place. What an entry names must stay inside.

use market_core::error::{Error, ErrorKind};
use market_core::stop::Stop;
use market_core::transfer::{Staged, ZEROS};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

/// More entries than any appliance has: an archive of empty files would fill a file system with them.
const MOST_ENTRIES: usize = 100_000;

/// How much of an entry is written at once.
const STRETCH_BYTES: usize = 64 << 10;

/// Unpacks an archive into a directory beside `place`.
pub(crate) fn extract(
    format: &str,
    archive: Staged,
    place: &Path,
    subject: &str,
    stop: &Stop,
) -> Result<Staged, Error> {
    let beside = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Staged::directory(beside)?;
    let unpacking = Unpacking { target: directory.path(), subject, stop };
    let mut file = archive.open()?;
    file.seek(SeekFrom::Start(0)).map_err(|error| Error::io(subject, &error))?;
    match format {
        "zip" => unpacking.zip(file)?,
        _ => unpacking.tar(file)?,
    }
    Ok(directory)
}

struct Unpacking<'a> {
    target: PathBuf,
    subject: &'a str,
    stop: &'a Stop,
}

impl Unpacking<'_> {
    fn refuse(&self, entry: &str, cause: &str) -> Error {
        let entry = market_core::line::one_line(entry);
        Error::new(ErrorKind::Denied, self.subject, format!("the entry \"{entry}\" of the archive {cause}"))
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(ErrorKind::Mismatch, self.subject, format!("the archive is broken: {error}"))
    }

    /// Before every entry: whether to go on.
    fn check(&self, count: usize) -> Result<(), Error> {
        if count >= MOST_ENTRIES {
            return Err(self.refuse("...", &format!("is one of more than {MOST_ENTRIES}")));
        }
        match self.stop.reason() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    fn tar(&self, file: File) -> Result<(), Error> {
        let mut archive = tar::Archive::new(io::BufReader::new(file));
        let entries = archive.entries().map_err(|error| self.broken(&error))?;
        for (count, entry) in entries.enumerate() {
            self.check(count)?;
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if !(kind.is_file() || kind.is_dir() || kind.is_gnu_sparse()) {
                if kind.is_pax_global_extensions() {
                    continue;
                }
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
            let path = self.inside(Path::new(&name)).ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            // Archives of the oldest kind know directories by their names only.
            if kind.is_dir() || name.ends_with('/') {
                fs::create_dir_all(&path).map_err(|error| self.failed(&name, &error))?;
            } else {
                self.file(&name, &path, &mut entry)?;
            }
        }
        Ok(())
    }

    /// Where an entry of this name goes; `None` when it would not be in the directory. No entry is a link, so names are places.
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

    fn zip(&self, file: File) -> Result<(), Error> {
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| self.broken(&error))?;
        for index in 0..archive.len() {
            self.check(index)?;
            let mut entry = archive.by_index(index).map_err(|error| self.broken(&error))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let path = entry.enclosed_name().and_then(|path| self.inside(&path));
            let path = path.ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            if entry.is_dir() {
                fs::create_dir_all(&path).map_err(|error| self.failed(&name, &error))?;
            } else if entry.is_file() {
                self.file(&name, &path, &mut entry)?;
            } else {
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    /// Writes an entry, holes for zeros, as long as nobody asks to stop. Of two entries of one name the later one counts.
    fn file(&self, name: &str, path: &Path, content: &mut impl Read) -> Result<(), Error> {
        let fail = |error: io::Error| self.failed(name, &error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        if path.is_file() {
            fs::remove_file(path).map_err(fail)?;
        }
        let mut file = File::options().write(true).create_new(true).open(path).map_err(fail)?;
        let (mut buffer, mut length) = (vec![0; STRETCH_BYTES], 0);
        loop {
            if let Some(reason) = self.stop.reason() {
                return Err(reason.into());
            }
            let count = content.read(&mut buffer).map_err(fail)?;
            if count == 0 {
                return file.set_len(length).map_err(fail);
            }
            length += count as u64;
            if buffer[..count] == ZEROS[..count] {
                file.seek(SeekFrom::Start(length)).map_err(fail)?;
            } else {
                file.write_all(&buffer[..count]).map_err(fail)?;
            }
        }
    }

    fn failed(&self, entry: &str, error: &io::Error) -> Error {
        let entry = market_core::line::one_line(entry);
        Error::io(format!("{}, entry \"{entry}\"", self.subject), error)
    }
}
