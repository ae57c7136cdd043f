//! A file on its way to a bridge.

use crate::bridge::{Bridge, MAX_HEARTBEATS, WORKING, script_error};
use crate::{Failures, STAGING, cleanup_timeout};
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::transfer::{Md5, Piece, Process};

/// A file on its way to the [staging directory](STAGING) of a bridge, with one ssh connection for
/// all of its bytes.
///
/// The calls are [`start_on_first`](Self::start_on_first), [`write`](Self::write) for each piece,
/// [`finish`](Self::finish), [`seal`](Self::seal). Dropping it closes the connection and leaves the
/// file; [`discard`](Self::discard) removes it.
#[derive(Debug)]
pub struct Upload {
    bridge: Bridge,
    staging: String,
    name: String,
    process: Process,
}

impl Upload {
    /// Begins a file on the first bridge that takes it, under a new name on each. `needed_bytes` is
    /// the room that it will take, when that is known: a bridge that has less is passed over.
    ///
    /// # Errors
    /// When no bridge takes it ([`ErrorKind::Full`] when one has no room), when `name` fails, or
    /// [`ErrorKind::Cancelled`].
    pub async fn start_on_first<'a>(
        bridges: impl Iterator<Item = &'a Bridge>,
        name: impl Fn() -> Result<String, Error>,
        needed_bytes: Option<u64>,
        context: &Context,
    ) -> Result<Self, Error> {
        let mut failures = Failures::default();
        for bridge in bridges {
            let name = name()?;
            let started = Self::start(bridge, name.clone(), needed_bytes);
            let error = match context.stop.or(started).await {
                Ok(upload) => return Ok(upload),
                Err(error) => error,
            };
            // The file may have been made, unless the bridge itself has said why not.
            if !matches!(error.kind, ErrorKind::Full | ErrorKind::Config | ErrorKind::Denied) {
                let removed = bridge.remove_staged(&name);
                let _ = tokio::time::timeout(cleanup_timeout(context), removed).await;
            }
            if error.kind == ErrorKind::Cancelled {
                return Err(error);
            }
            failures.add(error, &context.log);
        }
        Err(failures.into_error("no bridge takes the image"))
    }

    async fn start(
        bridge: &Bridge,
        name: String,
        needed_bytes: Option<u64>,
    ) -> Result<Self, Error> {
        let needed = needed_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let script = include_str!("scripts/receive.sh");
        let process = bridge.for_bulk().await.start(script, &[&name, &needed])?;
        let mut upload =
            Self { bridge: bridge.clone(), staging: STAGING.to_owned(), name, process };
        let line = upload.line().await?;
        if let Some(staging) = line.strip_prefix("ready ")
            && staging.starts_with(STAGING)
        {
            upload.staging = staging.to_owned();
            return Ok(upload);
        }
        match line.strip_prefix("full ").and_then(blocks) {
            Some(available) => Err(no_room(bridge, needed_bytes.unwrap_or_default(), available)),
            None => Err(bridge.unexpected_answer(&line)),
        }
    }

    /// The bridge.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// The name in the staging directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path and the host, for messages.
    pub fn subject(&self) -> String {
        let path = self.bridge.path(&format!("{}/{}", self.staging, self.name));
        format!("{path} on {}", self.bridge.host())
    }

    /// The next line of the script that is an answer.
    ///
    /// # Errors
    /// What the script says is wrong, or how it ended when there is no line.
    async fn line(&mut self) -> Result<String, Error> {
        for _ in 0..MAX_HEARTBEATS {
            let line = self.process.read_line().await;
            match line.map_err(|error| self.bridge.connection_lost(&error))? {
                Some(line) if line == WORKING => {}
                Some(line) => return script_error(&line, self.subject()).map_or(Ok(line), Err),
                None => {
                    self.bridge.end(&mut self.process).await?;
                    return Err(self.bridge.unexpected_answer(""));
                }
            }
        }
        Err(self.bridge.answer_too_long())
    }

    /// Sends a piece. Holes are sent as zeros; the bridge makes holes of them again.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the connection breaks, or what the bridge says instead of
    /// taking it.
    pub async fn write(&mut self, piece: &Piece) -> Result<(), Error> {
        for part in piece.parts() {
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        let Err(error) = self.process.write(data).await else { return Ok(()) };
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            return Err(self.bridge.connection_lost(&error));
        }
        // The script has stopped to read: it says why.
        self.process.close_input();
        let line = self.line().await?;
        Err(self.bridge.unexpected_answer(&line))
    }

    /// Says that all was sent: the bridge begins to put it on its disk.
    pub fn finish(&mut self) {
        self.process.close_input();
    }

    /// Waits until the bridge has hashed what it holds and has it on its disk. Returns the MD5 that
    /// it computed.
    ///
    /// # Errors
    /// What went wrong there.
    pub async fn seal(&mut self) -> Result<Md5, Error> {
        let line = self.line().await?;
        let md5 =
            line.strip_prefix("hashed ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let md5 = md5.ok_or_else(|| self.bridge.unexpected_answer(&line))?;
        match self.line().await?.as_str() {
            "synced" => {}
            other => return Err(self.bridge.unexpected_answer(other)),
        }
        self.bridge.end(&mut self.process).await?;
        Ok(md5)
    }

    /// Closes the connection and removes the file.
    ///
    /// # Errors
    /// When the bridge cannot be reached any more: the file may be left.
    pub async fn discard(self) -> Result<(), Error> {
        let Self { bridge, name, process, .. } = self;
        // The connection goes first: the script writes through a descriptor, so that a file that is
        // removed meanwhile does not come back.
        drop(process);
        bridge.remove_staged(&name).await.map(drop)
    }
}

/// A number of blocks and their size in bytes, as the number of bytes.
fn blocks(text: &str) -> Option<u64> {
    let (blocks, block_bytes) = text.split_once(' ')?;
    Some(blocks.parse::<u64>().ok()?.saturating_mul(block_bytes.parse().ok()?))
}

fn no_room(bridge: &Bridge, needed_bytes: u64, available_bytes: u64) -> Error {
    let (needed, free) = (MiB::containing(needed_bytes), MiB::within(available_bytes));
    let cause = format!("{needed} are needed, {free} are free");
    Error::new(ErrorKind::Full, format!("the bridge {}", bridge.host()), cause)
        .remedy("free some space")
}
