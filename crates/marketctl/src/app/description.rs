//! app.toml: what a person says of an app.

use super::attributes::{Attributes, Value};
use super::entry_template::unfit_between_quotes;
use super::vocabulary::{
    ARCHITECTURES, HYPERVISORS, IMAGE_TYPES, PREFIXES, is_public, is_series, is_uuid,
};
use market_core::error::{Error, ErrorKind};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that can be said; only what nobody else can know must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// The entry's UUID; from publisher and name when it is left out, so that it stays the same.
    #[serde(default)]
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) publisher: String,
    pub(super) description: String,
    /// The first line of the description when it is left out.
    #[serde(default)]
    pub(super) short_description: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Where the image will be served; only an entry of a public marketplace needs it.
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) logo: Option<String>,
    /// `KVM`, `LXC`, `ALL`.
    #[serde(default = "kvm")]
    pub(super) hypervisor: String,
    /// Release series.
    #[serde(default = "series")]
    pub(super) opennebula_version: Vec<String>,
    /// Seconds since 1970; now when it is left out.
    #[serde(default)]
    pub(super) creation_time: Option<u64>,
    #[serde(default)]
    pub(super) os: Os,
    #[serde(default)]
    pub(super) vm: Vm,
    #[serde(default)]
    pub(super) image: ImageDescription,
    /// Pairs of CONTEXT, beside NETWORK and SSH_PUBLIC_KEY.
    #[serde(default)]
    pub(super) context: BTreeMap<String, Scalar>,
    /// More of the VM template; what is set here wins.
    #[serde(default)]
    pub(super) template: toml::Table,
}

fn kvm() -> String {
    "KVM".to_owned()
}

fn series() -> Vec<String> {
    market_core::opennebula::SERIES.map(str::to_owned).to_vec()
}

/// The guest's system: what is left out is read from the image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Os {
    pub(super) id: Option<String>,
    pub(super) release: Option<String>,
    pub(super) arch: Option<String>,
}

/// What a virtual machine gets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Vm {
    pub(super) memory_mib: u64,
    pub(super) cpu: f64,
    pub(super) vcpu: Option<u32>,
}

impl Default for Vm {
    fn default() -> Self {
        Self { memory_mib: 1_024, cpu: 1.0, vcpu: None }
    }
}

/// How OpenNebula keeps the image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImageDescription {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) dev_prefix: String,
}

impl Default for ImageDescription {
    fn default() -> Self {
        Self { kind: "OS".to_owned(), dev_prefix: "vd".to_owned() }
    }
}

/// A text, or what has one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Text(String),
    Bool(bool),
    Integer(i64),
    Float(f64),
}

impl Scalar {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(true) => "YES".to_owned(),
            Self::Bool(false) => "NO".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
        }
    }
}

impl Description {
    /// Reads an app.toml; `name` stands in messages.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let description: Self = toml::from_str(text).map_err(|error| {
            let place = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = place.map_or_else(String::new, |line| format!("line {line}: "));
            Error::new(ErrorKind::Config, name, format!("{line}{}", error.message()))
        })?;
        description.check().map_err(|cause| Error::new(ErrorKind::Config, name, cause))?;
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        let texts = [
            ("name", &self.name),
            ("version", &self.version),
            ("publisher", &self.publisher),
            ("description", &self.description),
        ];
        if let Some((field, _)) = texts.iter().find(|(_, text)| text.trim().is_empty()) {
            return Err(format!("{field} is empty"));
        }
        if !market_core::report::is_valid_app_name(&self.name) {
            return Err(format!("name: OpenNebula takes no app called {:?}", self.name));
        }
        if self.url.as_deref().is_some_and(|url| !is_public(url)) {
            return Err("url is no http or https URL, or holds a user's name".to_owned());
        }
        if let Some(id) = self.id.as_ref().filter(|id| !is_uuid(id)) {
            return Err(format!("id: {id:?} is no UUID"));
        }
        if !(self.vm.cpu > 0.0 && self.vm.cpu.is_finite()) || self.vm.memory_mib == 0 {
            return Err("vm: cpu and memory_mib are more than nothing".to_owned());
        }
        self.check_words()
    }

    fn check_words(&self) -> Result<(), String> {
        let one_of = |field: &str, word: &str, words: &[&str]| {
            let known = words.iter().any(|known| known.eq_ignore_ascii_case(word));
            if known {
                Ok(())
            } else {
                Err(format!("{field}: {word:?} is none of {}", words.join(", ")))
            }
        };
        one_of("hypervisor", &self.hypervisor, &HYPERVISORS)?;
        one_of("image.type", &self.image.kind, &IMAGE_TYPES)?;
        one_of("image.dev_prefix", &self.image.dev_prefix, &PREFIXES)?;
        if let Some(arch) = &self.os.arch {
            one_of("os.arch", arch, &[&ARCHITECTURES[..], &["amd64", "arm64"]].concat())?;
        }
        if self.opennebula_version.is_empty()
            || !self.opennebula_version.iter().all(|series| is_series(series))
        {
            return Err("opennebula_version is a list of series like \"7.0\"".to_owned());
        }
        let of_ours =
            |name: &&String| matches!(name.to_ascii_uppercase().as_str(), "NAME" | "DISK");
        if let Some(name) = self.template.keys().find(of_ours) {
            return Err(format!("template.{name}: a template of this app gets its own"));
        }
        const MOST: usize = 1_000;
        if self.context.len() > MOST || self.template.len() > MOST {
            return Err(format!("context and template have at most {MOST} names each"));
        }
        let is_requirement = |(name, value): &(&String, &toml::Value)| {
            name.eq_ignore_ascii_case("SCHED_REQUIREMENTS")
                && (value.is_table() || value.is_array())
        };
        if let Some((name, _)) = self.template.iter().find(is_requirement) {
            return Err(format!(
                "template.{name} is no text, and where the app can run is joined to it"
            ));
        }
        once("context", self.context.keys())?;
        once("template", self.template.keys())?;
        self.check_for_entry()
    }

    /// What an entry of a public marketplace says of the app is handed on between quotes, as its
    /// template is.
    fn check_for_entry(&self) -> Result<(), String> {
        if self.url.is_none() {
            return Ok(());
        }
        let short = self.short();
        let texts = [
            ("version", &self.version),
            ("publisher", &self.publisher),
            ("short_description", &short),
        ];
        for (field, text) in texts.into_iter().chain(self.tags.iter().map(|tag| ("tags", tag))) {
            if let Some(cause) = unfit_between_quotes(text) {
                return Err(format!(
                    "{field} {cause}, which no entry of a public marketplace can hold"
                ));
            }
        }
        Ok(())
    }

    /// The architecture of `os.arch`, as OpenNebula calls it.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.os.arch.as_deref().map(|arch| match arch {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        })
    }

    pub(super) fn short(&self) -> String {
        let first = || self.description.trim().lines().next().unwrap_or_default().to_owned();
        self.short_description.clone().unwrap_or_else(first)
    }

    /// The VM template, without its disk.
    pub(super) fn vm_template(&self, architecture: Option<&str>) -> Result<Attributes, Error> {
        let mut attributes = Attributes::default();
        let context = [("NETWORK", "YES"), ("SSH_PUBLIC_KEY", "$USER[SSH_PUBLIC_KEY]")];
        attributes.set("CONTEXT", Value::vector(&context));
        let more = self
            .context
            .iter()
            .map(|(key, value)| (key.to_ascii_uppercase(), value.text()))
            .collect();
        attributes.set("CONTEXT", Value::Vector(more));
        attributes.set("CPU", Value::Single(self.vm.cpu.to_string()));
        if let Some(vcpu) = self.vm.vcpu {
            attributes.set("VCPU", Value::Single(vcpu.to_string()));
        }
        attributes.set("MEMORY", Value::Single(self.vm.memory_mib.to_string()));
        if let Some(architecture) = architecture.filter(|&architecture| architecture != "all") {
            attributes.set("OS", Value::vector(&[("ARCH", architecture)]));
        }
        attributes.set("GRAPHICS", Value::vector(&[("LISTEN", "0.0.0.0"), ("TYPE", "vnc")]));
        for (name, value) in &self.template {
            let value = template_value(value).map_err(|cause| {
                Error::new(ErrorKind::Config, "app.toml", format!("template.{name} {cause}"))
            })?;
            attributes.set(name, value);
        }
        Ok(attributes)
    }
}

/// Whether no two names are the same in the upper case that a template has.
fn once<'a>(table: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut known = BTreeSet::new();
    match names.map(|name| name.to_ascii_uppercase()).find(|name| !known.insert(name.clone())) {
        Some(name) => Err(format!("{table}: {name} stands there twice")),
        None => Ok(()),
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    value.clone().try_into::<Scalar>().ok().map(|scalar| scalar.text())
}

fn pairs(table: &toml::Table) -> Result<Vec<(String, String)>, String> {
    if table.is_empty() {
        return Err("is an empty vector, which OpenNebula would drop; leave it out".to_owned());
    }
    once("has a vector in which", table.keys())?;
    let pair = |(key, value): (&String, &toml::Value)| {
        let text = scalar(value).ok_or_else(|| format!("is too deep for a template at {key}"))?;
        Ok((key.to_ascii_uppercase(), text))
    };
    table.iter().map(pair).collect()
}

/// A text, a vector, or vectors of one name: a template is no deeper. Else what is wrong with it.
fn template_value(value: &toml::Value) -> Result<Value, String> {
    match value {
        toml::Value::Table(table) => pairs(table).map(Value::Vector),
        toml::Value::Array(items) if items.is_empty() => {
            Err("is an empty list, which a template does not have; leave it out".to_owned())
        }
        toml::Value::Array(items) => {
            let item = |item: &toml::Value| match item.as_table() {
                Some(table) => pairs(table),
                None => Err("is a list, and only vectors are listed in a template".to_owned()),
            };
            items.iter().map(item).collect::<Result<_, _>>().map(Value::Vectors)
        }
        value => scalar(value).map(Value::Single).ok_or_else(|| "is no text".to_owned()),
    }
}
