//! Embedding the template parser: reads JSON lines `{"id","input_b64"}` on standard input, writes
//! one JSON line a template: `{"id","rc","error","attrs","warnings"}`. `rc` and the columns in
//! `error` are those of OpenNebula's own parser; strings that are not UTF-8 appear as `KEY_b64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use market_core::template::{Template, Value, lint};
use serde_json::{Map, Value as Json, json};
use std::io::{BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(std::io::stdin().lock(), std::io::BufWriter::new(std::io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to read the rest (`| head`): no failure of ours.
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(std::io::stderr(), "template_json: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    for (number, line) in input.split(b'\n').enumerate() {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |what: &str| std::io::Error::other(format!("line {}: {what}", number + 1));
        let request: Json =
            serde_json::from_slice(&line).map_err(|error| wrong(&error.to_string()))?;
        let encoded = request["input_b64"]
            .as_str()
            .ok_or_else(|| wrong("input_b64 is missing or is no string"))?;
        let text =
            STANDARD.decode(encoded).map_err(|error| wrong(&format!("input_b64: {error}")))?;
        serde_json::to_writer(&mut output, &answer(&request["id"], &text))?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn answer(id: &Json, text: &[u8]) -> Json {
    let (rc, error, template) = match Template::parse(text) {
        Ok(template) => (0, None, template),
        Err(failure) => (1, failure.error.as_logged_by_oned(), failure.partial),
    };
    let warnings: Vec<_> = lint(text).iter().map(ToString::to_string).collect();
    let attributes: Vec<_> = template
        .iter()
        .map(|attribute| attribute_json(attribute.name(), attribute.value()))
        .collect();
    json!({ "id": id, "rc": rc, "error": error, "attrs": attributes, "warnings": warnings })
}

fn attribute_json(name: &str, value: Value<'_>) -> Json {
    let mut json = Map::new();
    put(&mut json, "name", name.as_bytes());
    match value {
        Value::Single(value) => {
            json.insert("kind".into(), "single".into());
            put(&mut json, "value", value);
        }
        Value::Vector(vector) => {
            json.insert("kind".into(), "vector".into());
            let pair = |(key, value): (&str, &[u8])| {
                let mut json = Map::new();
                put(&mut json, "k", key.as_bytes());
                put(&mut json, "v", value);
                Json::Object(json)
            };
            json.insert("pairs".into(), vector.iter().map(pair).collect());
        }
    }
    Json::Object(json)
}

fn put(json: &mut Map<String, Json>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => json.insert(key.to_owned(), text.into()),
        Err(_) => json.insert(format!("{key}_b64"), STANDARD.encode(bytes).into()),
    };
}
