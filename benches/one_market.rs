//! `one_market` as `oned` has it: `cargo bench --bench one_market [-- MONITORS]`.
//!
//! Printed are medians over some runs: the time from the start to the answer to INIT, the memory
//! when nothing runs, and the wall and CPU time of monitors of http marketplaces at `-t 15` (1,000
//! when not given), beside the same monitors called directly, one after the other.

use market_testkit::driver::built;
use market_testkit::dump::Dump;
use market_testkit::oned::{OneLocation, Oned};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use wait4::Wait4;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;

fn main() -> Outcome<()> {
    let monitors: i64 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000);
    let (one_market, market_http) = (built("one_market"), built("market-http"));
    let location = OneLocation::new();
    location.install("market/http", &["monitor", "import", "delete"], &market_http);
    let public = location.path().join("public");
    fs::create_dir(&public)?;
    let attributes =
        [("BASE_URL", "http://127.0.0.1/"), ("PUBLIC_DIR", public.to_str().unwrap_or_default())];
    let dump = |market_id| Dump { market_id, ..Dump::of_market(&attributes) }.monitor();
    let mut rows: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut oned = Oned::start(&one_market, &location, "-t 15 -m http");
        oned.init();
        let init = start.elapsed().as_secs_f64() * 1_000.0;
        let memory = resident_mib(oned.id())?;
        let start = Instant::now();
        for market in 0..monitors {
            oned.ask("MONITOR", market, &dump(market));
        }
        oned.wait("all answers", |lines| {
            (lines.iter().filter(|line| line.starts_with("MONITOR SUCCESS")).count() as i64
                == monitors)
                .then_some(())
        });
        let wall = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds(oned.id())?;
        let (direct_wall, direct_cpu) = directly(&market_http, monitors, &dump)?;
        for (row, figure) in rows.iter_mut().zip([init, memory, wall, cpu, direct_wall, direct_cpu])
        {
            row.push(figure);
        }
    }
    let mut out = io::stdout().lock();
    let names = [
        "INIT, ms",
        "memory at rest, MiB",
        "all, wall s",
        "all, CPU s",
        "directly, wall s",
        "directly, CPU s",
    ];
    for (name, mut row) in names.into_iter().zip(rows) {
        row.sort_by(f64::total_cmp);
        writeln!(out, "{name:24} {:8.2}", row[row.len() / 2])?;
    }
    Ok(())
}

/// The monitors without `one_market`.
fn directly(
    market_http: &PathBuf,
    monitors: i64,
    dump: &dyn Fn(i64) -> String,
) -> Outcome<(f64, f64)> {
    let start = Instant::now();
    let mut cpu = 0.0;
    for market in 0..monitors {
        let mut command = Command::new(market_http);
        let mut child =
            command.args(["monitor", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().ok_or("no pipe")?.write_all(dump(market).as_bytes())?;
        let used = child.wait4()?.rusage;
        cpu += (used.utime + used.stime).as_secs_f64();
    }
    Ok((start.elapsed().as_secs_f64(), cpu))
}

/// Of a process and the children that it has waited for.
fn cpu_seconds(id: u32) -> Outcome<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Behind the name, which may hold blanks: utime, stime, cutime and cstime are the fields 14 to
    // 17.
    let fields = stat.rsplit_once(')').ok_or("no process")?.1.split_whitespace().skip(11).take(4);
    Ok(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

fn resident_mib(id: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no process")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
}
