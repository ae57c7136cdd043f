//! The template of a service, as OneFlow takes it, and the inputs that users are asked for.

use super::problem::Level;
use market_core::template::{self, Lint, Template};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Takes a problem: how much it matters, the path of the field, and what is wrong.
pub(super) type Report<'a> = dyn FnMut(Level, &str, String) + 'a;

/// Checks the template of a service. `apps` are the roles of the entry, each with the name of its
/// app.
pub(super) fn check(
    service: &Map<String, Value>,
    path: &str,
    apps: Option<&Map<String, Value>>,
    report: &mut Report<'_>,
) {
    let at = |name: &str| format!("{path}.{name}");
    if service.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        report(Level::Error, &at("name"), "is no text, or missing".to_owned());
    }
    if let Some(deployment) = service.get("deployment")
        && !matches!(deployment.as_str(), Some("none" | "straight"))
    {
        report(Level::Error, &at("deployment"), format!("{deployment} is none of none, straight"));
    }
    for name in ["ready_status_gate", "automatic_deletion", "on_hold"] {
        if service.get(name).is_some_and(|value| !value.is_boolean()) {
            report(Level::Error, &at(name), "is neither true nor false".to_owned());
        }
    }
    for name in ["user_inputs", "custom_attrs", "networks"] {
        if let Some(value) = service.get(name) {
            inputs(value, &at(name), report);
        }
    }
    match service.get("roles").and_then(Value::as_array) {
        Some(roles) if !roles.is_empty() => all_roles(roles, &at("roles"), apps, report),
        _ => report(Level::Error, &at("roles"), "is no list of roles".to_owned()),
    }
}

/// Checks the list of roles.
fn all_roles(
    roles: &[Value],
    path: &str,
    apps: Option<&Map<String, Value>>,
    report: &mut Report<'_>,
) {
    let name_of = |role: &Value| role.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: BTreeSet<String> = roles.iter().filter_map(name_of).collect();
    let mut known = BTreeSet::new();
    for (role, number) in roles.iter().zip(1..) {
        let Some(object) = role.as_object() else {
            report(Level::Error, path, format!("holds what is no role at place {number}"));
            continue;
        };
        let name = name_of(role).unwrap_or_default();
        let label = if name.is_empty() {
            format!("{path}.{number}")
        } else {
            format!("{path}.{}", shortened(&name))
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            report(Level::Error, &label, "has no name of letters, digits and _".to_owned());
        } else if !known.insert(name.clone()) {
            report(Level::Error, &label, "has the name of another role".to_owned());
        } else if apps.is_some_and(|apps| !apps.contains_key(&name)) {
            report(
                Level::Error,
                &label,
                "has no app: roles of the entry does not name it".to_owned(),
            );
        }
        one_role(object, &label, &names, report);
    }
    for role in apps.into_iter().flat_map(Map::keys).filter(|&role| !names.contains(role)) {
        report(
            Level::Error,
            "roles",
            format!("has an app for {role:?}, which the template does not know"),
        );
    }
}

/// Checks a role; `names` are those of all roles.
fn one_role(
    role: &Map<String, Value>,
    path: &str,
    names: &BTreeSet<String>,
    report: &mut Report<'_>,
) {
    for name in ["cardinality", "min_vms", "max_vms", "cooldown"] {
        if let Some(value) = role.get(name).filter(|value| !value.is_u64()) {
            report(Level::Error, &format!("{path}.{name}"), format!("{value} is no whole number"));
        }
    }
    match role.get("parents") {
        None => {}
        Some(Value::Array(parents)) => {
            let is_known =
                |parent: &Value| parent.as_str().is_some_and(|parent| names.contains(parent));
            for parent in parents.iter().filter(|parent| !is_known(parent)) {
                report(
                    Level::Error,
                    &format!("{path}.parents"),
                    format!("names {parent}, which is no role"),
                );
            }
        }
        Some(_) => {
            report(Level::Error, &format!("{path}.parents"), "is no list of roles".to_owned())
        }
    }
    for name in ["elasticity_policies", "scheduled_policies"] {
        if role.get(name).is_some_and(|value| {
            !value.as_array().is_some_and(|list| list.iter().all(Value::is_object))
        }) {
            report(Level::Error, &format!("{path}.{name}"), "is no list of policies".to_owned());
        }
    }
    let contents = format!("{path}.vm_template_contents");
    match role.get("vm_template_contents") {
        None => {}
        Some(Value::String(text)) => template_text(text, &contents, report),
        Some(_) => report(Level::Error, &contents, "is no text".to_owned()),
    }
    if role.get("template_contents").is_some_and(|value| !value.is_object()) {
        report(Level::Error, &format!("{path}.template_contents"), "is no map".to_owned());
    }
    if let Some(value) = role.get("user_inputs") {
        inputs(value, &format!("{path}.user_inputs"), report);
    }
}

/// As much of a name as a message needs.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// A text in the template syntax: whether OpenNebula can read it, and whether it reads what its
/// author means.
fn template_text(text: &str, path: &str, report: &mut Report<'_>) {
    if let Err(failure) = Template::parse(text.as_bytes()) {
        return report(Level::Error, path, format!("is no template: {}", failure.error));
    }
    for found in template::lint(text.as_bytes()) {
        let level = match found.lint {
            Lint::DuplicateKey | Lint::CarriageReturn => Level::Warn,
            _ => Level::Error,
        };
        report(level, path, found.to_string());
    }
}

/// What a user is asked for: a map of names to texts like `M|text|description|options|default`.
pub(super) fn inputs(inputs: &Value, path: &str, report: &mut Report<'_>) {
    const TYPES: [&str; 13] = [
        "boolean",
        "fixed",
        "list",
        "list-multiple",
        "network",
        "number",
        "number-float",
        "password",
        "range",
        "range-float",
        "text",
        "text64",
        "vnet",
    ];
    let Some(inputs) = inputs.as_object() else {
        return report(Level::Error, path, "is no map of names to inputs".to_owned());
    };
    for (name, input) in inputs {
        let path = format!("{path}.{}", shortened(name));
        let Some(input) = input.as_str() else {
            report(Level::Error, &path, "is no text like \"O|text|description\"".to_owned());
            continue;
        };
        let mut fields = input.split('|');
        let (must, kind) = (fields.next().unwrap_or_default(), fields.next());
        match kind {
            None => {
                report(Level::Error, &path, "is no text like \"O|text|description\"".to_owned())
            }
            Some(_) if !matches!(must, "M" | "O") => {
                let cause = "neither M (must be given) nor O (optional, the letter)";
                report(Level::Error, &path, format!("begins with {must:?}, {cause}"));
            }
            Some(kind) if !TYPES.contains(&kind) => {
                report(
                    Level::Error,
                    &path,
                    format!("is of the type {kind:?}, none of {}", TYPES.join(", ")),
                );
            }
            Some(_) => {}
        }
    }
}
