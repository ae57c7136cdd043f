//! Sources that go wrong, each by a seed: the same seed gives the same fault.

use crate::http::{HttpServer, Reply};
use crate::proxy::{Break, Proxy};
use crate::shell::{Fate, Shell};
use crate::{Random, md5_hex, noise};
use market_core::opennebula::Helpers;
use market_core::transfer::Options;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use std::fmt;
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where the bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A local file that may be changed while it is read.
    File,
    /// An HTTP server that misbehaves.
    Http,
    /// An HTTP server behind a connection that breaks.
    Proxy,
    /// A file of another host, over connections that break.
    Ssh,
    /// An image of Ceph, over connections that break.
    Rbd,
    /// An executable of `downloader.d` that may fail.
    Executable,
    /// A helper that tells a command that may fail.
    Told,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::File, Self::Http, Self::Proxy, Self::Ssh, Self::Rbd, Self::Executable, Self::Told];
}

/// A source with a fault, or with none.
pub struct Faulted {
    /// Its location.
    pub url: String,
    /// How it is to be read.
    pub options: Options,
    /// The only bytes that may ever be published; for [`Kind::File`], also these after a change.
    pub truths: Vec<Vec<u8>>,
    /// The MD5 that is declared; sometimes none.
    pub md5: String,
    /// What keeps it alive.
    _parts: (Option<HttpServer>, Option<Proxy>, Option<Shell>),
    changer: Option<Changer>,
}

impl fmt::Debug for Faulted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulted")
            .field("url", &self.url)
            .field("md5", &self.md5)
            .finish_non_exhaustive()
    }
}

/// Changes a file while somebody reads it.
struct Changer {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Changer {
    /// Gives a file other bytes once it was opened and that many events later, or once it is closed
    /// again.
    fn start(path: &Path, events: u64, bytes: Vec<u8>) -> Self {
        let file = File::options().write(true).open(path).expect("the image");
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
        let flags = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&watch, path, flags).expect("a watch");
        let thread = std::thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 4_096];
            let mut reader = inotify::Reader::new(watch, &mut buffer);
            for _ in 0..=events {
                let event = reader.next().expect("an event");
                if event.events().contains(ReadFlags::CLOSE_NOWRITE) {
                    break;
                }
            }
            file.write_all_at(&bytes, 0).expect("the change");
            file.set_len(bytes.len() as u64).expect("the change");
        });
        Self { path: path.to_owned(), thread: Some(thread) }
    }
}

impl Drop for Changer {
    fn drop(&mut self) {
        // A reader that closes it at once: the thread ends although no import has read the file.
        drop(File::open(&self.path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Faulted {
    /// The source of a seed; its files are in a directory that is the caller's.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn new(seed: u64, kind: Kind, directory: &Path) -> Self {
        let mut random = Random::new(seed);
        let length = usize::try_from(random.below(900_000)).expect("small") + 1;
        let mut truth = noise(seed, length);
        if random.below(3) == 0 {
            truth.iter_mut().skip(length / 3).take(length / 3).for_each(|byte| *byte = 0);
        }
        // Declared, mostly; wrong now and then.
        let md5 = match random.below(8) {
            0 => String::new(),
            1 => md5_hex(b"another image"),
            _ => md5_hex(&truth),
        };
        let options = Options::default()
            .with_connect_timeout(Duration::from_secs(5))
            .with_idle_timeout(Duration::from_millis(400))
            .with_retries(2)
            .with_first_pause(Duration::ZERO);
        let mut faulted = Self {
            url: String::new(),
            options,
            truths: vec![truth.clone()],
            md5,
            _parts: (None, None, None),
            changer: None,
        };
        let path = directory.join("image");
        fs::write(&path, &truth).expect("the image");
        match kind {
            Kind::File => faulted.file(&mut random, &path, length),
            Kind::Http => faulted.http(&mut random, truth),
            Kind::Proxy => faulted.proxy(&mut random, truth),
            Kind::Ssh | Kind::Rbd => faulted.ssh(&mut random, kind, &path, length),
            Kind::Executable | Kind::Told => faulted.helper(&mut random, kind, directory, length),
        }
        faulted
    }

    fn file(&mut self, random: &mut Random, path: &Path, length: usize) {
        self.url = path.to_str().expect("UTF-8").to_owned();
        let (change, at, events) = (random.below(4), random.below(length as u64), random.below(4));
        if self.md5.is_empty() {
            // Two changes within one tick of the file system's clock look alike: only the MD5 tells
            // then.
            self.md5 = md5_hex(&self.truths[0]);
        }
        let mut changed = self.truths[0].clone();
        match change {
            0 => return,
            1 => changed[usize::try_from(at).expect("small")] ^= 1,
            2 => changed.truncate(usize::try_from(at).expect("small")),
            _ => changed.push(1),
        }
        self.truths.push(changed.clone());
        self.changer = Some(Changer::start(path, events, changed));
    }

    fn http(&mut self, random: &mut Random, truth: Vec<u8>) {
        let faults = [0, 1, 2].map(|_| (random.below(16), random.below(truth.len() as u64 + 1)));
        let server = HttpServer::start(move |request, nth| {
            let reply = Reply::bytes(truth.clone()).ranged(request, "\"v1\"");
            let Some(&(fault, at)) = faults.get(nth) else { return reply };
            match fault {
                0 => reply.cut_after(at),
                1 => reply.stall_after(at),
                2 => Reply::status(503).header("Retry-After", "0"),
                3 => Reply::status(500),
                4 => Reply::status(404),
                5 => Reply::bytes(truth.clone()).cut_after(at),
                6 => Reply::bytes(truth.clone()).announcing(at),
                7 => Reply::bytes(truth.clone()).announcing(truth.len() as u64 + at),
                8 => Reply::bytes(truth.clone()).chunked(),
                9 => Reply::bytes(truth.clone()).chunked().cut_after(at),
                // Another object under the same name: a good server has another ETag for it, a bad
                // one the same.
                10 => Reply::bytes(noise(at, truth.len())).ranged(request, "\"v2\""),
                11 => Reply::bytes(truth.clone())
                    .into_partial()
                    .header("Content-Range", format!("bytes {at}-/*")),
                12 => Reply::status(302).header("Location", "/elsewhere"),
                // A part of another object, by servers that prove nothing with it.
                13 | 14 => {
                    match request.range_start().and_then(|start| usize::try_from(start).ok()) {
                        Some(start) if start < truth.len() => {
                            let range =
                                format!("bytes {start}-{}/{}", truth.len() - 1, truth.len());
                            let part =
                                Reply::bytes(&noise(at, truth.len())[start..]).into_partial();
                            let part = part.header("Content-Range", range);
                            if fault == 13 { part.header("ETag", "W/\"v1\"") } else { part }
                        }
                        _ => reply.cut_after(at),
                    }
                }
                _ => reply,
            }
        });
        self.url = server.url("/image?token=hunter2");
        if self.md5.is_empty() {
            // What is cut where no length was said, and what was replaced before the first byte,
            // cannot be told without it.
            self.md5 = md5_hex(&self.truths[0]);
        }
        self._parts.0 = Some(server);
    }

    fn proxy(&mut self, random: &mut Random, truth: Vec<u8>) {
        let length = truth.len() as u64;
        let fates = [0, 1, 2].map(|_| {
            let at = random.below(length + 1_000);
            match random.below(8) {
                0 | 1 => Break::Reset(at),
                2 | 3 => Break::Close(at),
                4 => Break::Stall(at),
                5 => Break::Slow(16 << 10),
                _ => Break::Never,
            }
        });
        let server = HttpServer::start(move |request, _| {
            Reply::bytes(truth.clone()).ranged(request, "\"v1\"")
        });
        let proxy = Proxy::start(server.address(), move |nth| {
            fates.get(nth).copied().unwrap_or(Break::Never)
        });
        self.url = format!("http://127.0.0.1:{}/image", proxy.port());
        self._parts = (Some(server), Some(proxy), None);
    }

    fn ssh(&mut self, random: &mut Random, kind: Kind, path: &Path, length: usize) {
        let fates = [0, 1, 2].map(|_| match random.below(6) {
            0 => Fate::Refused,
            1..=3 => Fate::Output(random.below(length as u64 + 300)),
            4 => Fate::Lost,
            _ => Fate::Whole,
        });
        let shell = Shell::new(&fates).with_program("rbd", &format!("cat '{}'", path.display()));
        self.options.ssh = shell.ssh();
        self.options.idle_timeout = Duration::from_secs(20);
        self.url = match kind {
            Kind::Rbd => "rbd://host/one/one-7?CEPH_KEY=hunter2".to_owned(),
            _ => format!("ssh://host:{}", path.display()),
        };
        self._parts.2 = Some(shell);
    }

    fn helper(&mut self, random: &mut Random, kind: Kind, directory: &Path, length: usize) {
        let at = random.below(length as u64);
        let output = match random.below(5) {
            0 => format!("head -c {at} image; echo 'it broke' >&2; exit 1"),
            1 => format!("head -c {at} image; kill -9 $$"),
            2 => "echo 'no such tape' >&2; exit 3".to_owned(),
            _ => "cat image".to_owned(),
        };
        let remotes = directory.join("remotes");
        fs::create_dir_all(remotes.join("downloader.d")).expect("a directory");
        let at = directory.display();
        let (name, script) = match kind {
            Kind::Told => {
                fs::write(directory.join("told"), format!("cd '{at}' && {output}"))
                    .expect("a file");
                (
                    "restic_downloader.rb",
                    format!("echo \"command='sh {at}/told'\"; echo \"clean_command=true\""),
                )
            }
            _ => ("downloader.d/tape", format!("cd '{at}' && {output}")),
        };
        fs::write(remotes.join(name), format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(remotes.join(name), fs::Permissions::from_mode(0o755))
            .expect("its mode");
        self.url = if kind == Kind::Told { "restic://100/7/0" } else { "tape://7" }.to_owned();
        let helpers = Helpers::in_directory(remotes);
        self.options = self.options.clone().with_fallback(helpers);
        self.options.idle_timeout = Duration::from_secs(20);
    }
}
