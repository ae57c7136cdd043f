//! Parse speed: `cargo bench --bench template`.
//!
//! Prints the median CPU time of eleven runs for the two inputs that docs/benchmarks.md compares
//! with the core's C++ parser, and for the four inputs that take quadratic time there, each at one
//! size and at four times that size.

use market_core::template::Template;
use std::fmt::Write as _;
use std::io::Write as _;

const RUNS: usize = 11;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:44} {:>9} {:>10} {:>9}", "input", "MB", "CPU ms", "MB/s")?;
    for (name, text) in
        [("monitor report, APP lines", monitor_report()), ("VM templates", vm_templates())]
    {
        let seconds = median(&text);
        let megabytes = text.len() as f64 / 1e6;
        writeln!(
            out,
            "{name:44} {megabytes:9.2} {:10.3} {:9.0}",
            seconds * 1e3,
            megabytes / seconds
        )?;
    }
    writeln!(
        out,
        "\n{:44} {:>10} {:>10} {:>9}",
        "quadratic upstream", "CPU ms", "x4: ms", "ratio"
    )?;
    for (name, make) in HARD {
        let (small, large) = (median(&make(50_000)), median(&make(200_000)));
        writeln!(out, "{name:44} {:10.3} {:10.3} {:9.1}", small * 1e3, large * 1e3, large / small)?;
    }
    Ok(())
}

type Make = fn(usize) -> Vec<u8>;

const HARD: [(&str, Make); 4] = [
    ("A= and n commas", |n| [b"A=".as_slice(), &b",".repeat(n)].concat()),
    ("n # at the end without a newline", |n| b"#".repeat(n)),
    ("n attributes on one line", |n| {
        (0..n).map(|i| format!("A{i}=1 ")).collect::<String>().into_bytes()
    }),
    ("n escaped quotes in one value", |n| {
        [b"A=\"".as_slice(), &b"\\\"".repeat(n), b"\"\n"].concat()
    }),
];

/// Median CPU seconds of a parse from memory, the template's memory included.
fn median(text: &[u8]) -> f64 {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = cpu_seconds();
            let mut rounds = 0;
            // Short inputs are repeated until the clock can tell.
            while rounds == 0 || cpu_seconds() - start < 0.005 {
                std::hint::black_box(Template::parse(std::hint::black_box(text)).is_ok());
                rounds += 1;
            }
            (cpu_seconds() - start) / f64::from(rounds)
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[RUNS / 2]
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// 9,133 APP lines of about 1,090 bytes of base64: the shape of a public marketplace's report.
fn monitor_report() -> Vec<u8> {
    let mut text = String::from("USED_MB=\"1\"\nFREE_MB=\"2\"\nTOTAL_MB=\"3\"\n");
    for app in 0..9_133_u64 {
        text.push_str("APP=\"");
        let mut state = app.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..1_086 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            text.push(char::from(alphabet[(state & 63) as usize]));
        }
        text.push_str("==\"\n");
    }
    text.into_bytes()
}

/// 10 MB of 135,384 attributes as users write them: singles, vectors over several lines, comments,
/// scripts.
fn vm_templates() -> Vec<u8> {
    let mut text = String::new();
    for vm in 0..11_282 {
        let _ = write!(
            text,
            "# machine {vm}\nNAME = \"vm-{vm}\"\nCPU = 0.5\nVCPU = 2\nMEMORY = 1024\n\
             DESCRIPTION = \"a machine with \\\"quotes\\\" and a rather long description of what it does for a living\"\n\
             CONTEXT = [ NETWORK = \"YES\", SSH_PUBLIC_KEY = \"$USER[SSH_PUBLIC_KEY]\", SET_HOSTNAME = \"$NAME\",\n  \
             START_SCRIPT = \"#!/bin/bash\nset -e\nif [ ! -f /etc/marker ]; then\n  echo configured >> /etc/motd\nfi\n\" ]\n\
             DISK = [ IMAGE = \"Debian 12\", IMAGE_UNAME = \"oneadmin\",\n  SIZE = 10240, DEV_PREFIX = vd ]\n\
             DISK = [ TYPE = swap, SIZE = 1024, READONLY = no ]\n\
             NIC = [ NETWORK = \"Public\", NETWORK_UNAME = \"oneadmin\", SECURITY_GROUPS = \"0,100\" ]\n\
             GRAPHICS = [ TYPE = vnc, LISTEN = 0.0.0.0, KEYMAP = es ]\n\
             OS = [ ARCH = x86_64, BOOT = \"disk0,nic0\", KERNEL_CMD = \"ro console=ttyS0,115200 root=/dev/vda1\" ]\n\
             SCHED_REQUIREMENTS = \"ID=\\\"0\\\" | CLUSTER_ID=\\\"100\\\"\"\n\n"
        );
    }
    text.into_bytes()
}
