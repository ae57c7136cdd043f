//! An entry of the catalogue, and the app that it becomes.

use crate::vm_template::{self, App};
use market_core::catalogue::{Complaints, Json, NamePrefix, Object, Server, value};
use market_core::checksum::{Algorithm, Checksum};
use market_core::encoding::encode;
use market_core::model::{AppType, MiB};
use market_core::report::{AppTemplate, ReportError};
use market_core::template::{Rules, Writer};
use market_core::transfer::hex;
use md5::{Digest, Md5};
use std::borrow::Cow;

/// An entry as far as it is looked at before its app is made.
pub(crate) struct Appliance<'a> {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Seconds since 1970; 0 when it says nothing.
    pub(crate) created: i64,
    /// Its members are read again when they are needed: those of all entries would fill the memory.
    json: Json<'a>,
}

/// What an app is made with, beside its entry.
pub(crate) struct Rendering<'a> {
    pub(crate) name: &'a str,
    pub(crate) server: &'a Server,
    pub(crate) prefix: &'a NamePrefix,
    pub(crate) complaints: &'a Complaints<'a>,
}

/// Why an entry becomes no app.
pub(crate) enum Skipped {
    OtherType,
    Refused(ReportError),
}

impl From<ReportError> for Skipped {
    fn from(error: ReportError) -> Self {
        Self::Refused(error)
    }
}

impl<'a> Appliance<'a> {
    /// Looks at an entry; what is wrong with it otherwise.
    pub(crate) fn read(json: Json<'a>) -> Result<Self, &'static str> {
        let object = json.entry()?;
        let id = object.get("_id").and_then(|id| id.object()?.text("$oid"));
        let id = id.ok_or("it has no _id")?.into_owned();
        // It becomes a part of URLs.
        if id.len() > 128
            || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            || id.contains("..")
        {
            return Err("its _id is none");
        }
        let name = object.text("name").ok_or("it has no name")?.into_owned();
        let created = object.get("creation_time").and_then(Json::integer).unwrap_or_default();
        Ok(Self { id, name, created, json })
    }

    /// The app's template, its attributes in the order of the stock driver.
    pub(crate) fn render(&self, rendering: &Rendering<'_>) -> Result<AppTemplate, Skipped> {
        let Rendering { name, server, complaints, .. } = *rendering;
        let object = &self.json.object().unwrap_or_default();
        let kind = object.text("type").unwrap_or(Cow::Borrowed("IMAGE"));
        let app_type = match AppType::from_word(&kind) {
            app_type @ (AppType::Image | AppType::VmTemplate | AppType::ServiceTemplate) => {
                app_type
            }
            _ => return Err(Skipped::OtherType),
        };
        let link = format!("{}appliance/{}", server.as_str(), self.id);
        let tags = object.get("tags").and_then(Json::list).unwrap_or_default();
        let tags = tags.iter().filter_map(|tag| tag.text()).collect::<Vec<_>>().join(", ");
        let architecture = value(&architecture(object.text("os-arch"))).into_owned();
        let hypervisor = value(&hypervisor(object.text("hypervisor"))).into_owned();
        let mut app =
            Fields { template: AppTemplate::new(name, app_type)?, id: &self.id, rendering };
        app.set("SOURCE", Some(format!("{link}/download/0")));
        app.set("IMPORT_ID", Some(&self.id));
        app.set("ORIGIN_ID", Some("-1"));
        app.set("TYPE", Some(app_type.word().unwrap_or_default()));
        app.set("PUBLISHER", object.text("publisher"));
        app.set("FORMAT", object.text("format"));
        app.set("DESCRIPTION", object.text("short_description"));
        app.set("VERSION", object.text("version"));
        app.set("TAGS", Some(tags));
        app.set(
            "REGTIME",
            object.get("creation_time").and_then(Json::integer).map(|time| time.to_string()),
        );
        app.set("LINK", Some(&link));
        app.set("ARCHITECTURE", Some(&architecture));
        app.set("HYPERVISOR", Some(&hypervisor));
        let vm =
            App { id: &self.id, architecture: &architecture, hypervisor: &hypervisor, complaints };
        match app_type {
            AppType::Image => app.image(object, &vm),
            AppType::VmTemplate => app.vm_template(object, &vm),
            _ => app.service(object),
        }
        Ok(app.template)
    }
}

fn architecture(of: Option<Cow<'_, str>>) -> String {
    match of.as_deref() {
        None => "all",
        Some("amd64") => "x86_64",
        Some("arm64") => "aarch64",
        Some(other) => other,
    }
    .to_owned()
}

fn hypervisor(of: Option<Cow<'_, str>>) -> String {
    match of.as_deref() {
        None | Some("ALL") => "kvm".to_owned(),
        Some(other) => other.to_lowercase(),
    }
}

/// An app that gets its attributes. One that cannot be written costs itself alone.
struct Fields<'a> {
    template: AppTemplate,
    id: &'a str,
    rendering: &'a Rendering<'a>,
}

impl Fields<'_> {
    fn set(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        let Some(text) = text else { return };
        let text = value(text.as_ref());
        if text.is_empty() {
            return;
        }
        if let Err(error) = self.template.single(name, &text) {
            self.left_out(name, &error);
        }
    }

    fn vector(&mut self, name: &str, pairs: &[(&str, &str)]) {
        if let Err(error) = self.template.vector(name, pairs) {
            self.left_out(name, &error);
        }
    }

    fn left_out(&self, name: &str, why: &dyn std::fmt::Display) {
        self.rendering
            .complaints
            .warn(format_args!("appliance {}: {name} is left out: {why}", self.id));
    }

    /// Sets a checksum, when it is one.
    fn checksum(
        &mut self,
        name: &str,
        algorithm: Algorithm,
        text: Option<Cow<'_, str>>,
    ) -> Option<Checksum> {
        match algorithm.parse(text?.trim()) {
            Ok(checksum) => {
                self.set(name, Some(checksum.to_string()));
                Some(checksum)
            }
            Err(error) => {
                self.left_out(name, &format_args!("it is {error}"));
                None
            }
        }
    }

    fn image(&mut self, object: &Object<'_>, vm: &App<'_>) {
        let files = object.get("files").and_then(Json::list).unwrap_or_default();
        let Some(file) = files.first().and_then(|file| file.object()) else { return };
        let bytes = file
            .get("size")
            .and_then(Json::integer)
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default();
        self.set("SIZE", Some(MiB::containing(bytes).0.to_string()));
        let checksum = file.get("checksum").and_then(Json::object).unwrap_or_default();
        let md5 = file.text("md5").or_else(|| checksum.text("md5"));
        self.checksum("MD5", Algorithm::Md5, md5);
        let sha256 = self.checksum("SHA256", Algorithm::Sha256, checksum.text("sha256"));
        let mut image = Writer::new(Rules::Oned);
        // It is what an export makes the image's own template of: there, SHA256 reaches the
        // datastore's cp.
        let attributes = [
            ("DEV_PREFIX", file.text("dev_prefix")),
            ("TYPE", file.text("type")),
            ("SHA256", sha256.map(|sha256| Cow::Owned(sha256.to_string()))),
        ];
        for (attribute, text) in attributes {
            if let Some(text) = text
                && let Err(error) = image.single(attribute, &*value(&text))
            {
                self.left_out(attribute, &error);
            }
        }
        self.encoded("APPTEMPLATE64", &image.finish());
        if let Some(template) = vm_template::of(object, vm) {
            self.encoded("VMTEMPLATE64", &template);
        }
    }

    fn vm_template(&mut self, object: &Object<'_>, vm: &App<'_>) {
        self.set("SIZE", Some("0"));
        let disks = object.get("disks").and_then(Json::list).unwrap_or_default();
        for (index, disk) in self.parts("disks", &disks).iter().enumerate() {
            if let Some(app) = disk.text().and_then(|name| self.rendering.prefix.name(&name)) {
                let name = disk_name(self.id, index);
                self.vector("DISK", &[("NAME", &name), ("APP", &app)]);
            }
        }
        if let Some(template) = vm_template::of(object, vm) {
            self.encoded("APPTEMPLATE64", &template);
        }
    }

    fn service(&mut self, object: &Object<'_>) {
        self.set("SIZE", Some("0"));
        let roles = object.get("roles").and_then(Json::object).unwrap_or_default();
        let roles: Vec<_> = roles.iter().collect();
        for (role, app) in self.parts("roles", &roles) {
            if let Some(app) = app.text().and_then(|name| self.rendering.prefix.name(&name)) {
                self.vector("ROLE", &[("NAME", &value(role)), ("APP", &app)]);
            }
        }
        if let Some(template) = object.get("opennebula_template") {
            let text = template.text().unwrap_or_else(|| {
                Cow::Borrowed(if template.object().is_some() { template.raw() } else { "" })
            });
            self.encoded("APPTEMPLATE64", text.as_bytes());
        }
    }

    /// The apps that this one is made of: as many as anybody uses.
    fn parts<'p, T>(&self, name: &str, parts: &'p [T]) -> &'p [T] {
        const MOST: usize = 1_000;
        if parts.len() > MOST {
            self.left_out(
                name,
                &format_args!("it has {} items; the first {MOST} are taken", parts.len()),
            );
        }
        &parts[..parts.len().min(MOST)]
    }

    fn encoded(&mut self, name: &str, text: &[u8]) {
        if !text.is_empty() {
            self.set(name, Some(encode(text)));
        }
    }
}

/// The stock driver makes a new one at every monitor; this one stays.
fn disk_name(id: &str, index: usize) -> String {
    hex(&Md5::digest(format!("{id}:{index}"))[..5])
}
