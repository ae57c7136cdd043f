//! The executables as whole processes: `cargo bench --bench executables [-- MIB WORD...]`.
//!
//! Each command runs in turn with the one it is compared with; printed are medians of wall time,
//! CPU time and peak memory, and the median of the wall ratios, pair by pair. MIB is the size of
//! the images (1,024 when not given); words choose the rows whose names hold them.

use market_testkit::driver::built;
use market_testkit::dump::Dump;
use market_testkit::http::HttpServer;
use market_testkit::s3::{ACCESS_KEY_ID, Fate, S3Server, SECRET_ACCESS_KEY};
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{image, md5_file};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use wait4::Wait4;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const ROUNDS_SHORT: usize = 31;

fn main() -> Outcome<()> {
    let mib: u64 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_024);
    let scratch = tempfile::tempdir()?;
    let bench = Bench::new(scratch.path(), mib)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:34} {:>8} {:>8} {:>8}  {:24} {:>8} {:>6}",
        "", "wall s", "CPU s", "MiB", "beside", "wall s", "ratio"
    )?;
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument.parse::<u64>().is_err()).collect();
    let wanted: Vec<_> = wanted.iter().filter(|word| !word.starts_with("--")).collect();
    for row in bench.rows()? {
        if !wanted.is_empty() && !wanted.iter().any(|word| row.name.contains(word.as_str())) {
            continue;
        }
        let (ours, theirs, ratio) = compare(&row)?;
        writeln!(
            out,
            "{:34} {:8.3} {:8.3} {:8.1}  {:24} {:8.3} {:6.2}",
            row.name, ours.wall, ours.cpu, ours.mib, row.beside, theirs.wall, ratio
        )?;
    }
    Ok(())
}

/// A command of ours and the one that it is measured beside.
struct Row {
    name: &'static str,
    ours: Vec<String>,
    stdin: PathBuf,
    beside: &'static str,
    theirs: Vec<String>,
    rounds: usize,
    /// Directories that are emptied before each run.
    scratch: Vec<PathBuf>,
    /// As many bytes are written and removed again before each run: a virtual machine's host takes
    /// memory back from it while it rests, and who writes first would pay for that.
    warm_bytes: u64,
}

struct Bench {
    directory: PathBuf,
    public: PathBuf,
    datastore: PathBuf,
    random: PathBuf,
    sparse: PathBuf,
    /// Compresses to a half, as an image does; a quarter as long as the others.
    digits: PathBuf,
    server: HttpServer,
    s3: S3Server,
    /// Where there is an sshd.
    sshd: Option<Sshd>,
    bytes: u64,
}

impl Bench {
    fn new(directory: &Path, mib: u64) -> Outcome<Self> {
        let path = |name: &str| directory.join(name);
        for name in ["public", "datastore", "images"] {
            fs::create_dir(path(name))?;
        }
        let (random, sparse) = (path("images/random"), path("images/sparse"));
        let mut file = BufWriter::new(File::create(&random)?);
        for part in 0..mib {
            file.write_all(&market_testkit::noise(part + 1, 1 << 20))?;
        }
        file.into_inner()?.sync_all()?;
        image::sparse_raw(&sparse, mib << 20, usize::try_from(mib << 20)? / 100)?;
        File::open(&sparse)?.sync_all()?;
        let digits = path("images/digits");
        let mut file = BufWriter::new(File::create(&digits)?);
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        // A quarter as long: bzip2 and xz are slow.
        for part in 0..mib / 4 {
            let noise = market_testkit::noise(part + 1, 1 << 20);
            let digits: Vec<u8> = noise.iter().map(|byte| DIGITS[usize::from(byte % 16)]).collect();
            file.write_all(&digits)?;
        }
        file.into_inner()?.sync_all()?;
        for tool in ["gzip -1 -k -c", "bzip2 -1 -k -c", "xz -1 -k -c", "zstd -1 -q -k -c"] {
            let name = tool.split(' ').next().unwrap_or_default();
            let packed = File::create(path("images").join(name))?;
            // One that is missing here is left out below.
            let _ = Command::new("sh")
                .args(["-c", &format!("{tool} '{}'", digits.display())])
                .stdout(packed)
                .status()?;
        }
        let server = HttpServer::directory(path("images"));
        let s3 = S3Server::start_in(directory, |_, _| Fate::Whole);
        s3.create_bucket("apps");
        let sshd = Sshd::start(&[("bridge", Kind::Plain)]);
        Ok(Self {
            bytes: mib << 20,
            public: path("public"),
            datastore: path("datastore"),
            random,
            sparse,
            digits,
            server,
            s3,
            sshd,
            directory: directory.to_owned(),
        })
    }

    fn rows(&self) -> Outcome<Vec<Row>> {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let fetched = self.datastore.join("fetched");
        let market = built("market-http").display().to_string();
        let datastore = built("datastore-fs").display().to_string();
        let public = self.public.to_str().unwrap_or_default();
        let plain = Dump::of_market(&[("BASE_URL", "http://127.0.0.1/"), ("PUBLIC_DIR", public)]);
        let delete =
            Dump { app_source: format!("http://127.0.0.1/{}", "0".repeat(32)), ..plain.clone() };
        let import = |source: &str, path: &Path| -> Outcome<Dump> {
            Ok(Dump { import_source: source.to_owned(), md5: md5_file(path)?, ..plain.clone() })
        };
        let (random, sparse) =
            (self.random.to_str().unwrap_or_default(), self.sparse.to_str().unwrap_or_default());
        let url = self.server.url("/random");
        let copy = Dump {
            image_path: url.clone(),
            image: vec![("FROM_APP_MD5".to_owned(), md5_file(&self.random)?)],
            base_path: self.datastore.to_str().unwrap_or_default().to_owned(),
            ..plain.clone()
        };
        let md5sum = |path: &str| words(&["md5sum", path]);
        let copied = format!("cp {random} {public}/copy && sync {public}/copy");
        let cases = [
            (
                "monitor",
                words(&[&market, "monitor", "-"]),
                plain.monitor(),
                "true",
                words(&["true"]),
            ),
            (
                "delete (absent)",
                words(&[&market, "delete", "-"]),
                delete.delete(),
                "true",
                words(&["true"]),
            ),
            (
                "import, random, local",
                words(&[&market, "import", "-"]),
                import(random, &self.random)?.import(),
                "md5sum",
                md5sum(random),
            ),
            (
                "import, random, local",
                words(&[&market, "import", "-"]),
                import(random, &self.random)?.import(),
                "cp && sync, unverified",
                words(&["sh", "-c", &copied]),
            ),
            (
                "import, sparse, local",
                words(&[&market, "import", "-"]),
                import(sparse, &self.sparse)?.import(),
                "md5sum",
                md5sum(sparse),
            ),
            (
                "import, random, http://",
                words(&[&market, "import", "-"]),
                import(&url, &self.random)?.import(),
                "md5sum",
                md5sum(random),
            ),
            (
                "cp of an http:// app",
                words(&[&datastore, "cp", "7"]),
                copy.copy(),
                "md5sum",
                md5sum(random),
            ),
            (
                "cp of an http:// app",
                words(&[&datastore, "cp", "7"]),
                copy.copy(),
                "curl to a file",
                words(&["curl", "-s", "-o", fetched.to_str().unwrap_or_default(), &url]),
            ),
        ];
        let mut cases = Vec::from(cases);
        let local = self.directory.join("dump-local");
        fs::write(&local, import(random, &self.random)?.import())?;
        let beside_local = format!("{market} import - <{}", local.display());
        cases.push((
            "import, random, http://",
            words(&[&market, "import", "-"]),
            import(&url, &self.random)?.import(),
            "import, random, local",
            words(&["sh", "-c", &beside_local]),
        ));
        if let Some(sshd) = &self.sshd {
            let ssh = sshd.ssh();
            let with_ssh = words(&["env", &format!("SSH={ssh}"), &market, "import", "-"]);
            let mut bridged = import(random, &self.random)?;
            bridged.market.push(("BRIDGE_LIST".to_owned(), "bridge".to_owned()));
            let stock =
                format!("cat {random} | {ssh} bridge dd of={public}/copy bs=64k conv=sparse");
            cases.push((
                "import, random, to a bridge",
                with_ssh.clone(),
                bridged.import(),
                "cat | ssh dd, unverified",
                words(&["sh", "-c", &stock]),
            ));
            let cat = format!("{ssh} bridge cat {random} >{public}/copy");
            let from = import(&format!("ssh://bridge:{random}"), &self.random)?;
            cases.push((
                "import, random, ssh://",
                with_ssh,
                from.import(),
                "ssh cat, unverified",
                words(&["sh", "-c", &cat]),
            ));
        }
        for (name, tool) in [
            ("cp of a gzip app", "gzip"),
            ("cp of a bzip2 app", "bzip2"),
            ("cp of an xz app", "xz"),
            ("cp of a zstd app", "zstd"),
        ] {
            let packed = self.digits.with_file_name(tool);
            if packed.metadata()?.len() == 0 {
                continue;
            }
            let path = packed.to_str().unwrap_or_default().to_owned();
            let unpack = format!("{tool} -dc <{path} >{public}/copy");
            let dump = Dump { image_path: path, image: Vec::new(), ..copy.clone() };
            cases.push((
                name,
                words(&[&datastore, "cp", "7"]),
                dump.copy(),
                tool_beside(tool),
                words(&["sh", "-c", &unpack]),
            ));
        }
        cases.extend(self.s3_cases()?);
        let mut rows = Vec::new();
        for (number, (name, ours, dump, beside, theirs)) in cases.into_iter().enumerate() {
            let stdin = self.directory.join(format!("dump-{number}"));
            fs::write(&stdin, dump)?;
            let rounds = if beside == "true" { ROUNDS_SHORT } else { ROUNDS };
            rows.push(Row {
                name,
                ours,
                stdin,
                beside,
                theirs,
                rounds,
                scratch: vec![self.public.clone(), self.datastore.clone()],
                warm_bytes: if beside == "true" { 0 } else { self.bytes },
            });
        }
        Ok(rows)
    }
}

/// A row's name, its command and standard input, what it is measured beside, and that one's
/// command.
type Case = (&'static str, Vec<String>, String, &'static str, Vec<String>);

impl Bench {
    /// Each import is deleted again by the same command; that takes some 10 ms.
    fn s3_cases(&self) -> Outcome<Vec<Case>> {
        let (market, datastore) =
            (built("market-s3").display().to_string(), built("datastore-fs").display().to_string());
        let shell = |script: String| vec!["sh".to_owned(), "-c".to_owned(), script];
        let random = self.random.to_str().unwrap_or_default();
        let plain = Dump {
            market: self.s3.market("apps", &[]),
            md5: md5_file(&self.random)?,
            ..Dump::default()
        };
        let gone = self.directory.join("dump-s3-delete");
        fs::write(
            &gone,
            Dump { app_source: "s3://apps/marketapp-30".to_owned(), ..plain.clone() }.delete(),
        )?;
        let import = |source: &str, name: &str| -> Outcome<Vec<String>> {
            let path = self.directory.join(name);
            fs::write(&path, Dump { import_source: source.to_owned(), ..plain.clone() }.import())?;
            Ok(shell(format!(
                "{market} import - <{} && {market} delete - <{}",
                path.display(),
                gone.display()
            )))
        };
        let (local, remote) = (
            import(random, "dump-s3-local")?,
            import(&self.server.url("/random"), "dump-s3-http")?,
        );
        // What the copies are made of.
        std::os::unix::fs::symlink(random, self.s3.path("apps", "marketapp-31"))?;
        let copy = Dump {
            image_path: "s3://apps/marketapp-31".to_owned(),
            image: vec![("FROM_APP_MD5".to_owned(), plain.md5.clone())],
            base_path: self.datastore.to_str().unwrap_or_default().to_owned(),
            ..plain.clone()
        };
        let endpoint = self.s3.endpoint();
        let monitor = vec![market.clone(), "monitor".to_owned(), "-".to_owned()];
        let curl = shell(format!(
            "curl -s -f -H x-amz-content-sha256:UNSIGNED-PAYLOAD --aws-sigv4 aws:amz:default:s3 --user {ACCESS_KEY_ID}:{SECRET_ACCESS_KEY} \
             {endpoint}/apps/marketapp-31 -o {}/curl",
            self.datastore.display()
        ));
        let mut cases = vec![
            ("monitor, S3", monitor, plain.monitor(), "true", vec!["true".to_owned()]),
            (
                "import, random, http://, to S3",
                remote,
                String::new(),
                "the same, local",
                local.clone(),
            ),
            (
                "cp of an s3:// app",
                vec![datastore, "cp".to_owned(), "7".to_owned()],
                copy.copy(),
                "curl, unverified",
                curl,
            ),
        ];
        let boto3 = format!(
            "import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
config = Config(s3={{'addressing_style': 'path'}}, request_checksum_calculation='when_required')
keys = {{'aws_access_key_id': '{ACCESS_KEY_ID}', 'aws_secret_access_key': '{SECRET_ACCESS_KEY}'}}
s3 = boto3.client('s3', endpoint_url='{endpoint}', region_name='default', config=config, **keys)
s3.upload_file('{random}', 'apps', 'boto3', Config=TransferConfig(max_concurrency=8))
s3.delete_object(Bucket='apps', Key='boto3')
"
        );
        if Command::new("python3")
            .args(["-c", "import boto3"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
        {
            let script = self.directory.join("boto3-upload.py");
            fs::write(&script, boto3)?;
            let theirs = shell(format!("python3 {} && md5sum {random}", script.display()));
            cases.push((
                "import, random, local, to S3",
                local,
                String::new(),
                "boto3 && md5sum",
                theirs,
            ));
        }
        Ok(cases)
    }
}

fn tool_beside(tool: &str) -> &'static str {
    match tool {
        "gzip" => "gzip -dc, unsynced",
        "bzip2" => "bzip2 -dc, unsynced",
        "xz" => "xz -dc, unsynced",
        _ => "zstd -dc, unsynced",
    }
}

#[derive(Clone, Copy)]
struct Figures {
    wall: f64,
    cpu: f64,
    mib: f64,
}

fn compare(row: &Row) -> Outcome<(Figures, Figures, f64)> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=row.rounds {
        let one = run(&row.ours, row)?;
        let other = run(&row.theirs, row)?;
        // The first round warms the caches.
        if round > 0 {
            ratios.push(one.wall / other.wall);
            ours.push(one);
            theirs.push(other);
        }
    }
    Ok((medians(&ours), medians(&theirs), median(ratios)))
}

fn run(words: &[String], row: &Row) -> Outcome<Figures> {
    for directory in &row.scratch {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_file() {
                fs::remove_file(path)?;
            }
        }
    }
    warm(row)?;
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let start = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(File::open(&row.stdin)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let used = child.wait4()?;
    let wall = start.elapsed().as_secs_f64();
    if !used.status.success() {
        return Err(format!("{}: {}", words.join(" "), used.status).into());
    }
    let cpu = used.rusage.utime.as_secs_f64() + used.rusage.stime.as_secs_f64();
    Ok(Figures { wall, cpu, mib: used.rusage.maxrss as f64 / f64::from(1 << 20) })
}

fn warm(row: &Row) -> Outcome<()> {
    let directory = row.scratch.first().ok_or("no directory")?;
    let mut file = tempfile::tempfile_in(directory)?;
    for _ in 0..(row.warm_bytes * 3) >> 20 {
        file.write_all(&[1; 1 << 20])?;
    }
    Ok(())
}

fn medians(runs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(figure).collect());
    Figures { wall: of(|run| run.wall), cpu: of(|run| run.cpu), mib: of(|run| run.mib) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
