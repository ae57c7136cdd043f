//! The VM template of an appliance: what its publisher wrote as JSON, in the template syntax, with
//! where it may run.

use market_core::catalogue::{Json, Object, Warnings, template_value};
use market_core::template::{Rules, Writer};
use std::borrow::Cow;
use std::collections::HashSet;

/// The largest template that is made, in bytes. It may be larger than its JSON: the name of an
/// attribute is repeated for each item of an array.
const MAX_BYTES: usize = 4 << 20;

/// What the template is completed with, and where warnings go.
pub(crate) struct App<'a> {
    pub(crate) id: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) hypervisor: &'a str,
    pub(crate) warnings: &'a Warnings<'a>,
}

/// What a virtual machine needs to start on aarch64.
const ARM_OS: [(&str, &str); 4] = [
    ("ARCH", "aarch64"),
    ("FIRMWARE", "/usr/share/AAVMF/AAVMF_CODE.fd"),
    ("FIRMWARE_SECURE", "no"),
    ("MACHINE", "virt"),
];

/// The template in OpenNebula's syntax; `None` when the appliance has none, or it is no JSON object.
pub(crate) fn of(object: &Object<'_>, app: &App<'_>) -> Option<Vec<u8>> {
    let given = object.get("opennebula_template")?;
    let written = unquoted(given);
    let Some(template) = Json::parse_str(&written).and_then(Json::object) else {
        if given.raw() != "null" && given.raw() != "\"\"" {
            app.warnings.warn(format_args!(
                "appliance {}: opennebula_template is left out: it is no JSON object",
                app.id
            ));
        }
        return None;
    };
    let mut out = Out { writer: Writer::with_capacity(Rules::Oned, 2 << 10), app };
    let (mut requires, mut os, mut hypervisor) = (false, false, false);
    for (name, member) in template.iter() {
        let upper = name.to_uppercase();
        match upper.as_str() {
            "SCHED_REQUIREMENTS" if !requires => {
                requires = true;
                out.single(&upper, &requirements(scalar(member).as_deref(), app));
            }
            "OS" if !os && app.architecture == "aarch64" => {
                os = true;
                // It may be the first item of a list.
                let given = member.object().or_else(|| member.list()?.first()?.object());
                out.vector(&upper, with_arm(given.unwrap_or_default()));
            }
            "HYPERVISOR" if !hypervisor => {
                hypervisor = true;
                out.single(&upper, app.hypervisor);
            }
            "SCHED_REQUIREMENTS" | "HYPERVISOR" => {}
            _ => out.member(&upper, member),
        }
    }
    if !requires {
        out.single("SCHED_REQUIREMENTS", &requirements(None, app));
    }
    if !os && app.architecture == "aarch64" {
        out.vector("OS", with_arm(Object::default()));
    }
    if !hypervisor {
        out.single("HYPERVISOR", app.hypervisor);
    }
    Some(out.writer.finish())
}

/// The JSON of a template: it may be an object, a string that holds one, or a string that holds such
/// a string.
fn unquoted(given: Json<'_>) -> Cow<'_, str> {
    let Some(text) = given.text() else { return Cow::Borrowed(given.raw()) };
    let inner = Json::parse_str(&text)
        .filter(|json| json.object().is_none())
        .and_then(Json::text)
        .map(Cow::into_owned);
    inner.map_or(text, Cow::Owned)
}

fn requirements(given: Option<&str>, app: &App<'_>) -> String {
    let before = given.map_or_else(String::new, |given| format!("{given} & "));
    let architecture = match app.architecture {
        arch @ ("x86_64" | "aarch64") => format!(" & ARCH={arch}"),
        _ => String::new(),
    };
    format!("{before}HYPERVISOR={}{architecture}", app.hypervisor)
}

/// The pairs of an object, with the values of [`ARM_OS`] in their places or at the end.
fn with_arm(object: Object<'_>) -> Vec<(String, String)> {
    let mut pairs = pairs(&object);
    for (name, text) in ARM_OS {
        match pairs.iter_mut().find(|(found, _)| found == name) {
            Some((_, found)) => text.clone_into(found),
            None => pairs.push((name.to_owned(), text.to_owned())),
        }
    }
    pairs
}

/// The text of a scalar. All texts of the template come from here. Publishers write them as between
/// the quotes of the template syntax, where `\"` stands for a quote and a single backslash for
/// itself; this undoes that, as the writer escapes again.
fn scalar(member: Json<'_>) -> Option<String> {
    let text = member.text()?;
    let text = if text.contains('\\') { Cow::Owned(text.replace("\\\"", "\"")) } else { text };
    Some(template_value(&text).into_owned())
}

/// The text of a value inside an attribute. Objects and arrays have no equivalent there: they stay
/// JSON, with its own escapes. `None` for what is empty.
fn text(member: Json<'_>) -> Option<String> {
    let is_empty = match (member.object(), member.list()) {
        (Some(object), _) => object.iter().next().is_none(),
        (_, Some(list)) => list.is_empty(),
        _ => return scalar(member),
    };
    (!is_empty).then(|| template_value(member.raw()).into_owned())
}

fn pairs(object: &Object<'_>) -> Vec<(String, String)> {
    let mut known = HashSet::new();
    let pairs =
        object.iter().filter_map(|(name, member)| Some((name.to_uppercase(), text(member)?)));
    pairs.filter(|(name, _)| known.insert(name.clone())).collect()
}

struct Out<'a> {
    writer: Writer,
    app: &'a App<'a>,
}

impl Out<'_> {
    fn member(&mut self, name: &str, member: Json<'_>) {
        match member.list() {
            Some(list) => list.into_iter().for_each(|item| self.item(name, item)),
            None => self.item(name, member),
        }
    }

    fn item(&mut self, name: &str, item: Json<'_>) {
        match item.object() {
            Some(object) => self.vector(name, pairs(&object)),
            None => {
                if let Some(text) = text(item) {
                    self.single(name, &text);
                }
            }
        }
    }

    fn single(&mut self, name: &str, text: &str) {
        if !self.has_room(name, name.len() + text.len()) {
            return;
        }
        if let Err(error) = self.writer.single(name, text) {
            self.left_out(name, &error);
        }
    }

    fn vector(&mut self, name: &str, pairs: Vec<(String, String)>) {
        let bytes = pairs.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>();
        if pairs.is_empty() || !self.has_room(name, name.len() + bytes) {
            return;
        }
        if let Err(error) = self.writer.vector(name, pairs) {
            self.left_out(name, &error);
        }
    }

    fn has_room(&self, name: &str, bytes: usize) -> bool {
        let has_room = self.writer.as_bytes().len() + bytes <= MAX_BYTES;
        if !has_room {
            self.left_out(name, &"the template would be larger than 4 MiB");
        }
        has_room
    }

    fn left_out(&self, name: &str, why: &dyn std::fmt::Display) {
        let name: String = name.chars().take(64).collect();
        self.app.warnings.warn(format_args!(
            "appliance {}: {name} of its template is left out: {why}",
            self.app.id
        ));
    }
}
