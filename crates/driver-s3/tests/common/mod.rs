//! Calls of the driver, by its executable and by its library, and what they need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use driver_s3::{S3Key, S3Market};
use market_core::action::ImportAction;
use market_core::backend::{Context, MarketBackend, StorageBackend, StoredObject};
use market_core::error::Error;
use market_core::log::Log;
use market_core::model::{AppId, SourceUrl};
use market_core::pipeline;
use market_core::report::ImportedApp;
use market_core::stop::StopSwitch;
use market_core::template::{Template, serde::from_template};
use market_core::transfer::Options;
use market_s3::{Bucket, S3Attributes, S3Scheme};
use market_testkit::conformance::{objects, stored};
use market_testkit::driver::{run, start, stderr};
use market_testkit::dump::Dump;
use market_testkit::proxy::Break;
use market_testkit::{Random, block_on, context, md5_hex};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

pub const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-s3");
/// The smallest part of S3, as `READ_LENGTH` and in bytes.
pub const PART: (&str, usize) = ("5", 5 << 20);

/// Attributes of a marketplace's template.
pub type Attributes = Vec<(String, String)>;

/// An S3 service: makes the template of a marketplace in a bucket, with more attributes.
pub type Service<'a> = &'a dyn Fn(&str, &[(&str, &str)]) -> Attributes;

fn template(attributes: &[(String, String)]) -> Template {
    let mut template = Template::new();
    for (name, value) in attributes {
        template.push(name, value).unwrap();
    }
    template
}

pub fn s3_attributes(attributes: &[(String, String)]) -> S3Attributes {
    from_template(&template(attributes)).unwrap()
}

pub async fn open(attributes: &[(String, String)], context: &Context) -> S3Market {
    S3Market::connect(s3_attributes(attributes), context).await.unwrap()
}

/// How an export reads.
pub fn export_options(attributes: &[(String, String)]) -> Options {
    let access = s3_attributes(attributes).access().unwrap();
    Options::default().with_scheme(S3Scheme::new(access))
}

/// Where app 30 is by this SOURCE.
pub fn located(market: &S3Market, source: &str) -> S3Key {
    market.locate(&SourceUrl::new(source), Some(AppId(30))).unwrap()
}

/// All objects and multipart uploads in progress of a marketplace.
pub fn contents(attributes: &[(String, String)]) -> Vec<StoredObject<S3Key>> {
    block_on(async { objects(&open(attributes, &context()).await).await })
}

/// The bytes of an app, read as an export reads them.
pub fn app_bytes(attributes: &[(String, String)], app: i64, source: &str) -> Option<Vec<u8>> {
    block_on(async {
        stored(&open(attributes, &context()).await, AppId(app), &SourceUrl::new(source)).await
    })
}

pub fn dump(market: Attributes, source: &str, md5: &str) -> Dump {
    Dump { market, import_source: source.to_owned(), md5: md5.to_owned(), ..Dump::default() }
}

pub fn call(action: &str, message: &str) -> Output {
    let output = run(Command::new(EXECUTABLE).args([action, "-"]), message);
    let shown = format!("{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
    for secret in ["hunter2", "MARKETTESTKEY"] {
        assert!(!shown.contains(secret), "a key is shown: {shown}");
    }
    output
}

pub fn import(dump: &Dump) -> Output {
    call("import", &dump.import())
}

pub fn delete(dump: &Dump, source: &str) -> Output {
    call("delete", &Dump { app_source: source.to_owned(), ..dump.clone() }.delete())
}

pub fn image(directory: &Path, bytes: &[u8]) -> String {
    let path = directory.join(format!("image-{}", md5_hex(bytes)));
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn started(dump: &Dump) -> Child {
    let mut child = start(Command::new(EXECUTABLE).args(["import", "-"]));
    child.stdin.take().unwrap().write_all(dump.import().as_bytes()).unwrap();
    child
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

/// A marketplace as `onemarket show -x` prints it.
pub fn market_file(directory: &Path, attributes: &[(String, String)]) -> String {
    let text = format!(
        "<MARKETPLACE><ID>100</ID><NAME>m</NAME><MARKET_MAD>s3</MARKET_MAD><MARKETPLACEAPPS><ID>30</ID></MARKETPLACEAPPS>{}\
         </MARKETPLACE>",
        template(attributes).to_xml("TEMPLATE").unwrap()
    );
    let path = directory.join("market.xml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn command(arguments: &[&str]) -> Output {
    run(Command::new(EXECUTABLE).args(arguments), "")
}

pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::yield_now();
    }
}

/// The context of a driver with short time-outs and no pauses.
pub fn impatient() -> Context {
    let options = Options::default()
        .with_connect_timeout(Duration::from_secs(5))
        .with_idle_timeout(Duration::from_millis(700))
        .with_retries(2)
        .with_first_pause(Duration::ZERO);
    Context::new(Log::memory("import"), StopSwitch::new().listen(), options)
}

/// An import by the library, over connections that may break.
pub async fn import_with(
    market: &[(String, String)],
    source: &str,
    md5: &str,
    context: &Context,
) -> Result<ImportedApp, Error> {
    let dump = dump(market.to_vec(), source, md5);
    let action = ImportAction::decode(dump.import().as_bytes()).unwrap();
    pipeline::import(&open(market, context).await, &action, context).await
}

/// What becomes of a connection that carries an image of this length.
pub fn broken(random: &mut Random, length: usize) -> Break {
    let at = random.below(length as u64 + 3_000);
    match random.below(16) {
        0 | 1 => Break::Reset(at),
        2 => Break::Close(at),
        3 => Break::Stall(at),
        4 => Break::Slow(64 << 10),
        _ => Break::Never,
    }
}

/// The bucket of a marketplace, for requests of one's own.
pub fn bucket(attributes: &[(String, String)]) -> Bucket {
    let config = s3_attributes(attributes);
    Bucket::new(&config.access().unwrap(), &config.bucket, &Options::default()).unwrap()
}
