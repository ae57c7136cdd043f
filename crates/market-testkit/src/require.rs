//! Tests that need a program which not every machine has.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Finds a program. When it is missing, the test is to return: what to install has been said, in a
/// line that the test script counts. With `MARKET_TEST_REQUIRE=all` in the environment a missing
/// program is a failure instead.
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

/// Says that a test cannot run here, and why; a failure when everything is required.
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

/// Not by `eprintln`, which the test harness keeps to itself when a test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// As [`program`], for test data that does not ship with the project.
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
