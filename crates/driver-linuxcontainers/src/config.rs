//! The attributes of the marketplace's template, and their defaults.

use market_core::catalogue::{NamePrefix, Server};
use market_core::error::Error;
use serde::Deserialize;

/// The attributes of the marketplace's template (docs/public-marketplaces.md).
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct LinuxContainersConfig {
    /// `ENDPOINT`: the URL of the server; `https://images.linuxcontainers.org/` when it is not set.
    pub endpoint: Option<String>,
    /// `BASE_URL`: the same, as the web interface writes it; `ENDPOINT` comes first.
    pub base_url: Option<String>,
    /// `APP_NAME_PREFIX`: what the names of its apps begin with; nothing when it is not set.
    #[serde(default)]
    pub app_name_prefix: NamePrefix,
    /// `IMAGE_SIZE_MB`: the size of the images that are made, in MiB; 2048 when it is not set.
    pub image_size_mb: Option<u32>,
    /// `FILESYSTEM`: their file system, `ext4` (the default) or `xfs`.
    pub filesystem: Option<String>,
    /// `FORMAT`: their format, `raw` (the default) or `qcow2`.
    pub format: Option<String>,
    /// `SKIP_UNTESTED`: whether distributions that are not known to work are left out; yes when it is
    /// not set.
    pub skip_untested: Option<bool>,
    /// `CPU`: the share of a physical processor that a container gets; 1 when it is not set.
    pub cpu: Option<f64>,
    /// `VCPU`: how many processors it sees; 2 when it is not set.
    pub vcpu: Option<u32>,
    /// `MEMORY`: its memory, in MiB; 768 when it is not set.
    pub memory: Option<u32>,
    /// `PRIVILEGED`: whether root in the container is root on the host; yes when it is not set.
    pub privileged: Option<bool>,
}

/// The attributes, checked, with their defaults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) prefix: NamePrefix,
    pub(crate) size_mib: u32,
    pub(crate) filesystem: &'static str,
    pub(crate) format: &'static str,
    pub(crate) skip_untested: bool,
    pub(crate) cpu: f64,
    pub(crate) vcpu: u32,
    pub(crate) memory_mib: u32,
    pub(crate) privileged: bool,
}

/// The public server.
const ENDPOINT: &str = "https://images.linuxcontainers.org/";

impl LinuxContainersConfig {
    /// Checks every attribute.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](market_core::error::ErrorKind::Config) names the attribute.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let given = [&self.endpoint, &self.base_url].into_iter().flatten().map(|text| text.trim());
        let endpoint = given.into_iter().find(|text| !text.is_empty()).unwrap_or(ENDPOINT);
        let positive = |name: &str, number: u32| match number {
            0 => Err(Error::config(name, "is zero")),
            number => Ok(number),
        };
        let cpu = self.cpu.unwrap_or(1.0);
        if !cpu.is_finite() || cpu <= 0.0 {
            return Err(Error::config("CPU", "is no number above zero"));
        }
        Ok(Settings {
            server: checked(
                Server::parse(endpoint)
                    .map_err(|cause| Error::config("ENDPOINT", cause.to_string()))?,
            )?,
            prefix: self.app_name_prefix.clone(),
            size_mib: positive("IMAGE_SIZE_MB", self.image_size_mb.unwrap_or(2_048))?,
            filesystem: one_of("FILESYSTEM", self.filesystem.as_deref(), &["ext4", "xfs"])?,
            format: one_of("FORMAT", self.format.as_deref(), &["raw", "qcow2"])?,
            skip_untested: self.skip_untested.unwrap_or(true),
            cpu,
            vcpu: positive("VCPU", self.vcpu.unwrap_or(2))?,
            memory_mib: positive("MEMORY", self.memory.unwrap_or(768))?,
            privileged: self.privileged.unwrap_or(true),
        })
    }
}

/// Refuses a server whose URL cannot be a part of SOURCE, which a shell script of OpenNebula parses.
pub(crate) fn checked(server: Server) -> Result<Server, Error> {
    if server
        .as_str()
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"?#\"'\\`$&;|<>(){}*!".contains(&b))
    {
        return Ok(server);
    }
    Err(Error::config(
        "ENDPOINT",
        "leads to a URL with a character that means something to a shell",
    ))
}

fn one_of(name: &str, given: Option<&str>, known: &[&'static str]) -> Result<&'static str, Error> {
    let given = given.map(str::trim).unwrap_or(known[0]);
    let found = known.iter().find(|known| known.eq_ignore_ascii_case(given));
    found.copied().ok_or_else(|| Error::config(name, format!("is none of {}", known.join(", "))))
}
