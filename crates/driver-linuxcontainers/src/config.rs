//! The attributes of the marketplace's template.

use market_core::catalogue::{NamePrefix, Server};
use market_core::error::Error;
use serde::Deserialize;

/// What the driver reads (docs/public-marketplaces.md).
#[derive(Clone, Default, Deserialize)]
pub struct LinuxContainersConfig {
    /// The URL of the server.
    pub endpoint: Option<String>,
    /// The same, as the web interface writes it.
    pub base_url: Option<String>,
    /// What the names of its apps begin with.
    #[serde(default)]
    pub app_name_prefix: NamePrefix,
    /// The size of the images that are made, in MiB.
    pub image_size_mb: Option<u32>,
    /// Their file system: ext4 or xfs.
    pub filesystem: Option<String>,
    /// Their format: raw or qcow2.
    pub format: Option<String>,
    /// Whether distributions that nobody has tried are left out.
    pub skip_untested: Option<bool>,
    /// The share of a processor that a container gets.
    pub cpu: Option<f64>,
    /// How many processors it sees.
    pub vcpu: Option<u32>,
    /// Its memory, in MiB.
    pub memory: Option<u32>,
    /// Whether root in the container is root on the host.
    pub privileged: Option<bool>,
}

/// The same with every default in its place.
#[derive(Clone)]
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
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let given = [&self.endpoint, &self.base_url].into_iter().flatten().map(|text| text.trim());
        let endpoint = given.into_iter().find(|text| !text.is_empty()).unwrap_or(ENDPOINT);
        let positive = |name: &str, number: u32| match number {
            0 => Err(Error::config(name, "is zero")),
            number => Ok(number),
        };
        let cpu = self.cpu.unwrap_or(1.0);
        if !cpu.is_finite() || cpu <= 0.0 {
            return Err(Error::config("CPU", "is no share of a processor"));
        }
        Ok(Settings {
            server: checked(
                Server::parse(endpoint).map_err(|cause| Error::config("ENDPOINT", cause))?,
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

/// A server whose URL can stand in a SOURCE, which a shell script of OpenNebula takes apart.
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
