//! For tests that need a program or data which not every machine has.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The path of a program. When it is missing, a line with SKIPPED and the package to install is
/// printed, which `test.sh` counts, and the test returns. With `MARKET_TEST_REQUIRE=all` in the
/// environment a missing program fails the test instead.
///
/// ```no_run
/// let Some(nginx) = market_testkit::require::program("nginx", "nginx-light") else { return };
/// ```
///
/// # Panics
/// When it is missing and required.
pub fn program(name: &str, debian_package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found =
        places.map(|place: PathBuf| place.join(name)).find(|candidate| is_executable(candidate));
    if found.is_none() {
        missing(&format!("{name} is missing; install it with: apt-get install {debian_package}"));
    }
    found
}

/// Prints a line with SKIPPED and why a test cannot run here. With `MARKET_TEST_REQUIRE=all` it
/// fails the test instead.
///
/// # Panics
/// With `MARKET_TEST_REQUIRE=all` in the environment.
pub fn missing(reason: &str) {
    assert!(
        std::env::var_os("MARKET_TEST_REQUIRE").is_none_or(|required| required != "all"),
        "required: {reason}"
    );
    say(&format!("SKIPPED: {reason}"));
}

/// Not by `eprintln`, whose output the test harness captures.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// As [`program`], for test data that does not ship with the project: whether it is there.
///
/// # Panics
/// Never: data of others is not required anywhere.
pub fn data(path: &Path) -> bool {
    let there = path.exists();
    if !there {
        say(&format!("SKIPPED: the test data {} is not there", path.display()));
    }
    there
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
