//! `cp` into a directory of a bridge, and `export` of an image there. The bytes of a copy go
//! through this host into the bridge's STAGING_DIR, are hashed there, and moved into place.

use crate::request::{Copied, CopyRequest};
use market_bridge::{
    Bridge, Failures, Upload, cleanup_timeout, hosts_switched_off, rotated, script_error,
};
use market_core::backend::Context;
use market_core::checksum::{Malformed, Md5};
use market_core::container::{Format, HEAD_BYTES};
use market_core::error::{Error, ErrorKind};
use market_core::transfer::ssh::Host;
use market_core::transfer::{DigestSet, Digester, Options, Piece, Sink, Source, random_name};
use std::path::{Path, PathBuf};
use tokio::time::timeout;

/// Sends the image into a staging file of a bridge, compares the checksum that the bridge computes
/// with that of what was sent, and gives it the image's name there.
pub(crate) async fn copy(
    request: &CopyRequest<'_>,
    source: &mut Source,
    hosts: Vec<Host>,
) -> Result<Copied, Error> {
    let context = request.context;
    let upload = start_upload(request, source, hosts).await?;
    let staging = upload.bridge().clone();
    let datastore = Bridge::new(
        staging.host().clone(),
        "BASE_PATH",
        request.directory.clone(),
        staging.options().clone(),
    );
    // The checksums of a transfer are those of the bytes as they came. Of an image that is unpacked
    // on the way, other bytes are sent.
    let sent = request.compression.map(|_| Digester::start(DigestSet::MD5));
    let mut sink = BridgeSink { upload, sent };
    let transfer = request.transfer(DigestSet::MD5.and(request.expected.digests()));
    let mut has_begun_placing = false;
    let outcome = async {
        let transferred = context.stop.or(source.transfer(&mut sink, transfer)).await?;
        let (format, conversion) = request.check(source.subject(), &transferred)?;
        let sent = match sink.sent.take() {
            Some(digester) => {
                digester.finish().await.map_err(|error| Error::io("what was sent", &error))?.md5
            }
            None => transferred.digests.md5,
        };
        let stored = context.stop.or(sink.upload.seal()).await?;
        if sent != Some(stored) {
            let sent = sent.map(|sent| sent.to_string()).unwrap_or_default();
            let cause = format!("holds MD5 {stored}, sent was {sent}");
            return Err(Error::new(ErrorKind::Mismatch, sink.upload.subject(), cause));
        }
        has_begun_placing = true;
        place(request, &sink.upload, &datastore, format, conversion).await?;
        let format = conversion.unwrap_or(format);
        Ok(Copied { bytes: transferred.bytes, format, bridge: Some(datastore.clone()) })
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        clean_up(request, sink.upload, has_begun_placing.then_some(&datastore)).await;
    }
    outcome
}

/// Removes what a failed copy may have left on the bridge. A script may still run there, so the
/// order matters: without the staged file nothing can be prepared any more, without the prepared
/// file nothing can get a name any more, and then the named file is removed.
async fn clean_up(request: &CopyRequest<'_>, upload: Upload, datastore: Option<&Bridge>) {
    let staged = upload.subject();
    let log = &request.context.log;
    let report = |outcome: Result<Result<(), Error>, _>, what: &str| match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log.warn(format_args!("{what} may be left behind: {error}")),
        Err(_) => log.warn(format_args!("{what} may be left behind: removing it took too long")),
    };
    let limit = cleanup_timeout(request.context);
    report(timeout(limit, upload.discard()).await, &staged);
    let Some(datastore) = datastore else { return };
    for name in [format!(".market-{}.part", request.name), request.name.clone()] {
        let removed = timeout(limit, datastore.remove(&name)).await;
        let subject = format!("{} on {}", datastore.path(&name), datastore.host());
        report(removed.map(|removed| removed.map(drop)), &subject);
    }
}

/// The hosts that OpenNebula does not show as off.
async fn hosts_on(mut hosts: Vec<Host>, context: &Context) -> Vec<Host> {
    let off = hosts_switched_off(&context.log).await;
    hosts.retain(|host| !off.contains(host.as_str()));
    hosts
}

/// Starts an upload on the first bridge that takes it.
async fn start_upload(
    request: &CopyRequest<'_>,
    source: &Source,
    hosts: Vec<Host>,
) -> Result<Upload, Error> {
    let context = request.context;
    let hosts = hosts_on(hosts, context).await;
    let staging_dir =
        request.config.staging_dir.clone().unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let options = &request.options;
    let bridge = |host| Bridge::new(host, "STAGING_DIR", staging_dir.clone(), options.clone());
    let bridges: Vec<_> = hosts.into_iter().map(bridge).collect();
    let rotated = rotated(&bridges, request.action.image.id)?;
    let name =
        || random_name::<16>().map_err(|error| Error::io("the system's random numbers", &error));
    Upload::start_on_first(rotated, name, source.length(), context).await
}

/// Moves the staged image into the datastore, converted when it has to be, and gives it its name.
/// These are two scripts: this process may be killed while the first one runs on the bridge, and
/// then the image must not get a name.
async fn place(
    request: &CopyRequest<'_>,
    upload: &Upload,
    datastore: &Bridge,
    format: Format,
    conversion: Option<Format>,
) -> Result<(), Error> {
    let directory = request.directory.to_string_lossy();
    let target = conversion.map_or("-", Format::name);
    let arguments = [upload.name(), &directory, &request.name, format.name(), target];
    let prepare = include_str!("scripts/prepare.sh");
    run_script(request, upload.bridge(), prepare, &arguments, "prepared").await?;
    let publish = include_str!("scripts/publish.sh");
    run_script(request, datastore, publish, &[&request.name], "published").await
}

/// Runs a script that answers `expected`, or "error" and why.
async fn run_script(
    request: &CopyRequest<'_>,
    bridge: &Bridge,
    script: &str,
    arguments: &[&str],
    expected: &str,
) -> Result<(), Error> {
    let answer = request.context.stop.or(bridge.ask(script, arguments)).await?;
    if answer == expected {
        return Ok(());
    }
    let subject = format!("BASE_PATH {} on {}", request.directory.display(), bridge.host());
    Err(script_error(&answer, subject).unwrap_or_else(|| bridge.unexpected_answer(&answer)))
}

/// Writes to a bridge.
struct BridgeSink {
    upload: Upload,
    /// Computes the MD5 of what is sent, where that differs from what is fetched.
    sent: Option<Digester>,
}

impl Sink for BridgeSink {
    type Error = Error;

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        if let Some(sent) = &mut self.sent {
            sent.update(piece.clone()).await;
        }
        self.upload.write(&piece).await
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.upload.finish();
        Ok(())
    }
}

/// The `ssh://` URL of a file on a bridge.
fn location(host: &Host, path: &str) -> String {
    let (user, name) =
        host.as_str().rsplit_once('@').map_or(("", host.as_str()), |(user, name)| (user, name));
    let at = if user.is_empty() { "" } else { "@" };
    // The colons of an IPv6 address would be taken for the one before the path.
    let (open, close) =
        if name.contains(':') && !name.starts_with('[') { ("[", "]") } else { ("", "") };
    format!("ssh://{user}{at}{open}{name}{close}:{path}")
}

/// The URL of an image on a bridge, its MD5, and its first bytes.
pub(crate) async fn describe(
    path: &str,
    id: i64,
    hosts: Vec<Host>,
    options: &Options,
    context: &Context,
) -> Result<(String, Md5, Vec<u8>), Error> {
    let hosts = hosts_on(hosts, context).await;
    let mut failures = Failures::default();
    for host in rotated(&hosts, id)? {
        let directory = Path::new(path).parent().unwrap_or(Path::new("/"));
        let bridge = Bridge::new(
            host.clone(),
            "the directory of SOURCE",
            directory.to_owned(),
            options.clone(),
        );
        let described = async {
            let head = Source::open_on(host, path, options).await?.peek(HEAD_BYTES).await?;
            let answer = bridge.ask(include_str!("scripts/md5.sh"), &[path]).await?;
            let answer: Result<Md5, Malformed> = answer.parse();
            Ok::<_, Error>((location(host, path), answer, head))
        };
        match context.stop.or(described).await {
            Ok((location, Ok(md5), head)) => return Ok((location, md5, head)),
            Ok((_, Err(malformed), _)) => return Err(bridge.unexpected_answer(malformed.text())),
            // Another bridge may be reachable. An error about the file would be the same there.
            Err(error) if error.kind == ErrorKind::Unreachable => failures.add(error, &context.log),
            Err(error) => return Err(error),
        }
    }
    Err(failures.into_error("no bridge can be asked"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::transfer::Location;

    #[test]
    fn every_host_of_a_bridge_list_makes_a_location_that_is_read_back() {
        for host in ["bridge", "one@bridge", "10.0.0.1", "fe80::1%eth0", "one@[::1]", "one@fe80::1"]
        {
            let location = location(&Host::new(host).unwrap(), "/a:b");
            let read = Location::parse(&location).unwrap();
            assert!(read.scheme() == "ssh" && read.rest().ends_with(":/a:b"), "{location}");
        }
    }
}
