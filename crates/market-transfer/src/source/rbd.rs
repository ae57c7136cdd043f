//! Images of Ceph, exported by `rbd` on a host that has access to the cluster.

use super::command::CommandOutput;
use crate::host::Host;
use crate::ssh::Ssh;
use crate::{Error, ErrorKind, Location, Options, Scheme, Source};

/// Exports an image to standard output; the arguments are those of `rbd`.
const EXPORT: &str = "exec rbd \"$@\"";

/// The exit statuses of `rbd` for an image that does not exist, and of a shell that has no `rbd`.
const NO_SUCH_IMAGE: i32 = 2;
const NO_SUCH_COMMAND: i32 = 127;

/// `rbd://[user@]host/pool/image[@snapshot]`.
pub(crate) struct RbdScheme;

impl Scheme for RbdScheme {
    fn names(&self) -> &[&str] {
        &["rbd"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let (host, arguments) =
            parse(location.rest()).map_err(|cause| location.malformed(cause))?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let command = Ssh::new(options).for_bulk(&host).await.command(&host, EXPORT, &arguments);
        let output = CommandOutput::new(command, location, options)
            .over_ssh(host)
            .exit_status(NO_SUCH_IMAGE, ErrorKind::Absent)
            .exit_status(NO_SUCH_COMMAND, ErrorKind::Unsupported);
        Source::from_origin(output, &location.to_string(), options).await
    }
}

/// The host and the arguments of `rbd`.
fn parse(rest: &str) -> Result<(Host, Vec<String>), &'static str> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, image) = place.split_once('/').ok_or("is not rbd://host/pool/image")?;
    let host = Host::new(host).map_err(|_| "names no host that ssh could be given")?;
    let mut arguments = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let option = match &*name {
            "CEPH_USER" => "--id",
            "CEPH_KEY" => "--keyfile",
            "CEPH_CONF" => "--conf",
            _ => continue,
        };
        if !value.is_empty() {
            arguments.extend([option.to_owned(), value.into_owned()]);
        }
    }
    if image.is_empty() || image.starts_with('-') {
        return Err("names no image of Ceph");
    }
    arguments.extend(["export".to_owned(), image.to_owned(), "-".to_owned()]);
    Ok((host, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_and_the_credentials_of_an_image_are_read_from_its_url() {
        let (host, arguments) = parse("h/one/one-1@s?CEPH_USER=a%20b&x=y&CEPH_CONF=").unwrap();
        assert_eq!(host.as_str(), "h");
        assert_eq!(arguments, ["--id", "a b", "export", "one/one-1@s", "-"]);
        for wrong in ["h", "h/", "h/-x", "-x/a/b", "/a/b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
