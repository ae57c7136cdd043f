//! 2,000 actions on 20 marketplaces whose drivers die, hang, flood and leave children behind: 2,000
//! answers, and nothing stays.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

use market_core::encoding::decode;
use market_testkit::Random;
use market_testkit::dump::Dump;
use market_testkit::oned::{OneLocation, Oned};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

const ONE_MARKET: &str = env!("CARGO_BIN_EXE_one_market");

/// What a driver does, by the last two digits of the app's id.
const DRIVER: &str = r#"
case $(($2 % 100)) in
    1|11|21|31) echo 'WARN: import: it will not do' >&2; echo "no room for $2" >&2; exit 3 ;;
    2|12|22|32) kill -9 $$ ;;
    3) echo 'INFO: deaf' >&2; exec sleep 1000 ;;
    4) head -c 10000000 /dev/zero | tr '\0' x > "$2.big"; cat "$2.big"; rm "$2.big" ;;
    5|15|25|35) head -c 100000 /dev/urandom >&2; echo "SOURCE=\"app-$2\"" ;;
    6) yes "INFO: a flood" | head -c 2000000 >&2; echo "SOURCE=\"app-$2\"" ;;
    7|17|27|37) echo "SOURCE=\"app-$2\""; exec >&-; sleep 0.05 ;;
    8|18|28|38) sleep 1000 & echo "SOURCE=\"app-$2\"" ;;
    9|19|29|39) (sleep 1000; sleep 1000) & exec >&-; exit 4 ;;
    10) trap '' TERM; echo 'INFO: deaf' >&2; while :; do sleep 1000; done ;;
    *) echo "SOURCE=\"app-$2\"" ;;
esac"#;

const EXPORT: &str = r#"cat > /dev/null
[ $(($1 % 97)) -eq 0 ] && { echo "no image" >&2; exit 1; }
echo '<IMPORT_INFO><IMPORT_SOURCE>/i</IMPORT_SOURCE></IMPORT_INFO>'"#;

/// What is to be answered to an import of the app, or to a delete.
fn expected(action: &str, app: i64) -> String {
    if action == "IMPORT" && app % 97 == 0 {
        return "FAILURE Error exporting image to file: no image".into();
    }
    let name = format!("market/storm/{}", action.to_lowercase());
    match app % 100 {
        1 | 11 | 21 | 31 => format!("FAILURE no room for {app}"),
        2 | 12 | 22 | 32 => format!("FAILURE {name} was killed by SIGKILL"),
        4 if action == "IMPORT" => {
            format!("FAILURE {name} wrote more than can be taken and was ended")
        }
        9 | 19 | 29 | 39 => format!("FAILURE {name} failed with exit code 4 and said nothing"),
        // They never end by themselves; one of them does not even want to.
        3 | 10 => "FAILURE cancelled".into(),
        _ if action == "DELETE" => "SUCCESS -".into(),
        _ => format!("SUCCESS SOURCE=\"app-{app}\"\n"),
    }
}

fn words_of(line: &str) -> Option<(String, i64, String)> {
    let mut words = line.splitn(4, ' ');
    let (action, result, id, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_answer = ["IMPORT", "DELETE", "MONITOR"].contains(&action)
        && ["SUCCESS", "FAILURE"].contains(&result);
    assert!(is_answer || action == "LOG" || line == "INIT SUCCESS - -", "{line:.300}");
    is_answer.then_some(())?;
    let text = match (result, text) {
        ("SUCCESS", text) if text != "-" => {
            String::from_utf8(decode(text.as_bytes()).unwrap()).unwrap()
        }
        (_, text) => text.to_owned(),
    };
    Some((action.to_owned(), id.parse().unwrap(), format!("{result} {text}")))
}

#[test]
fn two_thousand_actions_get_two_thousand_answers_and_nothing_stays() {
    let location = OneLocation::new();
    location.script("market/storm/import", DRIVER);
    location.script("market/storm/delete", DRIVER);
    location.script("datastore/storm/export", EXPORT);
    // One marketplace reports 10 MB, and writes 1 GiB to standard error.
    location.script(
        "market/storm/monitor",
        "head -c 10000000 /dev/zero | tr '\\0' y; [ $2 -ne 100 ] || \
         yes 'a line about the same fault, again and again and again and again' | \
         head -c 1073741824 >&2",
    );
    let mut oned = Oned::start(Path::new(ONE_MARKET), &location, "-t 15");
    oned.init();
    let mut random = Random::new(6);
    let mut asked: HashMap<(String, i64), String> = HashMap::new();
    let dump = |app: i64| Dump {
        app,
        market_id: 100 + app % 20,
        market_mad: "storm".into(),
        ds_mad: "storm".into(),
        market: vec![("SECRET_ACCESS_KEY".into(), "hunter2+".into())],
        ..Dump::default()
    };
    for market in 100..120 {
        asked.insert(("MONITOR".into(), market), format!("SUCCESS {}", "y".repeat(10_000_000)));
        oned.ask("MONITOR", market, &dump(market).monitor());
    }
    let mut app = 1_000;
    while asked.len() < 2_000 {
        app += 1;
        // Ending one by force takes 30 seconds: one is enough.
        if app % 100 == 10 && app != 1_010 || app % 100 == 3 && app % 97 == 0 {
            continue;
        }
        let action =
            if [3, 10].contains(&(app % 100)) || random.below(3) > 0 { "IMPORT" } else { "DELETE" };
        asked.insert((action.into(), app), expected(action, app));
        let message =
            if action == "IMPORT" { dump(app).import_request() } else { dump(app).delete() };
        oned.ask(action, app, &message);
    }
    for app in (1_001..=app).filter(|app| {
        asked.get(&("IMPORT".into(), *app)).is_some_and(|answer| answer.ends_with("cancelled"))
    }) {
        let line = format!("LOG I {app} deaf");
        oned.wait(&line, |lines| lines.contains(&line).then_some(()));
        oned.say(&format!("DRIVER_CANCEL {app}"));
    }
    let is_answer = |line: &&String| {
        ["IMPORT ", "DELETE ", "MONITOR "].iter().any(|word| line.starts_with(word))
    };
    oned.wait("2,000 answers", |lines| {
        (lines.iter().filter(is_answer).count() >= 2_000).then_some(())
    });
    let peak = fs::read_to_string(format!("/proc/{}/status", oned.id())).unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let var = location.path().join("var").canonicalize().unwrap();
    let (lines, status) = oned.end();
    assert!(status.success());
    for (action, id, text) in lines.iter().filter_map(|line| words_of(line)) {
        let expected = asked.remove(&(action.clone(), id));
        // Of a signal more is said.
        let is_expected = expected.as_ref().is_some_and(|expected| {
            text == *expected || expected.contains("SIGKILL") && text.starts_with(expected.as_str())
        });
        assert!(is_expected, "{action} {id}: {text:.200}\n{expected:.200?}");
    }
    assert!(asked.is_empty(), "{asked:.500?}");
    assert!(!lines.iter().any(|line| line.contains("hunter2")));
    let kib: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    // Fifteen reports of 10 MB, each once as it was printed and once in base64.
    assert!(kib < 600 << 10, "{peak}");
    let left: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == var))
        .map(|process| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
