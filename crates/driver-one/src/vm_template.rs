//! The VM template of an appliance: what its publisher wrote as JSON, in the template syntax, with where it may run.

use market_core::catalogue::{Json, Object, value};
use market_core::log::Log;
use market_core::template::{Rules, Writer};
use std::borrow::Cow;

/// What the template is completed with.
pub(crate) struct App<'a> {
    pub(crate) id: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) hypervisor: &'a str,
    pub(crate) log: &'a Log,
}

/// A virtual machine of ARM needs these to start.
const ARM_OS: [(&str, &str); 4] = [
    ("ARCH", "aarch64"),
    ("FIRMWARE", "/usr/share/AAVMF/AAVMF_CODE.fd"),
    ("FIRMWARE_SECURE", "no"),
    ("MACHINE", "virt"),
];

/// The template; `None` when the appliance has none, or what it has is no JSON object.
pub(crate) fn of(object: &Object<'_>, app: &App<'_>) -> Option<Vec<u8>> {
    let given = object.get("opennebula_template")?;
    let text = given.text().unwrap_or(Cow::Borrowed(given.raw()));
    let Some(template) = Json::parse_str(&text).and_then(Json::object) else {
        if given.raw() != "null" && given.raw() != "\"\"" {
            app.log.warn(format_args!("appliance {}: opennebula_template is left out: it is no JSON object", app.id));
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
                out.single(&upper, &requirements(member.text().as_deref(), app));
            }
            "OS" if !os && app.architecture == "aarch64" => {
                os = true;
                out.vector(&upper, with_arm(member.object().unwrap_or_default()));
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

fn requirements(theirs: Option<&str>, app: &App<'_>) -> String {
    let before = theirs.map_or_else(String::new, |theirs| format!("{theirs} & "));
    let architecture = match app.architecture {
        arch @ ("x86_64" | "aarch64") => format!(" & ARCH={arch}"),
        _ => String::new(),
    };
    format!("{before}HYPERVISOR={}{architecture}", app.hypervisor)
}

/// The pairs of an object, those that ARM needs in their places or behind them.
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

/// Publishers have escaped quotes already, and the serializer does it.
fn plain(text: &str) -> String {
    if text.contains('\\') { value(&text.replace("\\\"", "\"")).into_owned() } else { value(text).into_owned() }
}

fn pairs(object: &Object<'_>) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, member) in object.iter() {
        let name = name.to_uppercase();
        // What is deeper than a template can be stays JSON.
        let text = match (member.text(), member.object(), member.list()) {
            (Some(text), _, _) => text,
            (None, Some(object), _) if object.iter().next().is_some() => Cow::Borrowed(member.raw()),
            (None, _, Some(list)) if !list.is_empty() => Cow::Borrowed(member.raw()),
            _ => continue,
        };
        if pairs.iter().all(|(found, _)| *found != name) {
            pairs.push((name, plain(&text)));
        }
    }
    pairs
}

struct Out<'a> {
    writer: Writer,
    app: &'a App<'a>,
}

impl Out<'_> {
    fn member(&mut self, name: &str, member: Json<'_>) {
        if let Some(object) = member.object() {
            self.vector(name, pairs(&object));
        } else if let Some(list) = member.list() {
            for item in list {
                match item.object() {
                    Some(object) => self.vector(name, pairs(&object)),
                    None => self.scalar(name, item),
                }
            }
        } else {
            self.scalar(name, member);
        }
    }

    fn scalar(&mut self, name: &str, member: Json<'_>) {
        let text = match member.list() {
            Some(list) if !list.is_empty() => Some(Cow::Borrowed(member.raw())),
            _ => member.text(),
        };
        if let Some(text) = text {
            self.single(name, &plain(&text));
        }
    }

    fn single(&mut self, name: &str, text: &str) {
        if let Err(error) = self.writer.single(name, &*value(text)) {
            self.left_out(name, &error);
        }
    }

    fn vector(&mut self, name: &str, pairs: Vec<(String, String)>) {
        if pairs.is_empty() {
            return;
        }
        if let Err(error) = self.writer.vector(name, pairs) {
            self.left_out(name, &error);
        }
    }

    fn left_out(&self, name: &str, why: &dyn std::fmt::Display) {
        let name: String = name.chars().take(64).collect();
        self.app.log.warn(format_args!("appliance {}: {name} of its template is left out: {why}", self.app.id));
    }
}
