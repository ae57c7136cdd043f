//! A file under way to a bridge.

use super::bridge::{Bridge, MAX_BEATS, WORKING};
use super::{Failures, STAGING, tidying_time};
use crate::backend::Context;
use crate::error::{Error, ErrorKind};
use crate::model::MiB;
use market_transfer::{Md5, Piece, Process};

/// Blocks and their size, as bytes.
fn product(text: &str) -> Option<u64> {
    let (blocks, size) = text.split_once(' ')?;
    Some(blocks.parse::<u64>().ok()?.saturating_mul(size.parse().ok()?))
}

/// A file under way to the staging directory of a bridge.
pub struct Upload {
    bridge: Bridge,
    /// The staging directory.
    staging: String,
    name: String,
    process: Process,
}

impl Upload {
    /// Begins to write a file on the first bridge that takes it, under a new name on each.
    ///
    /// # Errors
    /// When none takes it, or the action is to stop.
    pub async fn start_on_first<'a>(
        bridges: impl Iterator<Item = &'a Bridge>,
        name: impl Fn() -> Result<String, Error>,
        needed_bytes: Option<u64>,
        context: &Context,
    ) -> Result<Self, Error> {
        let mut failures = Failures::default();
        for bridge in bridges {
            let name = name()?;
            let error = match context.stop.or(Self::start(bridge, name.clone(), needed_bytes)).await
            {
                Ok(upload) => return Ok(upload),
                Err(error) => error,
            };
            // It may have begun there all the same, unless the bridge itself could say why not.
            if !matches!(error.kind, ErrorKind::Full | ErrorKind::Config | ErrorKind::Denied) {
                let _ =
                    tokio::time::timeout(tidying_time(context), bridge.remove_staged(&name)).await;
            }
            if error.kind == ErrorKind::Cancelled {
                return Err(error);
            }
            failures.add(error, &context.log);
        }
        Err(failures.into_error("no bridge takes the image"))
    }

    /// Begins to write a file of this name in the staging directory, when there is room for so many
    /// bytes.
    ///
    /// # Errors
    /// When the bridge cannot be reached, has no room, or has no staging directory that is safe.
    async fn start(
        bridge: &Bridge,
        name: String,
        needed_bytes: Option<u64>,
    ) -> Result<Self, Error> {
        let needed = needed_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let process =
            bridge.for_bulk().await.start(include_str!("scripts/receive.sh"), &[&name, &needed])?;
        let mut upload =
            Self { bridge: bridge.clone(), staging: STAGING.to_owned(), name, process };
        let line = upload.line().await?;
        match line.strip_prefix("ready ").filter(|staging| staging.starts_with(STAGING)) {
            Some(staging) => {
                upload.staging = staging.to_owned();
                Ok(upload)
            }
            None => match line.strip_prefix("full ").and_then(product) {
                Some(available) => {
                    let (needed, free) =
                        (MiB::containing(needed_bytes.unwrap_or_default()), MiB::within(available));
                    let cause = format!("{needed} are needed, {free} are free");
                    let error =
                        Error::new(ErrorKind::Full, format!("the bridge {}", bridge.host), cause);
                    Err(error.remedy("free some space"))
                }
                None => Err(bridge.strange(&line)),
            },
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

    /// The file, for messages.
    pub fn subject(&self) -> String {
        format!(
            "{} on {}",
            self.bridge.path(&format!("{}/{}", self.staging, self.name)),
            self.bridge.host
        )
    }

    /// The next line of the script that is an answer; an error that it tells, or how it ended, when
    /// there is none.
    async fn line(&mut self) -> Result<String, Error> {
        let (mut line, mut beats) = (Some(WORKING.to_owned()), 0);
        while line.as_deref() == Some(WORKING) {
            beats += 1;
            if beats > MAX_BEATS {
                return Err(self.bridge.endless());
            }
            line = self.process.read_line().await.map_err(|error| self.bridge.broken(&error))?;
        }
        match line {
            Some(line) => match line.strip_prefix("error ") {
                Some(cause) => {
                    let kind = if cause.contains("No space left") {
                        ErrorKind::Full
                    } else {
                        ErrorKind::Failed
                    };
                    Err(Error::new(kind, self.subject(), cause))
                }
                None => Ok(line),
            },
            None => {
                self.bridge.end(&mut self.process).await?;
                Err(self.bridge.strange(""))
            }
        }
    }

    /// Sends a piece.
    ///
    /// # Errors
    /// When the connection breaks, or what the bridge says instead of taking it.
    pub async fn write(&mut self, piece: &Piece) -> Result<(), Error> {
        for part in piece.parts() {
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        let Err(error) = self.process.write(data).await else { return Ok(()) };
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            return Err(self.bridge.broken(&error));
        }
        // It does not listen any more: it has said why.
        self.process.close_input();
        match self.line().await {
            Err(error) => Err(error),
            Ok(line) => Err(self.bridge.strange(&line)),
        }
    }

    /// All was sent.
    pub fn finish(&mut self) {
        self.process.close_input();
    }

    /// Waits until the bridge has hashed what it holds, and has it on its disk: its MD5.
    ///
    /// # Errors
    /// What went wrong there.
    pub async fn seal(&mut self) -> Result<Md5, Error> {
        let line = self.line().await?;
        let md5 =
            line.strip_prefix("hashed ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let md5 = md5.ok_or_else(|| self.bridge.strange(&line))?;
        match self.line().await?.as_str() {
            "synced" => {}
            other => return Err(self.bridge.strange(other)),
        }
        self.bridge.end(&mut self.process).await?;
        Ok(md5)
    }

    /// Gives it up and removes it.
    ///
    /// # Errors
    /// When the bridge cannot be reached any more.
    pub async fn discard(self) -> Result<(), Error> {
        let Self { bridge, name, process, .. } = self;
        // The connection goes first; the script there writes into a file without a name then.
        drop(process);
        bridge.remove_staged(&name).await.map(drop)
    }
}
