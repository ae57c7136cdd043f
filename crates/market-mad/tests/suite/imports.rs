//! The two steps of an import, and deletes of an app whose import waits, runs or has just ended.

use crate::support::{
    EXPORT, WAITS, count_logs, foreign, installation, let_them_finish, start, wait_until_at_work,
};
use market_testkit::dump::Dump;
use std::fs;

#[test]
fn an_import_runs_export_first_and_passes_its_elements_on() {
    let location = installation("printf %s \"$1\" | base64 -d | tail -c 290");
    location.script(
        "datastore/foreign/export",
        &format!("base64 -d > export.xml; echo \"$*\" > export.id; {EXPORT}"),
    );
    let mut oned = start(&location, "");
    let dump = Dump { image_source: "/images/1".into(), ..foreign(30) };
    let printed = oned.printed("IMPORT", 30, &dump.import_request());
    assert!(
        printed.ends_with(
            "</DATASTORE><IMPORT_SOURCE><![CDATA[/image]]></IMPORT_SOURCE><MD5><![CDATA[m]]></MD5>\
             <SIZE><![CDATA[7]]></SIZE><FORMAT><![CDATA[raw]]></FORMAT><DISPOSE><![CDATA[NO]]>\
             </DISPOSE><DISPOSE_CMD><![CDATA[]]></DISPOSE_CMD>\
             </MARKET_DRIVER_ACTION_DATA>"
        ),
        "{printed}"
    );
    let var = location.path().join("var");
    let export = fs::read_to_string(var.join("export.xml")).unwrap();
    assert!(
        export.starts_with("<DS_DRIVER_ACTION_DATA><IMAGE>")
            && export.ends_with("</DATASTORE></DS_DRIVER_ACTION_DATA>")
    );
    assert_eq!(fs::read_to_string(var.join("export.id")).unwrap(), "30\n");
}

#[test]
fn an_export_that_fails_or_prints_something_else_fails_the_import() {
    let location = installation("touch ran");
    let mut oned = start(&location, "");
    for (app, script, expected) in [
        (1, "echo 'no such image' >&2; exit 1", "no such image"),
        (2, "echo nothing", "datastore/foreign/export printed no IMPORT_INFO"),
        (3, "echo '<IMPORT_INFO><MD5/>'", "datastore/foreign/export printed no IMPORT_INFO"),
        (4, "head -c 3000000 /dev/zero", "wrote more than can be taken"),
    ] {
        location.script("datastore/foreign/export", script);
        let failure = oned.failure("IMPORT", app, &foreign(app).import_request());
        assert!(
            failure.starts_with("Error exporting image to file: ") && failure.contains(expected),
            "{failure}"
        );
    }
    let failure =
        oned.failure("IMPORT", 5, &Dump { ds_mad: "none".into(), ..foreign(5) }.import_request());
    assert_eq!(failure, "Error exporting image to file: Datastore driver 'none' not available");
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn an_import_whose_export_or_driver_is_killed_says_which() {
    let location = installation("kill -9 $$");
    let mut oned = start(&location, "");
    let failure = oned.failure("IMPORT", 30, &foreign(30).import_request());
    assert!(failure.starts_with("market/foreign/import was killed by SIGKILL"), "{failure}");
    location.script("datastore/foreign/export", "kill -11 $$");
    let failure = oned.failure("IMPORT", 31, &foreign(31).import_request());
    assert!(
        failure.starts_with(
            "Error exporting image to file: datastore/foreign/export was killed by SIGSEGV"
        ),
        "{failure}"
    );
}

#[test]
fn an_import_that_is_cancelled_in_its_first_step_says_so_and_leaves_no_temporary() {
    for export in [
        "echo INFO: at work >&2; exec sleep 1000",
        "trap 'touch temporary; echo \"$INFO\"; exit 0' TERM\n\
         echo INFO: at work >&2; sleep 1000 & wait",
    ] {
        let location = installation("touch imported");
        let info = "INFO='<IMPORT_INFO><IMPORT_SOURCE>/i</IMPORT_SOURCE><DISPOSE>YES</DISPOSE>\
                    <DISPOSE_CMD>rm temporary</DISPOSE_CMD></IMPORT_INFO>'";
        location.script("datastore/foreign/export", &format!("{info}; {export}"));
        let mut oned = start(&location, "");
        oned.ask("IMPORT", 30, &foreign(30).import_request());
        wait_until_at_work(&oned, 30);
        assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
        assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled");
        let var = location.path().join("var");
        assert!(!var.join("temporary").exists());
        assert_eq!(
            count_logs(&oned, "the temporary of the export was removed"),
            usize::from(export.starts_with("trap"))
        );
    }
}

#[test]
fn a_delete_ends_the_import_of_its_app_and_waits_for_its_cleanup() {
    let location = installation(
        "trap 'echo discarded >> order; exit 12' TERM; echo INFO: at work >&2; sleep 1000 & wait",
    );
    location.script("market/foreign/delete", "echo deleted >> order; echo 'no SOURCE' >&2; exit 1");
    let mut oned = start(&location, "");
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    wait_until_at_work(&oned, 30);
    assert_eq!(
        oned.call("DELETE", 30, &foreign(30).delete()),
        "SUCCESS -",
        "nothing was published"
    );
    assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled");
    assert_eq!(
        fs::read_to_string(location.path().join("var/order")).unwrap(),
        "discarded\ndeleted\n"
    );
}

#[test]
fn a_waiting_import_is_cancelled_by_the_delete_of_its_app() {
    let location = installation(WAITS);
    location.script("market/foreign/import", "touch imported");
    let mut oned = start(&location, "-t 1");
    oned.ask("DELETE", 1, &foreign(1).delete());
    wait_until_at_work(&oned, 1);
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    oned.ask("DELETE", 30, &foreign(30).delete());
    assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled: the app is deleted");
    let_them_finish(&location);
    assert_eq!(oned.answer("DELETE", 30), "SUCCESS -");
    assert!(!location.path().join("var/imported").exists());
}

#[test]
fn a_delete_finds_what_an_import_has_published_meanwhile() {
    let location = installation(
        "trap 'echo SOURCE=\\\"there\\\"; exit 0' TERM; echo INFO: at work >&2; sleep 1000 & wait",
    );
    location.script("market/foreign/delete", "printf %s \"$1\" | base64 -d > deleted.xml");
    let mut oned = start(&location, "");
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    wait_until_at_work(&oned, 30);
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
    assert!(oned.answer("IMPORT", 30).starts_with("SUCCESS "), "it could not be ended any more");
    let deleted = fs::read_to_string(location.path().join("var/deleted.xml")).unwrap();
    assert!(deleted.contains("<SOURCE><![CDATA[there]]></SOURCE>"), "{deleted}");

    // The answer and the delete have crossed on their way.
    location.script("market/foreign/import", "echo 'SOURCE=\"here\"'");
    assert!(oned.call("IMPORT", 31, &foreign(31).import_request()).starts_with("SUCCESS "));
    assert_eq!(oned.call("DELETE", 31, &foreign(31).delete()), "SUCCESS -");
    let deleted = fs::read_to_string(location.path().join("var/deleted.xml")).unwrap();
    assert!(deleted.contains("<SOURCE><![CDATA[here]]></SOURCE>"), "{deleted}");
}

#[test]
fn the_temporary_of_an_export_is_removed_when_no_driver_can_do_it() {
    let export = "touch temporary; echo '<IMPORT_INFO><IMPORT_SOURCE>/image</IMPORT_SOURCE>\
                  <DISPOSE>YES</DISPOSE><DISPOSE_CMD>rm temporary</DISPOSE_CMD></IMPORT_INFO>'";
    for import in ["kill -9 $$", "#"] {
        let location = installation(import);
        location.script("datastore/foreign/export", export);
        if import == "#" {
            fs::remove_file(location.remotes().join("market/foreign/import")).unwrap();
        }
        let mut oned = start(&location, "");
        oned.failure("IMPORT", 30, &foreign(30).import_request());
        assert!(!location.path().join("var/temporary").exists());
        assert_eq!(count_logs(&oned, "the temporary of the export was removed"), 1);
    }
}
