//! `--dry-run` of a driver that discovers apps: what it would report, for people and programs.

use super::discover::empty_catalogue;
use super::input::read_file;
use super::output::print;
use crate::action::read_marketplace;
use crate::backend::Context;
use crate::configuration::connect;
use crate::discovery::DiscoveryBackend;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use crate::model::Marketplace;
use crate::report::AppTemplate;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

/// The command line of `--dry-run`.
pub(super) struct Preview {
    market: Option<OsString>,
    json: bool,
}

impl Preview {
    /// Whether a command line asks for a preview.
    pub(super) fn is_asked_for(arguments: &[OsString]) -> bool {
        arguments.iter().any(|argument| argument == "--dry-run")
    }

    /// How to call it, in one line.
    pub(super) fn usage(name: &str) -> String {
        format!(
            "{name} --dry-run [MARKET] [--format table|json] tells what would be reported; \
             MARKET is a file with the output of \"onemarket show -x\""
        )
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub(super) fn parse(name: &str, arguments: &[OsString]) -> Result<Self, Error> {
        let usage = |cause: &str| {
            let error = Error::new(ErrorKind::Usage, format!("{name} --dry-run"), one_line(cause));
            error.remedy(Self::usage(name))
        };
        let mut preview = Self { market: None, json: false };
        let mut parser = lexopt::Parser::from_args(arguments.iter().skip(1));
        while let Some(argument) = parser.next().map_err(|error| usage(&error.to_string()))? {
            match argument {
                lexopt::Arg::Long("dry-run") => {}
                lexopt::Arg::Long("format") => {
                    let format = parser.value().map_err(|error| usage(&error.to_string()))?;
                    preview.json = match format.to_str() {
                        Some("table") => false,
                        Some("json") => true,
                        _ => return Err(usage("--format: expected table or json")),
                    };
                }
                lexopt::Arg::Value(word) if word == "monitor" => {}
                lexopt::Arg::Value(word) if preview.market.is_none() => preview.market = Some(word),
                other => return Err(usage(&other.unexpected().to_string())),
            }
        }
        Ok(preview)
    }

    /// Prints the apps that the driver would report.
    ///
    /// # Errors
    /// As a monitor of the driver, and what is wrong with the marketplace that the command line
    /// names.
    pub(super) async fn run<B: DiscoveryBackend>(self, mut context: Context) -> Result<(), Error> {
        let backend = connect::<B>(&self.marketplace(B::MAD)?, &mut context).await?;
        let apps = context.stop.or(backend.monitor()).await?.apps;
        if apps.is_empty() {
            context.log.warn(empty_catalogue::<B>());
        }
        let text = if self.json { json_of(&apps) } else { table_of(&apps) };
        print(text.as_bytes())
    }

    /// The marketplace in a file, on standard input or in a dump; one without attributes when none
    /// is named.
    fn marketplace(&self, mad: &str) -> Result<Marketplace, Error> {
        let text = match &self.market {
            None => format!(
                "<MARKETPLACE><ID>-1</ID><NAME>default</NAME><MARKET_MAD>{mad}</MARKET_MAD>\
                 <TEMPLATE/></MARKETPLACE>"
            )
            .into_bytes(),
            Some(word) if word == "-" || Path::new(word).exists() => read_file(Path::new(word))?.0,
            Some(word) => word.as_encoded_bytes().to_vec(),
        };
        read_marketplace(&text)
            .map_err(|error| Error::new(ErrorKind::Usage, "the marketplace", error.to_string()))
    }
}

/// The columns of an app: the member's name in JSON, the heading in a table, the attribute.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("name", "name", "NAME"),
    ("type", "type", "TYPE"),
    ("size_mib", "MiB", "SIZE"),
    ("arch", "arch", "ARCHITECTURE"),
    ("hypervisor", "hypervisor", "HYPERVISOR"),
    ("source", "source", "SOURCE"),
];

fn cells(app: &AppTemplate) -> [String; 6] {
    COLUMNS.map(|(_, _, attribute)| match attribute {
        "NAME" => app.name().to_owned(),
        "TYPE" => app.app_type().word().unwrap_or_default().to_owned(),
        attribute => app.value(attribute).unwrap_or_default().to_owned(),
    })
}

/// A table for people.
fn table_of(apps: &[AppTemplate]) -> String {
    let mut rows = vec![COLUMNS.map(|(_, heading, _)| heading.to_owned())];
    rows.extend(apps.iter().map(|app| cells(app).map(|cell| one_line(&cell))));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut table = String::new();
    for [name, kind, size, arch, hypervisor, source] in &rows {
        let [n, k, s, a, h, _] = widths;
        let _ = writeln!(
            table,
            "{name:n$}  {kind:k$}  {size:>s$}  {arch:a$}  {hypervisor:h$}  {source}"
        );
    }
    let _ = writeln!(table, "{} app(s)", apps.len());
    table
}

/// The same as JSON, for programs.
fn json_of(apps: &[AppTemplate]) -> String {
    let app = |app: &AppTemplate| -> Value {
        let members = COLUMNS.iter().zip(cells(app)).map(|((name, ..), cell)| {
            let value =
                if *name == "size_mib" { json!(cell.parse::<i64>().ok()) } else { json!(cell) };
            ((*name).to_owned(), value)
        });
        Value::Object(members.collect())
    };
    format!("{}\n", json!({ "apps": apps.iter().map(app).collect::<Vec<_>>() }))
}
