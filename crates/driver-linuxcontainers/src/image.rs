//! A product of the index, and the app that is made of it.

use crate::config::Settings;
use crate::date::parse_build_time;
use market_core::catalogue::{Json, Server};
use market_core::encoding::encode;
use market_core::model::AppType;
use market_core::report::{AppTemplate, ReportError};
use market_core::template::{Rules, WriteError, Writer};
use market_core::transfer::hex;
use md5::{Digest, Md5};

/// Distributions whose images are known to work in OpenNebula.
const TESTED: [&str; 10] = [
    "almalinux",
    "alpine",
    "amazonlinux",
    "debian",
    "devuan",
    "fedora",
    "opensuse",
    "oracle",
    "rockylinux",
    "ubuntu",
];

/// The file that an image is made of.
const ROOT: &str = "root.tar.xz";

/// The newest build of a product.
pub(crate) struct Image {
    pub(crate) name: String,
    architecture: &'static str,
    /// When it was built: `20261122_07:42`, and in seconds since 1970.
    pub(crate) version: String,
    pub(crate) built: i64,
    path: String,
    sha256: String,
}

impl Image {
    /// Reads a product with its key `distro:release:arch:variant`; `None` when it is of a kind that
    /// the settings leave out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(
        key: &str,
        product: Json<'_>,
        settings: &Settings,
    ) -> Result<Option<Self>, String> {
        let mut words = key.split(':');
        let (Some(distro), Some(release), Some(arch), Some(variant), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err("its name is not distro:release:arch:variant".to_owned());
        };
        let (architecture, suffix) = match arch {
            "amd64" => ("x86_64", ""),
            "arm64" => ("aarch64", " (aarch64)"),
            _ => return Ok(None),
        };
        if variant != "default" || (settings.skip_untested && !TESTED.contains(&distro)) {
            return Ok(None);
        }
        let name = settings.prefix.name(&format!("{distro}_{release}{suffix}"));
        let name = name.ok_or("its name cannot be made valid")?;
        let product = product.entry().map_err(|error| error.to_string())?;
        let versions =
            product.get("versions").and_then(Json::object).ok_or("it has no versions")?;
        // Their order says nothing, and some builds lack their image.
        let builds = versions.iter().filter_map(|(version, build)| {
            let built = parse_build_time(version)?;
            let item = build.object()?.get("items")?.object()?.get(ROOT)?.object()?;
            Some((built, version, item))
        });
        let Some((built, version, item)) =
            builds.max_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)))
        else {
            return Err("it has no image".to_owned());
        };
        let path = item.text("path").ok_or("its image has no path")?;
        if !is_path(&path) {
            return Err("the path of its image has characters that none may have".to_owned());
        }
        let sha256 = item.text("sha256").unwrap_or_default().into_owned();
        Ok(Some(Self {
            name,
            architecture,
            version: version.to_owned(),
            built,
            path: path.trim_start_matches('/').to_owned(),
            sha256,
        }))
    }

    /// The app's template, its attributes in the order of the stock driver.
    pub(crate) fn render(
        &self,
        images: &Server,
        settings: &Settings,
    ) -> Result<AppTemplate, String> {
        let link =
            images.below(&self.path).ok_or("the path of its image leads out of the server")?;
        self.app(images.as_str(), &link, settings).map_err(|error| error.to_string())
    }

    fn app(
        &self,
        publisher: &str,
        link: &str,
        settings: &Settings,
    ) -> Result<AppTemplate, ReportError> {
        let Settings { size_mib, filesystem, format, .. } = settings;
        let mut app = AppTemplate::new(&self.name, AppType::Image)?;
        app.single("SIZE", &size_mib.to_string())?;
        app.single("PUBLISHER", publisher)?;
        app.single("FORMAT", format)?;
        app.single("REGTIME", &self.built.to_string())?;
        app.single(
            "SOURCE",
            &format!("lxd://{link}?size={size_mib}&filesystem={filesystem}&format={format}"),
        )?;
        app.single("MD5", &self.md5(settings))?;
        app.single("IMPORT_ID", "-1")?;
        app.single("ORIGIN_ID", "-1")?;
        app.single("VERSION", "1.0")?;
        app.single("TYPE", "IMAGE")?;
        app.single("DESCRIPTION", &format!("Downloaded from {publisher}"))?;
        app.single("LINK", link)?;
        app.single("ARCHITECTURE", self.architecture)?;
        app.single("HYPERVISOR", "lxc")?;
        app.single("APPTEMPLATE64", &encode(b"DRIVER=\"raw\"\n"))?;
        app.single("VMTEMPLATE64", &encode(&self.vm_template(settings)?))?;
        Ok(app)
    }

    /// No digest of an image, which is made later: it changes when the build does, or what is made
    /// of it.
    fn md5(&self, settings: &Settings) -> String {
        let Settings { size_mib, filesystem, format, cpu, vcpu, memory_mib, privileged, .. } =
            settings;
        let build = if self.sha256.is_empty() {
            format!("{} {}", self.version, self.path)
        } else {
            self.sha256.clone()
        };
        let text = format!(
            "{build} {size_mib} {filesystem} {format} {cpu} {vcpu} {memory_mib} {privileged}"
        );
        hex(&Md5::digest(text))
    }

    fn vm_template(&self, settings: &Settings) -> Result<Vec<u8>, WriteError> {
        let mut vm = Writer::new(Rules::Oned);
        vm.single("SCHED_REQUIREMENTS", format!("HYPERVISOR=lxc & ARCH={}", self.architecture))?;
        vm.single("CPU", settings.cpu.to_string())?;
        vm.single("VCPU", settings.vcpu.to_string())?;
        vm.single("MEMORY", settings.memory_mib.to_string())?;
        vm.single("LXC_UNPRIVILEGED", (!settings.privileged).to_string())?;
        vm.vector("GRAPHICS", [("LISTEN", "0.0.0.0"), ("TYPE", "vnc")])?;
        let context = [
            ("NETWORK", "YES"),
            ("SSH_PUBLIC_KEY", "$USER[SSH_PUBLIC_KEY]"),
            ("SET_HOSTNAME", "$NAME"),
        ];
        vm.vector("CONTEXT", context)?;
        vm.vector("RAW", [("TYPE", "lxc"), ("DATA", "lxc.apparmor.profile=unconfined")])?;
        vm.single("HYPERVISOR", "lxc")?;
        Ok(vm.finish())
    }
}

/// Whether a text is a path that can be a part of SOURCE, which a shell script of OpenNebula parses.
fn is_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_.:+~@%-".contains(&b);
    path.len() <= 1_024 && path.bytes().all(plain) && path.split('/').all(|segment| segment != "..")
}
