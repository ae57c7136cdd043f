//! A copy into a directory of a bridge, and the description of an image there: what is fetched goes
//! through this host to the bridge's STAGING_DIR, is hashed there, and moved into place.

use crate::copy::{Copied, Copying};
use market_core::backend::Context;
use market_core::bridges::{Bridge, Failures, Upload, hosts_off, in_turn, tidying_time};
use market_core::checksum::{Malformed, Md5};
use market_core::container::HEAD_BYTES;
use market_core::error::{Error, ErrorKind};
use market_core::transfer::ssh::Host;
use market_core::transfer::{
    DigestSet, Digester, Options, Piece, Sink, Source, Transfer, random_name,
};
use std::path::PathBuf;
use tokio::time::timeout;

pub(crate) async fn copy(
    copying: &Copying<'_>,
    source: &mut Source,
    hosts: Vec<Host>,
) -> Result<Copied, Error> {
    let Copying { context, .. } = copying;
    let upload = upload(copying, source, hosts).await?;
    let bridge = upload.bridge().clone();
    let placed = Bridge::new(
        bridge.host.clone(),
        "BASE_PATH",
        copying.base.clone(),
        bridge.options().clone(),
    );
    // What is stored there is hashed there; what is fetched is another thing when it is unpacked on
    // its way.
    let sent = copying.unpack.map(|_| Digester::start(DigestSet::MD5));
    let mut sink = BridgeSink { upload, sent };
    let wanted = DigestSet::MD5.and(copying.expected.digests());
    let how = Transfer { wanted, unpack: copying.unpack, max_bytes: None };
    let mut prepared = false;
    let outcome = async {
        let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
        let (format, convert) = copying.check(source.subject(), &transferred)?;
        let sent = match sink.sent.take() {
            Some(digester) => {
                digester.finish().await.map_err(|error| Error::io("what was sent", &error))?.md5
            }
            None => transferred.digests.md5,
        };
        let stored = context.stop.or(sink.upload.seal()).await?;
        if let Some(sent) = sent.filter(|sent| *sent != stored) {
            let cause = format!("holds MD5 {stored}, sent was {sent}");
            return Err(Error::new(ErrorKind::Mismatch, sink.upload.subject(), cause));
        }
        prepared = true;
        place(copying, &sink.upload, &placed, format, convert).await?;
        let format = convert.unwrap_or(format).to_owned();
        Ok(Copied { bytes: transferred.bytes, format, bridge: Some(placed.clone()) })
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        tidy(copying, sink.upload, prepared.then_some(&placed)).await;
    }
    outcome
}

/// Removes what a copy that has failed may have left: first what is staged, so that nothing can be
/// prepared from it any more, then what was prepared, so that nothing can get a name any more, then
/// the name.
async fn tidy(copying: &Copying<'_>, upload: Upload, placed: Option<&Bridge>) {
    let staged = upload.subject();
    let log = &copying.context.log;
    let report = |outcome: Result<Result<(), Error>, _>, what: &str| match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log.warn(format_args!("{what} may be left behind: {error}")),
        Err(_) => log.warn(format_args!("{what} may be left behind: removing it took too long")),
    };
    let limit = tidying_time(copying.context);
    report(timeout(limit, upload.discard()).await, &staged);
    let Some(placed) = placed else { return };
    for name in [format!(".market-{}.part", copying.name), copying.name.clone()] {
        let removed = timeout(limit, placed.remove(&name)).await.map(|removed| removed.map(drop));
        report(removed, &format!("{} on {}", placed.path(&name), placed.host));
    }
}

/// The hosts that OpenNebula has not switched off.
async fn hosts_on(mut hosts: Vec<Host>, context: &Context) -> Vec<Host> {
    let off = hosts_off(&context.log).await;
    hosts.retain(|host| !off.contains(host.as_str()));
    hosts
}

/// Opens an upload on the first bridge that takes it.
async fn upload(copying: &Copying<'_>, source: &Source, hosts: Vec<Host>) -> Result<Upload, Error> {
    let context = copying.context;
    let hosts = hosts_on(hosts, context).await;
    let staging = copying.config.staging_dir.clone().unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let options = copying.options.clone();
    let bridges: Vec<_> = hosts
        .into_iter()
        .map(|host| Bridge::new(host, "STAGING_DIR", staging.clone(), options.clone()))
        .collect();
    let in_turn = in_turn(&bridges, copying.action.image.id)?;
    let name =
        || random_name::<16>().map_err(|error| Error::io("the system's random numbers", &error));
    Upload::start_on_first(in_turn, name, source.length(), context).await
}

/// Gives the image its name, converted when it has to be. The name comes in a second step: this
/// process may be killed while the first one goes on over there, and then nobody may ever see what
/// it makes.
async fn place(
    copying: &Copying<'_>,
    upload: &Upload,
    placed: &Bridge,
    format: &str,
    convert: Option<&str>,
) -> Result<(), Error> {
    let base = copying.base.to_string_lossy();
    let arguments = [upload.name(), &base, &copying.name, format, convert.unwrap_or("-")];
    ask(copying, upload.bridge(), include_str!("scripts/prepare.sh"), &arguments, "prepared")
        .await?;
    ask(copying, placed, include_str!("scripts/publish.sh"), &[&copying.name], "published").await
}

/// Runs a script that answers a word, or why it does not.
async fn ask(
    copying: &Copying<'_>,
    bridge: &Bridge,
    script: &str,
    arguments: &[&str],
    word: &str,
) -> Result<(), Error> {
    let answer = copying.context.stop.or(bridge.ask(script, arguments)).await?;
    match answer.strip_prefix("error ") {
        None if answer == word => Ok(()),
        None => Err(bridge.strange(&answer)),
        Some(cause) => {
            let kind =
                if cause.contains("No space left") { ErrorKind::Full } else { ErrorKind::Failed };
            let subject = format!("BASE_PATH {} on {}", copying.base.display(), bridge.host);
            Err(Error::new(kind, subject, cause))
        }
    }
}

/// A bridge as the place where bytes go.
struct BridgeSink {
    upload: Upload,
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

fn location(host: &Host, path: &str) -> String {
    let (user, name) =
        host.as_str().rsplit_once('@').map_or(("", host.as_str()), |(user, name)| (user, name));
    let at = if user.is_empty() { "" } else { "@" };
    // An IPv6 address, whose colons would be taken for the one before the path.
    let (open, close) =
        if name.contains(':') && !name.starts_with('[') { ("[", "]") } else { ("", "") };
    format!("ssh://{user}{at}{open}{name}{close}:{path}")
}

/// Where an image is on a bridge, its MD5, and how it begins.
pub(crate) async fn describe(
    path: &str,
    id: i64,
    hosts: Vec<Host>,
    options: &Options,
    context: &Context,
) -> Result<(String, Md5, Vec<u8>), Error> {
    let hosts = hosts_on(hosts, context).await;
    let mut failures = Failures::default();
    for host in in_turn(&hosts, id)? {
        let directory = std::path::Path::new(path).parent().unwrap_or(std::path::Path::new("/"));
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
            Ok((_, Err(malformed), _)) => return Err(bridge.strange(malformed.text())),
            // Another bridge may be able to say more about one that cannot be reached, not about a
            // file.
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
