//! `marketctl app build`: everything that publishing an app needs, from an image and a description.

use super::attributes::{Attributes, Value};
use super::description::Description;
use super::entry::{Checksum, Entry, File, Id, Served, ServedFile, Written};
use super::entry_template::{Case, InEntry};
use crate::cli::Build;
use crate::fetch::{fetch, inspect, refuse_unfit};
use crate::image::json;
use image_check::{Declared, Format, Summary};
use market_core::backend::Context;
use market_core::checksum::{Md5, Sha256};
use market_core::encoding::encode;
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::runtime::print;
use market_core::template::{Template, WriteError};
use market_core::transfer::{Digests, StagedFile, redacted};
use serde_json::Value as JsonValue;
use sha2::Digest;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) async fn build(arguments: Build, context: &Context) -> Result<(), Error> {
    let name = arguments.description.display().to_string();
    let description = Description::parse(&super::read(&arguments.description)?, &name)?;
    let image = arguments.image.to_string_lossy().into_owned();
    if image.contains("://") {
        return Err(Error::new(ErrorKind::Usage, redacted(&image), "is no file"));
    }
    if description.url.as_ref().is_some_and(|url| url.contains('?')) {
        context.log.warn("url has a query: whoever reads the entry gets it too");
    }
    let fetched = fetch(&image, true, context).await?;
    refuse_unfit(&fetched, Declared::default(), context).await?;
    let summary =
        inspect(fetched.image, context, |image| image.summary(Duration::from_secs(60))).await?;
    summary.notes.iter().for_each(|note| context.log.warn(format_args!("{image}: {note}")));
    let facts = Facts::of(&summary, fetched.digests.unwrap_or_default(), &image)?;
    if description.architecture().or(facts.architecture).is_none() {
        let error = Error::new(
            ErrorKind::Config,
            &name,
            "os.arch is missing, and the image does not tell it",
        );
        return Err(error.remedy("x86_64, aarch64, or all for an image that any of them can use"));
    }
    let app = App { description: &description, facts: &facts, image: &arguments.image };
    let mut files = vec![
        ("image.tmpl".to_owned(), app.image_template()?),
        ("vm.tmpl".to_owned(), app.vm_template()?),
        ("app.tmpl".to_owned(), app.app_template(arguments.origin_id)?),
        ("MD5SUMS".to_owned(), app.sums(facts.md5)),
        ("SHA256SUMS".to_owned(), app.sums(facts.sha256)),
    ];
    if let Some(url) = &description.url {
        files.extend(app.entries(url)?);
    }
    write(&arguments.output, &files)?;
    print(app.what_next(&files, &arguments).as_bytes())
}

/// What the image says of itself.
struct Facts {
    format: Format,
    virtual_bytes: u64,
    md5: Md5,
    sha256: Sha256,
    os_id: Option<String>,
    os_release: Option<String>,
    architecture: Option<&'static str>,
}

impl Facts {
    fn of(summary: &Summary, digests: Digests, image: &str) -> Result<Self, Error> {
        let no_disk = || Error::new(ErrorKind::Unsupported, image, "has no disk in it");
        let unhashed = || Error::new(ErrorKind::Failed, image, "its checksums were not computed");
        let virtual_bytes = summary.virtual_bytes.filter(|&bytes| bytes > 0);
        Ok(Self {
            format: summary.format,
            virtual_bytes: virtual_bytes.ok_or_else(no_disk)?,
            md5: digests.md5.ok_or_else(unhashed)?,
            sha256: digests.sha256.ok_or_else(unhashed)?,
            os_id: summary.os_id.clone(),
            os_release: summary.os_version.clone(),
            architecture: summary.architecture,
        })
    }
}

/// What a machine of ARM is told besides; the reader of an entry adds it by itself.
const ARM_MACHINE: [(&str, &str); 3] = [
    ("FIRMWARE", "/usr/share/AAVMF/AAVMF_CODE.fd"),
    ("FIRMWARE_SECURE", "no"),
    ("MACHINE", "virt"),
];

struct App<'a> {
    description: &'a Description,
    facts: &'a Facts,
    image: &'a Path,
}

impl App<'_> {
    fn architecture(&self) -> Option<&str> {
        self.description.architecture().or(self.facts.architecture)
    }

    fn hypervisor_word(&self) -> String {
        match self.description.hypervisor.to_lowercase().as_str() {
            "all" | "" => "kvm".to_owned(),
            other => other.to_owned(),
        }
    }

    /// Of the image in the datastore that a private marketplace is filled from.
    fn image_template(&self) -> Result<Vec<u8>, Error> {
        let description = self.description;
        let path = std::path::absolute(self.image)
            .map_err(|error| Error::io(self.image.display().to_string(), &error))?;
        let mut image = Attributes::default();
        image.set("NAME", Value::Single(description.name.clone()));
        image.set("PATH", Value::Single(path.to_string_lossy().into_owned()));
        image.set("TYPE", Value::Single(description.image.kind.clone()));
        image.set("DEV_PREFIX", Value::Single(description.image.dev_prefix.clone()));
        image.set("FORMAT", Value::Single(self.facts.format.to_string()));
        image.set("DESCRIPTION", Value::Single(description.short()));
        image.set("MD5", Value::Single(self.facts.md5.to_string()));
        image.write()
    }

    fn vm_attributes(&self) -> Result<Attributes, Error> {
        self.description.vm_template(self.architecture())
    }

    /// Of a virtual machine that is started from the image in the datastore.
    fn vm_template(&self) -> Result<Vec<u8>, Error> {
        let mut vm = Attributes::default();
        vm.set("NAME", Value::Single(self.description.name.clone()));
        vm.0.extend(self.complete()?.0);
        vm.set("DISK", Value::vector(&[("IMAGE", &self.description.name)]));
        vm.write()
    }

    /// The VM template with what it takes to run where it can.
    fn complete(&self) -> Result<Attributes, Error> {
        let mut attributes = self.vm_attributes()?;
        if self.architecture() == Some("aarch64") {
            attributes.complete("OS", &ARM_MACHINE);
        }
        let architecture = match self.architecture() {
            Some(architecture @ ("x86_64" | "aarch64")) => format!(" & ARCH={architecture}"),
            _ => String::new(),
        };
        let theirs = match attributes.0.iter().find(|(name, _)| name == "SCHED_REQUIREMENTS") {
            Some((_, Value::Single(theirs))) => format!("{theirs} & "),
            _ => String::new(),
        };
        let requirements = format!("{theirs}HYPERVISOR={}{architecture}", self.hypervisor_word());
        attributes.set("SCHED_REQUIREMENTS", Value::Single(requirements));
        Ok(attributes)
    }

    /// For `onemarketapp create`: the disk of the VM template is the app itself.
    fn app_template(&self, origin_id: Option<u32>) -> Result<Vec<u8>, Error> {
        let description = self.description;
        let vm = self.complete()?;
        let mut image = Attributes::default();
        image.set("DEV_PREFIX", Value::Single(description.image.dev_prefix.clone()));
        image.set("TYPE", Value::Single(description.image.kind.clone()));
        let mut app = Template::new();
        let origin = origin_id.map(|id| id.to_string());
        let short = description.short();
        let (apptemplate, vmtemplate) = (encode(&image.write()?), encode(&vm.write()?));
        let attributes = [
            ("NAME", Some(description.name.as_str())),
            ("TYPE", Some("IMAGE")),
            ("ORIGIN_ID", origin.as_deref()),
            ("DESCRIPTION", Some(&short)),
            ("PUBLISHER", Some(&description.publisher)),
            ("VERSION", Some(&description.version)),
            // SIZE, FORMAT and MD5 are the driver's answer to the import: a datastore may convert
            // the image.
            ("APPTEMPLATE64", Some(&apptemplate)),
            ("VMTEMPLATE64", Some(&vmtemplate)),
        ];
        let refused =
            |error: WriteError| Error::new(ErrorKind::Config, "app.toml", error.to_string());
        for (name, value) in attributes {
            if let Some(value) = value {
                app.push(name, value).map_err(refused)?;
            }
        }
        app.write().map_err(refused)
    }

    /// A line for `md5sum -c` and its like, beside the image.
    fn sums(&self, digest: impl Display) -> Vec<u8> {
        let name = self.image.file_name().unwrap_or_default().to_string_lossy();
        format!("{digest}  {}\n", one_line(&name)).into_bytes()
    }

    /// The entry in both forms.
    fn entries(&self, url: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let (description, facts) = (self.description, self.facts);
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map(|time| time.as_secs())
                .unwrap_or_default()
        };
        let entry = Entry {
            name: description.name.clone(),
            version: description.version.clone(),
            publisher: description.publisher.clone(),
            description: description.description.trim().to_owned(),
            short_description: description.short(),
            tags: description.tags.clone(),
            format: facts.format.to_string(),
            creation_time: description.creation_time.unwrap_or_else(now),
            os_id: description.os.id.clone().or(facts.os_id.clone()),
            os_release: description.os.release.clone().or(facts.os_release.clone()),
            os_arch: self.architecture().unwrap_or("all").to_owned(),
            hypervisor: description.hypervisor.clone(),
            opennebula_version: description.opennebula_version.join(", "),
        };
        let file = File {
            name: file_name(&description.name),
            url: url.to_owned(),
            kind: description.image.kind.clone(),
            dev_prefix: description.image.dev_prefix.clone(),
            driver: facts.format.to_string(),
            size: facts.virtual_bytes,
            checksum: Checksum { md5: facts.md5.to_string(), sha256: facts.sha256.to_string() },
        };
        let template = self.vm_attributes()?;
        template.check_for_entry()?;
        let (id, logo) = (self.id(), description.logo.as_deref());
        let refused = |error: String| Error::new(ErrorKind::Failed, "the entry", error);
        let written = Written {
            id: &id,
            entry: &entry,
            opennebula_template: InEntry(&template, Case::Lower),
            logo,
            images: [&file],
        };
        let yaml = serde_saphyr::to_string(&written).map_err(|error| refused(error.to_string()))?;
        let served = Served {
            id: Id { oid: &id },
            entry: &entry,
            opennebula_template: serde_json::to_string(&InEntry(&template, Case::Upper))
                .map_err(|error| refused(error.to_string()))?,
            logo,
            files: [ServedFile {
                file: &file,
                md5: &file.checksum.md5,
                hypervisor: &entry.hypervisor,
                os_arch: &entry.os_arch,
                format: facts.format.name(),
            }],
        };
        let json = json(&served)?;
        read_back(&template, &yaml, &written, &json, &served)?;
        Ok(vec![
            (format!("{id}.yaml"), format!("---\n{yaml}").into_bytes()),
            (format!("{id}.json"), json.into_bytes()),
        ])
    }

    /// The UUID that was given, or one that is the same for every version of the app: of the kind
    /// that everybody may make (8).
    fn id(&self) -> String {
        if let Some(id) = &self.description.id {
            return id.to_lowercase();
        }
        let hash = sha2::Sha256::digest(format!(
            "{}\n{}",
            self.description.publisher, self.description.name
        ));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = market_core::transfer::hex(&bytes);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    fn what_next(&self, files: &[(String, Vec<u8>)], arguments: &Build) -> String {
        let output = one_line(&arguments.output.display().to_string());
        let mut text = String::new();
        for (name, _) in files {
            text.push_str(&format!("{output}/{name}\n"));
        }
        text.push_str(&format!("MD5 {}\nSHA-256 {}\n", self.facts.md5, self.facts.sha256));
        text.push_str(&format!(
            "{} bytes of disk, {}\n",
            self.facts.virtual_bytes, self.facts.format
        ));
        text.push_str(&format!(
            "private marketplace: oneimage create -d <datastore> {output}/image.tmpl, then "
        ));
        text.push_str(&match arguments.origin_id {
            Some(_) => format!("onemarketapp create -m <marketplace> {output}/app.tmpl\n"),
            None => format!(
                "{{ echo ORIGIN_ID=<the id it printed>; cat {output}/app.tmpl; }} \
                 | onemarketapp create -m <marketplace>\n"
            ),
        });
        if self.description.url.is_none() {
            text.push_str("public marketplace: set url in the description for its entry\n");
        }
        text
    }
}

/// Reads both forms of an entry as a marketplace does, and compares them with what they were made
/// of.
fn read_back(
    template: &Attributes,
    yaml: &str,
    written: &Written<'_>,
    json: &str,
    served: &Served<'_>,
) -> Result<(), Error> {
    const TEMPLATE: &str = "opennebula_template";
    let found_yaml = serde_saphyr::from_str::<JsonValue>(yaml).unwrap_or_default();
    template.same_as(
        found_yaml.get(TEMPLATE).and_then(Attributes::read_entry),
        "the YAML of an entry",
    )?;
    same_fields(
        &found_yaml,
        &serde_json::to_value(written).unwrap_or_default(),
        "the YAML of an entry",
    )?;
    let found_json = serde_json::from_str::<JsonValue>(json).unwrap_or_default();
    let inner = found_json.get(TEMPLATE).and_then(JsonValue::as_str);
    let inner = inner.and_then(|text| serde_json::from_str::<JsonValue>(text).ok());
    template.same_as(inner.as_ref().and_then(Attributes::read_entry), "the JSON of an entry")?;
    same_fields(
        &found_json,
        &serde_json::to_value(served).unwrap_or_default(),
        "the JSON of an entry",
    )
}

/// Whether a form holds every field as it was meant.
fn same_fields(found: &JsonValue, meant: &JsonValue, form: &str) -> Result<(), Error> {
    let unfit =
        |field: &str| Err(Error::new(ErrorKind::Config, field, format!("{form} cannot hold it")));
    let (Some(found), Some(meant)) = (found.as_object(), meant.as_object()) else {
        return unfit("the entry");
    };
    match meant.keys().chain(found.keys()).find(|&field| found.get(field) != meant.get(field)) {
        Some(field) => unfit(field),
        None => Ok(()),
    }
}

/// A name fit for a file.
fn file_name(name: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '_' }
    };
    name.chars().map(fit).collect()
}

/// Writes all files or, when one is there already, none.
fn write(directory: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let shown = directory.display().to_string();
    std::fs::create_dir_all(directory).map_err(|error| Error::io(&*shown, &error))?;
    if let Some((name, _)) = files.iter().find(|(name, _)| directory.join(name).exists()) {
        let error = Error::new(
            ErrorKind::Exists,
            format!("{shown}/{name}"),
            "is there already; nothing was written",
        );
        return Err(error.remedy("remove it, or choose another --output"));
    }
    let mut staged = Vec::new();
    for (name, content) in files {
        let stage = StagedFile::file(directory)?;
        let mut file = stage.open()?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|error| Error::io(format!("{shown}/{name}"), &error))?;
        staged.push((stage, directory.join(name)));
    }
    let mut published: Vec<PathBuf> = Vec::new();
    for (stage, place) in staged {
        if let Err(error) = stage.publish(&place) {
            // Ours, made a moment ago.
            published.iter().for_each(|place| drop(std::fs::remove_file(place)));
            return Err(error.into());
        }
        published.push(place);
    }
    Ok(())
}
