//! Which action runs when.

use crate::support::{
    WAITS, count_logs, foreign, installation, let_them_finish, start, wait_until_at_work,
};
use market_testkit::dump::Dump;
use std::fs;
use std::process::Command;

#[test]
fn as_many_actions_run_at_once_as_the_arguments_say_and_a_marketplace_leaves_room() {
    let location = installation(WAITS);
    let mut oned = start(&location, "-t 4");
    let of_market = |market_id, app| Dump { market_id, ..foreign(app) };
    for app in 1..=6 {
        oned.ask("DELETE", app, &of_market(1, app).delete());
    }
    for app in 1..=3 {
        wait_until_at_work(&oned, app);
    }
    // The fourth place is kept for other marketplaces.
    oned.ask("DELETE", 20, &of_market(2, 20).delete());
    wait_until_at_work(&oned, 20);
    assert_eq!(count_logs(&oned, "at work"), 4);
    let_them_finish(&location);
    for app in [1, 2, 3, 4, 5, 6, 20] {
        assert_eq!(oned.answer("DELETE", app), "SUCCESS -");
    }
}

#[test]
fn two_actions_on_one_app_never_run_at_once() {
    let location = installation(
        "mkdir lock || exit 9; echo INFO: at work >&2\n\
         while [ ! -e go ]; do sleep 0.02; done; rmdir lock",
    );
    let mut oned = start(&location, "-t 8");
    for _ in 0..4 {
        oned.ask("DELETE", 30, &foreign(30).delete());
    }
    wait_until_at_work(&oned, 30);
    let_them_finish(&location);
    oned.wait("four answers", |lines| {
        (lines.iter().filter(|line| *line == "DELETE SUCCESS 30 -").count() == 4).then_some(())
    });
}

#[test]
fn a_later_monitor_takes_the_place_of_one_that_waits() {
    let location = installation(WAITS);
    let mut oned = start(&location, "");
    for _ in 0..3 {
        oned.ask("MONITOR", 107, &foreign(30).monitor());
        wait_until_at_work(&oned, 107);
    }
    oned.wait("the one that gives way", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("MONITOR FAILURE 107 a later monitor"))
            .then_some(())
    });
    let_them_finish(&location);
    oned.wait("three answers", |lines| {
        (lines.iter().filter(|line| line.starts_with("MONITOR SUCCESS 107 ")).count() == 2)
            .then_some(())
    });
    let (lines, _) = oned.end();
    let failures =
        lines.iter().filter(|line| line.starts_with("MONITOR FAILURE 107 a later monitor"));
    assert_eq!(failures.count(), 1, "{lines:?}");
}

#[test]
fn driver_cancel_ends_what_runs_and_what_waits() {
    let location = installation("echo INFO: at work >&2; exec sleep 1000");
    let mut oned = start(&location, "");
    oned.ask("DELETE", 30, &foreign(30).delete());
    wait_until_at_work(&oned, 30);
    oned.ask("DELETE", 30, &foreign(30).delete());
    oned.say("DRIVER_CANCEL 30");
    oned.wait("two answers", |lines| {
        (lines.iter().filter(|line| *line == "DELETE FAILURE 30 cancelled").count() == 2)
            .then_some(())
    });
    assert_eq!(count_logs(&oned, "Driver command for 30 cancelled"), 1);
}

#[test]
fn deletes_and_monitors_do_not_wait_for_imports() {
    // They wait for a FIFO that nobody writes to before the end.
    let location = installation("true");
    let import = "trap 'echo \"$2\" >> discarded; exit 12' TERM\n\
                  echo INFO: at work >&2; read -r line < hold & wait";
    location.script("market/foreign/import", import);
    location.script("market/foreign/delete", "echo \"$2\" >> deleted");
    let var = location.path().join("var");
    assert!(Command::new("mkfifo").arg(var.join("hold")).status().unwrap().success());
    let mut oned = start(&location, "-t 5");
    for app in 1..=9 {
        oned.ask("IMPORT", app, &foreign(app).import_request());
    }
    for app in 1..=3 {
        wait_until_at_work(&oned, app);
    }
    // Two that run and two that wait; and one that is there already.
    for app in [1, 2, 8, 9] {
        oned.ask("DELETE", app, &foreign(app).delete());
    }
    for app in [1, 2, 8, 9] {
        assert_eq!(oned.answer("DELETE", app), "SUCCESS -");
        assert!(oned.answer("IMPORT", app).starts_with("FAILURE cancelled"));
    }
    for app in [4, 5] {
        wait_until_at_work(&oned, app);
    }
    let there = Dump { app_source: "there".into(), ..foreign(30) };
    assert_eq!(oned.call("DELETE", 30, &there.delete()), "SUCCESS -");
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "-");
    let other = Dump { market_id: 108, ..foreign(40) };
    oned.ask("IMPORT", 40, &other.import_request());
    wait_until_at_work(&oned, 40);
    assert_eq!(count_logs(&oned, "at work"), 6, "never more imports than before");
    let mut deleted: Vec<_> =
        fs::read_to_string(var.join("deleted")).unwrap().lines().map(str::to_owned).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, ["1", "2", "30"], "of what was never begun there is nothing to delete");
    assert_eq!(fs::read_to_string(var.join("discarded")).unwrap().lines().count(), 2);
    // All others go on to their end.
    for app in [3, 4, 5, 6, 7, 40] {
        oned.say(&format!("DRIVER_CANCEL {app}"));
        assert_eq!(oned.answer("IMPORT", app), "FAILURE cancelled");
    }
}
