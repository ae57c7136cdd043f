//! Messages of `oned` and their answers.

use crate::support::{ONE_MARKET, foreign, installation, start};
use market_core::encoding::encode;
use market_testkit::dump::Dump;
use market_testkit::oned::Oned;
use std::io::Write;
use std::path::Path;

#[test]
fn a_foreign_driver_gets_dump_and_id_as_arguments_and_its_output_comes_back() {
    let location = installation("echo \"$1 $2 $#\"; cat; pwd; nice");
    let mut oned = start(&location, "-t 3 -m foreign");
    let dump = foreign(30).monitor();
    let printed = oned.printed("MONITOR", 107, &dump);
    let var = location.path().join("var").canonicalize().unwrap();
    assert_eq!(printed, format!("{dump} 107 2\n{}\n19\n", var.display()));
    let (lines, status) = oned.end();
    assert!(status.success());
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn answers_are_one_line_each_whatever_is_printed() {
    let location = installation("printf 'two\\nlines\\n'");
    let mut oned = start(&location, "");
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "two\nlines\n");
    location.script("market/foreign/monitor", "true");
    let dump = Dump { market_id: 108, ..foreign(30) };
    assert_eq!(oned.printed("MONITOR", 108, &dump.monitor()), "-", "nothing printed");
}

#[test]
fn apps_without_an_image_get_no_answer_to_import_and_a_success_to_delete() {
    let location = installation("touch ran");
    let mut oned = start(&location, "");
    for (app, app_type) in [(31, 2), (32, 3)] {
        let dump = Dump { app_type, ..foreign(app) };
        oned.ask("IMPORT", app, &dump.import_request());
        assert_eq!(oned.call("DELETE", app, &dump.delete()), "SUCCESS -");
    }
    // Even when nothing else can be read of it.
    let bare = "<MARKET_DRIVER_ACTION_DATA><MARKETPLACEAPP><TYPE>2</TYPE></MARKETPLACEAPP>\
                </MARKET_DRIVER_ACTION_DATA>";
    oned.ask("IMPORT", 34, &encode(bare.as_bytes()));
    assert_eq!(oned.call("DELETE", 34, &encode(bare.as_bytes())), "SUCCESS -");
    let failure = oned.failure("IMPORT", 33, &Dump { app_type: 0, ..foreign(33) }.import_request());
    assert_eq!(failure, "Type 0 not supported");
    let (lines, _) = oned.end();
    assert!(
        !lines.iter().any(|line| line.starts_with("IMPORT") && !line.contains(" 33 ")),
        "{lines:?}"
    );
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn a_driver_that_is_not_allowed_or_not_there_is_refused_once_and_before_any_work() {
    let location = installation("true");
    location.script("datastore/foreign/export", "touch ran");
    location.script("market/other/monitor", "true");
    let mut oned = start(&location, "-m other,missing");
    for (id, mad) in [(30, "foreign"), (31, "missing"), (32, "../market/other"), (33, "")] {
        let dump = Dump { market_mad: mad.into(), ..foreign(id) };
        let expected = match mad {
            "" => "Wrong driver message format".to_owned(),
            mad => format!("Marketplace driver '{mad}' not available"),
        };
        assert_eq!(oned.failure("IMPORT", id, &dump.import_request()), expected);
    }
    let (lines, _) = oned.end();
    assert_eq!(lines.iter().filter(|line| line.starts_with("IMPORT ")).count(), 4, "{lines:?}");
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn what_cannot_be_decoded_fails_under_its_own_action() {
    let location = installation("true");
    let mut oned = start(&location, "");
    for (id, action) in [(1, "MONITOR"), (2, "IMPORT"), (3, "DELETE")] {
        assert_eq!(oned.failure(action, id, "!!"), "Cannot decode driver message");
        let empty = encode(b"<MARKET_DRIVER_ACTION_DATA/>");
        assert_eq!(oned.failure(action, id + 10, &empty), "Wrong driver message format");
    }
    let no_image = Dump { ds_mad: String::new(), ..foreign(9) };
    assert_eq!(
        oned.failure("IMPORT", 9, &no_image.import_request()),
        "Wrong driver message format"
    );
}

#[test]
fn garbage_is_ignored_and_words_may_have_any_case_and_any_blanks() {
    let location = installation("true");
    let mut oned = start(&location, "");
    oned.stdin()
        .write_all(
            b"\n  \nRESTART 1 x\nMONITOR\nMONITOR 1\nMONITOR x y\nMONITOR 1 a b\n\0\xff\x01\n",
        )
        .unwrap();
    let dump = foreign(30).monitor();
    oned.stdin().write_all(format!("\t mOnItOr \t 107   {dump} \r\n").as_bytes()).unwrap();
    assert_eq!(oned.answer("MONITOR", 107), "SUCCESS LQ==");
    let (lines, _) = oned.end();
    let others: Vec<_> = lines
        .iter()
        .filter(|line| !line.starts_with("LOG W - one_market: a message was ignored"))
        .collect();
    assert_eq!(others.len(), 2, "{lines:?}");
}

#[test]
fn messages_may_come_byte_by_byte() {
    let location = installation("true");
    let mut oned = start(&location, "");
    for byte in format!("MONITOR  107 {}\n", foreign(30).monitor()).bytes() {
        oned.stdin().write_all(&[byte]).unwrap();
    }
    assert_eq!(oned.answer("MONITOR", 107), "SUCCESS LQ==");
}

#[test]
fn init_is_answered_first_whatever_came_before() {
    let location = installation("echo INFO: early >&2");
    let mut oned = Oned::start(Path::new(ONE_MARKET), &location, "");
    oned.ask("DELETE", 30, &foreign(30).delete());
    oned.say("garbage");
    oned.init();
    assert_eq!(oned.answer("DELETE", 30), "SUCCESS -");
}
