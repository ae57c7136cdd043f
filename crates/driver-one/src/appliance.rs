//! An entry of the catalogue, and the app that it becomes.

use crate::vm_template::{self, App};
use market_core::catalogue::{Json, NamePrefix, Object, Server, Warnings, template_value};
use market_core::checksum::{Algorithm, Checksum};
use market_core::encoding::encode;
use market_core::model::{AppType, MiB};
use market_core::report::{AppTemplate, ReportError};
use market_core::template::{Rules, Writer};
use market_core::transfer::hex;
use md5::{Digest, Md5};
use std::borrow::Cow;

/// The most disks or roles of an app.
const MAX_PARTS: usize = 1_000;

/// An entry, with the members that are needed before its app is made.
pub(crate) struct Appliance<'a> {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Seconds since 1970; 0 when it says nothing.
    pub(crate) created: i64,
    /// The other members are parsed when the app is made: those of all entries at once would take
    /// much memory.
    json: Json<'a>,
}

/// What an app is made of, beside its entry.
pub(crate) struct Rendering<'a> {
    pub(crate) name: &'a str,
    pub(crate) server: &'a Server,
    pub(crate) prefix: &'a NamePrefix,
    pub(crate) warnings: &'a Warnings<'a>,
}

/// Why no app is made of an entry.
pub(crate) enum Skipped {
    /// It has a type that this driver does not know.
    OtherType,
    /// Its attributes cannot be reported.
    Refused(ReportError),
}

impl From<ReportError> for Skipped {
    fn from(error: ReportError) -> Self {
        Self::Refused(error)
    }
}

impl<'a> Appliance<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(json: Json<'a>) -> Result<Self, String> {
        let object = json.entry().map_err(|error| error.to_string())?;
        let id = object.get("_id").and_then(|id| id.object()?.text("$oid"));
        let id = id.ok_or("it has no _id")?.into_owned();
        // The id becomes a part of URLs.
        if id.len() > 128
            || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            || id.contains("..")
        {
            return Err("its _id has characters that none may have, or is too long".to_owned());
        }
        let name = object.text("name").ok_or("it has no name")?.into_owned();
        let created = object.get("creation_time").and_then(Json::integer).unwrap_or_default();
        Ok(Self { id, name, created, json })
    }

    /// The app's template, its attributes in the order of the stock driver.
    pub(crate) fn render(&self, rendering: &Rendering<'_>) -> Result<AppTemplate, Skipped> {
        let Rendering { name, server, warnings, .. } = *rendering;
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
        let architecture = template_value(&architecture(object.text("os-arch"))).into_owned();
        let hypervisor = template_value(&hypervisor(object.text("hypervisor"))).into_owned();
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
            App { id: &self.id, architecture: &architecture, hypervisor: &hypervisor, warnings };
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

/// The attributes of an app. One that cannot be written is left out, with a warning.
struct Fields<'a> {
    template: AppTemplate,
    id: &'a str,
    rendering: &'a Rendering<'a>,
}

impl Fields<'_> {
    fn set(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        let Some(text) = text else { return };
        let text = template_value(text.as_ref());
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
            .warnings
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
        // An export makes the image's template of it, and so SHA256 reaches the datastore's cp.
        let attributes = [
            ("DEV_PREFIX", file.text("dev_prefix")),
            ("TYPE", file.text("type")),
            ("SHA256", sha256.map(|sha256| Cow::Owned(sha256.to_string()))),
        ];
        for (attribute, text) in attributes {
            if let Some(text) = text
                && let Err(error) = image.single(attribute, &*template_value(&text))
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
                self.vector("ROLE", &[("NAME", &template_value(role)), ("APP", &app)]);
            }
        }
        if let Some(template) = object.get("opennebula_template") {
            let text = template.text().unwrap_or_else(|| {
                Cow::Borrowed(if template.object().is_some() { template.raw() } else { "" })
            });
            self.encoded("APPTEMPLATE64", text.as_bytes());
        }
    }

    /// The apps that this one refers to, up to a limit.
    fn parts<'p, T>(&self, name: &str, parts: &'p [T]) -> &'p [T] {
        if parts.len() > MAX_PARTS {
            self.left_out(
                name,
                &format_args!("it has {} items; the first {MAX_PARTS} are taken", parts.len()),
            );
        }
        &parts[..parts.len().min(MAX_PARTS)]
    }

    fn encoded(&mut self, name: &str, text: &[u8]) {
        if !text.is_empty() {
            self.set(name, Some(encode(text)));
        }
    }
}

/// The stock driver makes a random name at every monitor. This one stays the same.
fn disk_name(id: &str, index: usize) -> String {
    hex(&Md5::digest(format!("{id}:{index}"))[..5])
}
