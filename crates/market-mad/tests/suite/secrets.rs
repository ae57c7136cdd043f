//! Secrets of templates are in no line for `oned`.

use crate::support::{EXPORT, foreign, installation, start};
use market_core::encoding::encode;
use market_testkit::dump::Dump;
use std::time::{Duration, Instant};

#[test]
fn keys_and_dumps_are_in_no_line() {
    let location = installation(
        "set -x; : \"$1\"; echo \"INFO: key is hunter2+secret\" >&2\n\
         printf %s \"$1\" | base64 -d >&2; echo \"$1\" >&2; exit 1",
    );
    location.script(
        "datastore/foreign/export",
        &format!("dump=$(cat); set -x; : \"$dump\"; set +x; {EXPORT}"),
    );
    let mut oned = start(&location, "");
    let dump = Dump {
        market: vec![("SECRET_ACCESS_KEY".into(), "hunter2+secret".into())],
        image: vec![("PASSWORD".into(), "swordfish".into())],
        ..foreign(30)
    };
    oned.failure("MONITOR", 107, &dump.monitor());
    oned.failure("IMPORT", 30, &dump.import_request());
    let (lines, _) = oned.end();
    let (monitor, import) = (dump.monitor(), dump.import_request());
    for secret in [
        "hunter2",
        "swordfish",
        &monitor[..60],
        &monitor[100..160],
        &import[..60],
        &import[200..260],
    ] {
        assert!(!lines.iter().any(|line| line.contains(secret)), "{secret}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("key is <hidden>")), "{lines:#?}");
}

#[test]
fn values_of_templates_are_in_no_line_in_any_encoding() {
    let location = installation(
        "base64() { command base64 \"$@\" | sed \"s/^/$prefix/\"; }\n\
         xml() { printf %s \"$1\" | command base64 -d; }\n\
         for prefix in 'INFO: ' ''; do\n\
         xml \"$1\" | base64 -w 64 >&2; xml \"$1\" | base64 -w 13 >&2\n\
         xml \"$1\" | sed 's/.*<ADMIN_PASS>//' | base64 >&2\n\
         xml \"$1\" | sed 's/.*<ADMIN_PASS>//' | fold -w 9 | sed \"s/^/$prefix/\" >&2\n\
         printf '%scurl -u me:%s\\n' \"$prefix\" 'a &lt;b&gt; key of ours' >&2\n\
         urls='http://first:x1y2z3@host/ then https://second:q9w8e7@host/?sig=r5t6u7'\n\
         printf '%sGET %s\\n' \"$prefix\" \"$urls\" >&2\n\
         done; exit 1",
    );
    let mut oned = start(&location, "");
    let mut market = vec![
        ("ADMIN_PASS".into(), "a <b> key of ours".into()),
        ("TOKEN2".into(), "r0t4t3d".into()),
    ];
    market.extend(
        (0..2_000).map(|number| (format!("PASSWORD{number}"), format!("value-{number:05}"))),
    );
    market.push(("ZULU".into(), "the last of them".into()));
    let dump = Dump { market, ..foreign(30) };
    oned.failure("MONITOR", 107, &dump.monitor());
    let (lines, _) = oned.end();
    let all = lines.join("\n");
    let parts = [
        "key of",
        "y of ours",
        "r0t4t3d",
        "value-01",
        "the last",
        "x1y2z3",
        "q9w8e7",
        "r5t6u7",
        "&lt;b",
    ];
    for part in parts {
        assert!(!all.contains(part), "{part}: {all:.4000}");
    }
    let monitor = dump.monitor();
    assert!(
        !monitor
            .as_bytes()
            .chunks(13)
            .skip(400)
            .step_by(50)
            .any(|part| all.contains(std::str::from_utf8(part).unwrap()))
    );
}

#[test]
fn a_key_in_pieces_is_hidden_from_its_second_piece_on() {
    let key = "wJalrXUtnFEMI7MDENGbPxRfiCYEXAMPLEKEYabc";
    let location = installation(&format!(
        "printf %s {key} | fold -w 9 | while read -r line || [ -n \"$line\" ]; do\n\
         echo \"INFO: $line\" >&2; done; echo 'INFO: the end' >&2"
    ));
    let mut oned = start(&location, "");
    let dump = Dump { market: vec![("ADMIN_KEY".into(), key.into())], ..foreign(30) };
    oned.printed("MONITOR", 107, &dump.monitor());
    let (lines, _) = oned.end();
    for part in key.as_bytes().chunks(9).skip(1) {
        let part = std::str::from_utf8(part).unwrap();
        assert!(!lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
    assert!(lines.contains(&"LOG I 107 the end".to_owned()), "{lines:?}");
}

#[test]
fn thousands_of_nested_elements_cost_little_time() {
    let location = installation("echo secret-text >&2; exit 1");
    let mut oned = start(&location, "");
    let nested =
        format!("{}secret-text{}", "<PASSWORD>".repeat(20_000), "</PASSWORD>".repeat(20_000));
    let dump = format!(
        "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>107</ID><MARKET_MAD>foreign</MARKET_MAD>\
         <TEMPLATE>{nested}</TEMPLATE></MARKETPLACE></MARKET_DRIVER_ACTION_DATA>"
    );
    let before = Instant::now();
    oned.ask("MONITOR", 107, &encode(dump.as_bytes()));
    assert_eq!(
        oned.call("DELETE", 30, &foreign(30).delete()),
        "FAILURE secret-text",
        "no secret of this one"
    );
    assert!(oned.answer("MONITOR", 107).starts_with("FAILURE the message has"));
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}
