//! Whether an executable gets its dump on standard input or as an argument.

use crate::support::{count_logs, foreign, installation, start};
use std::fs;
use std::path::Path;

/// The words by which an executable says that it takes dumps on standard input.
const DECLARED: &str = "# market-driver.dump-on-stdin";

#[test]
fn a_driver_that_declares_it_gets_the_dump_on_standard_input() {
    let location = installation(&format!("{DECLARED}\necho \"$1 $2\"; cat"));
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    assert_eq!(oned.printed("MONITOR", 107, &dump), format!("- 107\n{dump}"));
}

#[test]
fn a_marker_counts_for_all_but_scripts_that_do_not_read_standard_input() {
    let location = installation("echo \"$1 $2\"; cat");
    let marker = location.remotes().join("market/foreign/.dump-on-stdin");
    fs::write(&marker, "").unwrap();
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    assert_eq!(oned.printed("MONITOR", 107, &dump), format!("- 107\n{dump}"));

    // Whoever installs or copies it changes its times.
    let monitor = location.remotes().join("market/foreign/monitor");
    fs::rename(&monitor, monitor.with_extension("new")).unwrap();
    fs::rename(monitor.with_extension("new"), &monitor).unwrap();
    assert_eq!(oned.printed("MONITOR", 108, &dump), format!("- 108\n{dump}"));

    // What is compiled is not looked into: with `cat` as the driver, `-` is standard input.
    let cat =
        ["/bin/cat", "/usr/bin/cat"].into_iter().find(|cat| Path::new(cat).is_file()).unwrap();
    fs::remove_file(&monitor).unwrap();
    fs::copy(cat, &monitor).unwrap();
    let failure = oned.failure("MONITOR", 109, &dump);
    assert!(failure.contains("109"), "of its two arguments the second is no file: {failure}");
    assert_eq!(count_logs(&oned, "although there is a .dump-on-stdin beside it"), 0);

    location.script("market/foreign/monitor", "echo \"$1 $2\"");
    assert_eq!(oned.printed("MONITOR", 110, &dump), format!("{dump} 110\n"));
    assert_eq!(count_logs(&oned, "although there is a .dump-on-stdin beside it"), 1);
    oned.printed("MONITOR", 111, &dump);
    assert_eq!(count_logs(&oned, "although there is a .dump-on-stdin beside it"), 1, "said once");
}

#[test]
fn a_foreign_driver_beside_a_leftover_marker_gets_its_dump_as_an_argument() {
    // As the stock ones are made: what cannot be decoded leaves empty values, and figures of
    // another disk.
    let shell = "DUMP=$1\nID=$2\ndecode() { printf %s \"$DUMP\" | base64 -d; }\n\
                 SCRIPT=$(cat <<EOF\ndf -P | tail -n 1\nEOF\n)\n\
                 while IFS= read -r line; do DIR=$line; done < /dev/null\n\
                 [ \"$1\" = - ] && touch got-a-dash\n\
                 decode | grep -q MARKETPLACE || exit 9\necho FREE_MB=8";
    for (script, marker_first) in [
        (shell, true),
        (shell, false),
        ("[ \"$1\" = - ] && touch got-a-dash; echo FREE_MB=8", false),
    ] {
        let location = installation(if marker_first { "true" } else { script });
        fs::write(location.remotes().join("market/foreign/.dump-on-stdin"), "").unwrap();
        location.script("market/foreign/monitor", script);
        let mut oned = start(&location, "");
        assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "FREE_MB=8\n");
        assert!(!location.path().join("var/got-a-dash").exists());
    }
}

#[test]
fn a_success_without_reading_the_dump_is_a_failure() {
    let location = installation(&format!("{DECLARED}\necho FREE_MB=8"));
    let mut oned = start(&location, "");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert!(
        failure.contains("market/foreign/monitor has read nothing of its message"),
        "{failure}"
    );
}

#[test]
fn a_dump_that_is_no_argument_is_refused_unless_the_driver_reads_standard_input() {
    let location = installation("printf %s \"$1\"; wc -c");
    let mut oned = start(&location, "");
    let mut dump = foreign(30);
    dump.market_apps = (0..8_000).collect();
    let large = dump.monitor();
    let failure = oned.failure("MONITOR", 107, &large);
    assert!(
        failure.contains("market-driver.dump-on-stdin") && failure.contains("131071"),
        "{failure}"
    );
    location.script("market/foreign/monitor", &format!("{DECLARED}\nprintf %s \"$1\"; wc -c"));
    dump.market_id = 108;
    assert_eq!(
        oned.printed("MONITOR", 108, &dump.monitor()),
        format!("-{}\n", dump.monitor().len())
    );
}
