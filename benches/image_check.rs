//! `marketctl image` on images of some size: `cargo bench --bench image_check`.
//!
//! Printed are medians over some runs of wall time and peak memory, and the median of the ratios of
//! wall times to the command that is run beside it. Needs mkfs.ext4, sgdisk and qemu-img.

use market_testkit::driver::built;
use market_testkit::guest::{Division, Guest, Tools};
use market_testkit::noise;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use wait4::Wait4;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const GIB: u64 = 1 << 30;

fn main() -> Outcome<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let marketctl = built("marketctl").display().to_string();
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (raw, sparse, full) = (path("disk.raw"), path("sparse.qcow2"), path("full.qcow2"));
    Guest::debian().disk(&tools, Path::new(&raw), 100 << 10, Division::Gpt);
    tools.convert(Path::new(&raw), Path::new(&sparse), &["-O", "qcow2"]);
    // A GiB that nobody can leave out, where no structure of the file system is.
    let file = File::options().write(true).open(&raw)?;
    for mib in 0..1_024 {
        file.write_all_at(&noise(mib + 1, 1 << 20), 20 * GIB + (mib << 20))?;
    }
    tools.convert(Path::new(&raw), Path::new(&full), &["-O", "qcow2"]);
    let rows: [(&str, [&str; 4], &[&str]); 4] = [
        (
            "check, 100 GiB sparse",
            [&marketctl, "image", "check", &sparse],
            &["qemu-img", "check", "-q", &sparse],
        ),
        ("check, 100 GiB, 1 of data", [&marketctl, "image", "check", &full], &["cat", &full]),
        ("info, 100 GiB, 1 of data", [&marketctl, "image", "info", &full], &["md5sum", &full]),
        ("info, the same", [&marketctl, "image", "info", &full], &["sha256sum", &full]),
    ];
    let mut out = io::stdout().lock();
    for (name, command, beside) in rows {
        let (mut walls, mut mibs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (wall, mib) = run(&command)?;
            let (other, _) = run(beside)?;
            walls.push(wall);
            mibs.push(mib);
            ratios.push(wall / other);
        }
        let (wall, mib, ratio) = (median(walls), median(mibs), median(ratios));
        writeln!(out, "{name:28} {wall:8.3} s {mib:7.1} MiB   {ratio:6.2} x {}", beside[0])?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Wall time in seconds, and the peak of resident memory.
fn run(command: &[&str]) -> Outcome<(f64, f64)> {
    let start = Instant::now();
    let child = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).spawn()?;
    let used = child.wait4()?.rusage;
    Ok((start.elapsed().as_secs_f64(), used.maxrss as f64 / (1 << 20) as f64))
}
