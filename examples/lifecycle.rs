//! An app's whole life, with real images and the real executables: create a marketplace, import,
//! monitor, export back, verify, delete. `./demo.sh` builds the executables and runs this.
//!
//! The executables are called as `oned` and `one_market` call them: the dump in base64, on the
//! command line for the market driver and on standard input for the datastore driver. A small web
//! server on a free loopback port publishes the marketplace, or an S3 server in this process holds
//! it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use market_core::action::ImportInfo;
use market_core::model::MiB;
use market_core::report::MonitorReport;
use market_core::template::Template;
use market_testkit::dump::{Dump, owned};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::s3::{Fate, S3Server};
use market_testkit::{image, md5_file};
use serde_json::json;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const HELP: &str = "\
An app's whole life, with the real executables and real images.

Usage: lifecycle [--backend http|s3] [--keep] [--bin DIRECTORY]

  --backend NAME   the kind of marketplace (default: http)
  --keep           leave the directories and say where they are
  --bin DIRECTORY  where the drivers and datastore-fs are (default: beside this program's directory)
";

fn main() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lifecycle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Outcome<()> {
    let Some(options) = Options::parse()? else { return Ok(()) };
    let scratch = tempfile::Builder::new().prefix("market-lifecycle-").tempdir()?;
    let outcome = Lifecycle::new(&options, scratch.path()).and_then(|lifecycle| lifecycle.run());
    if options.keep {
        say(&format!("Kept: {}", scratch.keep().display()));
    } else {
        scratch.close()?;
    }
    outcome
}

struct Options {
    backend: Backend,
    keep: bool,
    executables: PathBuf,
}

/// The kinds of marketplace.
#[derive(Clone, Copy)]
enum Backend {
    Http,
    S3,
}

impl Backend {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "s3" => Some(Self::S3),
            _ => None,
        }
    }

    fn executable(self) -> &'static str {
        match self {
            Self::Http => "market-http",
            Self::S3 => "market-s3",
        }
    }
}

impl Options {
    fn parse() -> Outcome<Option<Self>> {
        let beside = std::env::current_exe()?.parent().and_then(Path::parent).map(Path::to_owned);
        let mut options =
            Self { backend: Backend::Http, keep: false, executables: beside.unwrap_or_default() };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                lexopt::Arg::Long("backend") => {
                    let name = parser.value()?;
                    let backend = name.to_str().and_then(Backend::parse);
                    options.backend = backend.ok_or("--backend: expected http or s3")?;
                }
                lexopt::Arg::Long("keep") => options.keep = true,
                lexopt::Arg::Long("bin") => options.executables = parser.value()?.into(),
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                    say(HELP.trim_end());
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}

/// The marketplace, the datastore and the executables of one run.
struct Lifecycle {
    driver: PathBuf,
    market_one: PathBuf,
    datastore_fs: PathBuf,
    images: PathBuf,
    datastore: PathBuf,
    market: Market,
    progress: ProgressBar,
}

/// What holds the apps.
enum Market {
    /// A directory, and the server that publishes it.
    Http {
        public: PathBuf,
        server: HttpServer,
    },
    S3(S3Server),
}

/// The bucket of an S3 marketplace.
const BUCKET: &str = "apps";

impl Market {
    fn new(backend: Backend, scratch: &Path) -> Outcome<Self> {
        match backend {
            Backend::Http => {
                let public = scratch.join("public");
                std::fs::create_dir(&public)?;
                Ok(Self::Http { server: HttpServer::directory(&public), public })
            }
            Backend::S3 => {
                let server = S3Server::start_in(scratch, |_, _| Fate::Whole);
                server.create_bucket(BUCKET);
                Ok(Self::S3(server))
            }
        }
    }

    /// The attributes of its template.
    fn attributes(&self) -> Vec<(String, String)> {
        match self {
            Self::Http { public, server } => owned(&[
                ("BASE_URL", &server.url("/")),
                ("PUBLIC_DIR", public.to_str().unwrap_or_default()),
            ]),
            Self::S3(server) => server.market(BUCKET, &[]),
        }
    }

    /// How many objects there are, unfinished ones included.
    fn objects(&self) -> Outcome<usize> {
        match self {
            Self::Http { public, .. } => {
                let staging =
                    std::fs::read_dir(public.join(".market-staging")).into_iter().flatten();
                let entries = std::fs::read_dir(public)?.chain(staging).filter_map(Result::ok);
                Ok(entries.filter(|entry| entry.path().is_file()).count())
            }
            Self::S3(server) => Ok(server.keys(BUCKET).len() + server.uploads()),
        }
    }
}

/// How many steps a run has: three of the marketplace, five of each of the two apps, three of the
/// public marketplace.
const STEPS: u64 = 16;

impl Lifecycle {
    fn new(options: &Options, scratch: &Path) -> Outcome<Self> {
        let executable = |name: &str| {
            let path = options.executables.join(name);
            let missing =
                || format!("{} is missing; build it with: cargo build --release", path.display());
            if path.is_file() { Ok(path) } else { Err(missing()) }
        };
        let directory =
            |name: &str| std::fs::create_dir(scratch.join(name)).map(|()| scratch.join(name));
        Ok(Self {
            driver: executable(options.backend.executable())?,
            market_one: executable("market-one")?,
            datastore_fs: executable("datastore-fs")?,
            images: directory("images")?,
            datastore: directory("datastore")?,
            market: Market::new(options.backend, scratch)?,
            progress: progress()?,
        })
    }

    fn run(&self) -> Outcome<()> {
        let qcow2 = self.images.join("debian.qcow2");
        let raw = self.images.join("data.raw");
        self.step("Make a qcow2 image and a sparse raw one", || {
            image::qcow2(&qcow2, 256 << 20, 640)?;
            image::sparse_raw(&raw, 512 << 20, 2 << 20)?;
            Ok(format!("{}; {}; {}", redacted(&qcow2)?, redacted(&raw)?, qemu_check(&qcow2)?))
        })?;
        self.step("Create a marketplace and monitor it", || self.monitor())?;
        for (app, path, format) in [(41, &qcow2, "qcow2"), (42, &raw, "raw")] {
            self.live(app, path, format)?;
        }
        self.step("Monitor again", || self.monitor())?;
        self.discover(&qcow2)?;
        self.progress.finish_and_clear();
        say("Every byte came back as it went in, and nothing was left behind.");
        Ok(())
    }

    /// An app of a public marketplace, whose catalogue is our own here: discovered, fetched,
    /// compared.
    fn discover(&self, original: &Path) -> Outcome<()> {
        let md5 = md5_file(original)?;
        let entry = json!({
            "_id": {"$oid": "7e4a6a5e-0d6c-4b53-9d0e-0a1b2c3d4e5f"}, "name": "Debian", "version": "13", "format": "qcow2",
            "creation_time": 1_763_800_000, "hypervisor": "ALL", "os-arch": "amd64", "short_description": "A \"small\" image",
            "opennebula_template": "{\"CPU\": 1, \"MEMORY\": \"512\"}",
            "files": [{"size": 268_435_456, "md5": md5, "dev_prefix": "vd", "type": "OS"}],
        });
        let catalogue = json!({"sEcho": 1, "appliances": [entry]}).to_string().into_bytes();
        let image = original.to_owned();
        let server = HttpServer::start(move |request, _| match request.path.as_str() {
            "/appliance" => Reply::bytes(catalogue.clone()),
            "/image.qcow2" => Reply::file(image.clone()),
            // As the public server does it.
            path if path.ends_with("/download/0") => {
                Reply::status(302).header("Location", "/image.qcow2")
            }
            _ => Reply::status(404),
        });
        let public = Dump::of_market(&[("ENDPOINT", &server.url("/"))]);
        let mut source = String::new();
        self.step("Public marketplace: discover its apps", || {
            let answer =
                run(Command::new(&self.market_one).args(["monitor", &public.monitor(), "107"]))?;
            let (_, apps) = MonitorReport::read(answer.as_bytes())?;
            let app = apps.first().ok_or("no app was discovered")?;
            expect("MD5", &app.md5, &md5)?;
            source = app.source.as_str().to_owned();
            Ok(format!("{}, {}", app.name, source))
        })?;
        let mut copy = PathBuf::new();
        self.step("Public marketplace: export the app into a datastore (cp)", || {
            let image = owned(&[("FROM_APP", "43"), ("FROM_APP_MD5", &md5)]);
            copy =
                self.copy(&Dump { image_path: source.clone(), image, ..public.clone() }, "qcow2")?;
            redacted(&copy)
        })?;
        self.step("Public marketplace: compare with the original", || self.compare(&copy, original))
    }

    /// Copies an app into the datastore; where it is then.
    fn copy(&self, request: &Dump, format: &str) -> Outcome<PathBuf> {
        let request = Dump {
            base_path: self.datastore.to_str().unwrap_or_default().to_owned(),
            ..request.clone()
        };
        let answer = run_on_stdin(&self.datastore_fs, &["cp", "7"], &request.copy())?;
        let (path, copied_format) =
            answer.trim().split_once(' ').ok_or("cp did not answer with two words")?;
        expect("format", copied_format, format)?;
        Ok(PathBuf::from(path))
    }

    fn compare(&self, copy: &Path, original: &Path) -> Outcome<String> {
        expect("MD5 of the copy", &md5_file(copy)?, &md5_file(original)?)?;
        std::fs::remove_file(copy)?;
        Ok("identical".to_owned())
    }

    /// One app from its import to its end.
    fn live(&self, app: i64, original: &Path, format: &str) -> Outcome<()> {
        let mut dump = Dump { app, image_size: size_mib(original)?, ..self.marketplace() };
        dump.image_source = original.to_str().unwrap_or_default().to_owned();
        self.step(&format!("App {app}: describe the image (datastore export)"), || {
            let answer =
                run_on_stdin(&self.datastore_fs, &["export", &app.to_string()], &dump.export())?;
            let info = ImportInfo::read(&answer)?;
            expect("format", &info.format, format)?;
            dump.import_source = info.source.as_str().to_owned();
            dump.md5 = info.md5.map_or_else(String::new, |md5| md5.to_string());
            dump.format = info.format;
            dump.size = info.size.map_or_else(String::new, |size| size.0.to_string());
            Ok(format!("{} of MD5 {}", dump.format, dump.md5))
        })?;
        let mut source = String::new();
        self.step(&format!("App {app}: import it into the marketplace"), || {
            let answer =
                run(Command::new(&self.driver).args(["import", &dump.import(), &app.to_string()]))?;
            let answer = Template::parse(answer.as_bytes())?;
            expect("MD5", answer.text("MD5")?.unwrap_or_default(), &dump.md5)?;
            source = answer.text("SOURCE")?.unwrap_or_default().to_owned();
            Ok(source.clone())
        })?;
        let mut copy = PathBuf::new();
        self.step(&format!("App {app}: export it into a datastore (cp)"), || {
            let image = owned(&[("FROM_APP", &app.to_string()), ("FROM_APP_MD5", &dump.md5)]);
            copy =
                self.copy(&Dump { image_path: source.clone(), image, ..dump.clone() }, format)?;
            redacted(&copy)
        })?;
        self.step(&format!("App {app}: compare with the original"), || {
            self.compare(&copy, original)
        })?;
        self.step(&format!("App {app}: delete it"), || {
            dump.app_source = source.clone();
            run(Command::new(&self.driver).args(["delete", &dump.delete(), &app.to_string()]))?;
            expect("objects left in the marketplace", &self.market.objects()?.to_string(), "0")?;
            Ok("the marketplace is empty".to_owned())
        })
    }

    /// Runs one step: the bar shows it while it runs, a plain line says what came of it.
    fn step(&self, title: &str, work: impl FnOnce() -> Outcome<String>) -> Outcome<()> {
        let start = Instant::now();
        self.progress.set_message(title.to_owned());
        let outcome = work();
        self.progress.inc(1);
        let seconds = start.elapsed().as_secs_f64();
        self.progress.suspend(|| match &outcome {
            Ok(result) => say(&format!("[ok {seconds:5.2} s] {title}: {result}")),
            Err(_) => say(&format!("[FAILED  ] {title}")),
        });
        outcome.map(drop)
    }

    fn marketplace(&self) -> Dump {
        Dump { market: self.market.attributes(), ..Dump::default() }
    }

    fn monitor(&self) -> Outcome<String> {
        let answer = run(Command::new(&self.driver).args([
            "monitor",
            &self.marketplace().monitor(),
            "107",
        ]))?;
        let (space, _) = MonitorReport::read(answer.as_bytes())?;
        Ok(format!("used {}, free {}, total {}", space.used, space.free, space.total))
    }
}

/// A bar on a terminal, nothing otherwise.
fn progress() -> Outcome<ProgressBar> {
    if !std::io::stdout().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stdout());
    bar.set_style(ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} ({elapsed})")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    Ok(bar)
}

/// Runs an executable; its standard output, or its one line of failure.
fn run(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    answer(command, output)
}

fn run_on_stdin(program: &Path, arguments: &[&str], dump: &str) -> Outcome<String> {
    let mut command = Command::new(program);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(dump.as_bytes())?;
    answer(&command, child.wait_with_output()?)
}

fn answer(command: &Command, output: std::process::Output) -> Outcome<String> {
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
        .into())
}

fn expect(what: &str, found: &str, expected: &str) -> Outcome<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found} instead of {expected}").into())
    }
}

fn size_mib(path: &Path) -> Outcome<i64> {
    Ok(MiB::containing(path.metadata()?.len()).0)
}

fn redacted(path: &Path) -> Outcome<String> {
    use std::os::unix::fs::MetadataExt;
    let (name, metadata) =
        (path.file_name().unwrap_or_default().to_string_lossy(), path.metadata()?);
    Ok(format!(
        "{name} {} MiB, {} MiB on disk",
        metadata.len().div_ceil(1 << 20),
        (metadata.blocks() * 512).div_ceil(1 << 20)
    ))
}

/// `qemu-img check`, where it is installed: our own image builder is no judge of itself.
fn qemu_check(path: &Path) -> Outcome<String> {
    match Command::new("qemu-img").arg("check").arg("-q").arg(path).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok("qemu-img is not installed: not checked".to_owned())
        }
        Err(error) => Err(error.into()),
        Ok(output) if output.status.success() => Ok("qemu-img check agrees".to_owned()),
        Ok(output) => {
            Err(format!("qemu-img check: {}", String::from_utf8_lossy(&output.stderr).trim())
                .into())
        }
    }
}

fn say(line: &str) {
    // Nobody left to read it is no failure of the demonstration.
    let _ = writeln!(std::io::stdout(), "{line}");
}
