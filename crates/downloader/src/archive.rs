//! A tar or zip archive, unpacked into a directory in its place. What an entry names must stay inside.

use market_core::error::{Error, ErrorKind};
use market_core::stop::Stop;
use market_core::transfer::Staged;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// More entries than any appliance has: an archive of empty files would fill a file system with them.
const MOST_ENTRIES: usize = 100_000;

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
    target: std::path::PathBuf,
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
            entry.set_preserve_permissions(false);
            entry.set_preserve_mtime(false);
            let inside = entry.unpack_in(&self.target).map_err(|error| self.failed(&name, &error))?;
            if !inside {
                return Err(self.refuse(&name, "leaves the directory"));
            }
        }
        Ok(())
    }

    fn zip(&self, file: File) -> Result<(), Error> {
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| self.broken(&error))?;
        for index in 0..archive.len() {
            self.check(index)?;
            let mut entry = archive.by_index(index).map_err(|error| self.broken(&error))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let path = entry.enclosed_name().ok_or_else(|| self.refuse(&name, "leaves the directory"))?;
            let path = self.target.join(path);
            if entry.is_dir() {
                fs::create_dir_all(&path).map_err(|error| self.failed(&name, &error))?;
            } else if entry.is_file() {
                self.file(&path, &mut entry).map_err(|error| self.failed(&name, &error))?;
            } else {
                return Err(self.refuse(&name, "is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path, content: &mut impl Read) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::options().write(true).create_new(true).open(path)?;
        io::copy(content, &mut file).map(drop)
    }

    fn failed(&self, entry: &str, error: &io::Error) -> Error {
        let entry = market_core::line::one_line(entry);
        Error::io(format!("{}, entry \"{entry}\"", self.subject), error)
    }
}
