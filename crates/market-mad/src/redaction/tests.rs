#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
use super::mapped_text::MappedText;
use super::search::HIDDEN;
use super::{MAX_DUMP_BYTES, MIN_PIECE_BYTES, Redaction};
use market_core::encoding::encode;
use market_core::roxmltree::Document;
use proptest::prelude::*;
use std::borrow::Cow;
use std::time::{Duration, Instant};

fn of(xml: &str) -> Redaction {
    Redaction::of(Document::parse(xml).unwrap().root_element())
}

/// Of a marketplace with these attributes.
fn with(attributes: &[(&str, &str)]) -> Redaction {
    let all =
        attributes.iter().map(|(name, value)| format!("<{name}><![CDATA[{value}]]></{name}>"));
    of(&format!(
        "<M><MARKETPLACE><NAME>apps</NAME><TEMPLATE>{}</TEMPLATE></MARKETPLACE></M>",
        all.collect::<String>()
    ))
}

#[test]
fn keys_and_dumps_are_hidden_wherever_they_stand() {
    let xml = "<M><TEMPLATE><SECRET_ACCESS_KEY><![CDATA[a+key/of=ours]]></SECRET_ACCESS_KEY>\
               <BUCKET>apps</BUCKET><PROXY><PASSWORD>hunter2</PASSWORD></PROXY>\
               <ENDPOINT>http://me:pass:word@host/</ENDPOINT></TEMPLATE></M>";
    let redaction = of(xml);
    let dump = encode(xml.as_bytes());
    let text = format!(
        "+ xpath.rb -b {dump} x\n key a+key/of=ours apps hunter2 {dump} http://me:pass:word@host"
    );
    assert_eq!(
        redaction.apply(&text),
        "+ xpath.rb -b <hidden> x\n key <hidden> apps <hidden> <hidden> http://<hidden>@host"
    );
    assert!(matches!(redaction.apply("nothing here"), Cow::Borrowed(_)));
    let again = encode(dump.as_bytes());
    assert_eq!(redaction.apply(&again), HIDDEN);
    let sum = "5f2b51ca2fdc5baa31ec02e002f69aec5f2b51ca2fdc5baa31ec02e002f69aec";
    assert_eq!(redaction.apply(sum), sum, "a checksum is no part of a dump");
}

#[test]
fn every_value_that_is_not_known_to_be_harmless_is_hidden() {
    let redaction = with(&[
        ("ADMIN_PASS", "correct horse"),
        ("APIKEY", "battery-staple"),
        ("TOKEN7", "0123456789abcdef0123456789abcdef"),
        ("INVENTED", "by somebody"),
        ("REGION", "north"),
        ("BRIDGE_LIST", "host1 host2"),
        ("SWITCH", "yes"),
        ("NUMBER", "15"),
    ]);
    assert_eq!(redaction.apply("q=correct+horse"), "q=<hidden>");
    let text = "correct horse, battery-staple, 0123456789abcdef, by somebody; \
                north host1 host2 yes 15 apps";
    assert_eq!(
        redaction.apply(text),
        "<hidden>, <hidden>, <hidden>, <hidden>; north host1 host2 yes 15 apps"
    );
}

#[test]
fn escapes_quotes_and_base64_are_decoded() {
    let key = "a<b>&c\"d'e+f/g%h=swordfish!";
    let redaction = with(&[("PASSPHRASE", key)]);
    let xml = key
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let percent: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let quoted = format!("'{}'", key.replace('\'', "'\\''"));
    let json = key.replace('"', "\\\"").replace('/', "\\/").replace('<', "\\u003c");
    let in_base64 =
        ["", "x", "yy"].map(|before| encode(format!("{before}{key} and more").as_bytes()));
    let url_safe = in_base64[1].replace('+', "-").replace('/', "_");
    let xml_in_base64 = encode(format!("<X>{xml}</X>").as_bytes());
    let twice = xml.replace('&', "&amp;");
    let hex: String = key.bytes().map(|byte| format!("{byte:02x} ")).collect();
    let octal: String = key.bytes().map(|byte| format!("\\{byte:03o}")).collect();
    for text in
        [key, &xml, &percent, &quoted, &json, &url_safe, &xml_in_base64, &twice, &hex, &octal]
            .into_iter()
            .chain(in_base64.iter().map(String::as_str))
    {
        let shown = redaction.apply(text);
        let left = ["swordfish", &encode(b"swordfish")[..10], "%73%77", "d3b3J", "73 77", "163"];
        assert!(
            shown.contains("<hidden>") && !left.iter().any(|part| shown.contains(part)),
            "{text}: {shown}"
        );
        assert!(shown.len() < 30, "{text}: {shown}");
    }
}

#[test]
fn what_is_wrapped_is_hidden_on_all_of_its_lines() {
    let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let redaction = with(&[("SECRET_ACCESS_KEY", key)]);
    let dump = encode(
        format!("<A><TEMPLATE><SECRET_ACCESS_KEY>{key}</SECRET_ACCESS_KEY></TEMPLATE></A>")
            .as_bytes(),
    );
    for width in [3, 7, 10, 19, 40, 60, 76] {
        for text in [key, &encode(key.as_bytes()), &dump] {
            let lines: Vec<_> =
                text.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line)).collect();
            let shown = redaction.apply(&lines.join("\n")).into_owned();
            assert_eq!(shown.lines().count(), lines.len(), "{shown}");
            let readable: String = shown.lines().filter(|line| *line != HIDDEN).collect();
            // At the ends of a dump stand the names of elements.
            assert!(readable.len() < if text == dump { 50 } else { 3 }, "{width}: {shown}");
        }
    }
}

#[test]
fn a_part_of_a_long_key_is_hidden_and_each_line_and_item_of_a_value() {
    let redaction = with(&[
        ("KEYS", "alpha-key,beta-key gamma-key"),
        ("PEM", "-----BEGIN\nline-one\nline-two\n"),
    ]);
    assert_eq!(redaction.apply("gamma-key | beta-key; line-two"), "<hidden> | <hidden>; <hidden>");
    let redaction = with(&[("SECRET", "abcdefghijklmnopqrstuvwxyz")]);
    assert_eq!(redaction.apply("hijklmnopqrstu"), HIDDEN);
}

#[test]
fn what_is_too_short_to_be_looked_for_takes_its_line_with_it() {
    let redaction = with(&[("PASSWORD", "ab"), ("WORD", "xyz")]);
    assert_eq!(redaction.apply("a cabin\nxyz in wxyz"), "<hidden>\n<hidden> in wxyz");
}

#[test]
fn more_values_than_are_searched_for_hide_every_line() {
    // 6,000 values of 59 bytes, with 48 pieces each.
    let value = |number: u64| {
        let words = (0..6).map(|word| (number * 6 + word) * 7_919_111 % 1_000_000_000);
        words.map(|word| format!("{word:09}")).collect::<Vec<_>>().join("-")
    };
    let many: String = (0..6_000).map(|number| format!("<K>{}</K>", value(number))).collect();
    let redaction = of(&format!("<M><TEMPLATE>{many}</TEMPLATE></M>"));
    assert!(redaction.hides_all());
    assert_eq!(redaction.apply("any\nline"), "<hidden>\n<hidden>");
    let large = "0123456789".repeat(60_000);
    assert!(with(&[("X", &large)]).hides_all());
    assert!(!with(&[("DESCRIPTION", &large)]).hides_all());
}

#[test]
fn passwords_in_urls_are_values_and_urls_are_shown_without() {
    let redaction = with(&[
        ("BASE_URL", "http://host/ http://me:first-pass@a/ ftp://my-token@b"),
        ("ENDPOINT", "https://h/?X-Signature=signed-text&n=1"),
        ("BRIDGE_LIST", "ssh://oneadmin@host"),
    ]);
    assert_eq!(
        redaction.apply("first-pass my-token signed-text oneadmin"),
        "<hidden> <hidden> <hidden> oneadmin"
    );
    assert_eq!(
        redaction.apply("GET https://x:y@other/?z=1 200"),
        "GET https://<hidden>@other/?<hidden> 200"
    );
    assert_eq!(
        redaction.apply("http%3A%2F%2Fx%3Ay%40other%2Fa"),
        "http%3A%2F%2F<hidden>%40other%2Fa"
    );
}

#[test]
fn the_template_in_base64_of_an_app_is_looked_into() {
    let template =
        encode(b"NAME=\"vm\"\nGRAPHICS=[TYPE=\"VNC\",PASSWD=\"letmein\"]\nMEMORY=\"1024\"");
    let redaction = of(&format!(
        "<M><MARKETPLACEAPP><APPTEMPLATE64>{template}</APPTEMPLATE64></MARKETPLACEAPP></M>"
    ));
    assert_eq!(redaction.apply(&format!("letmein 1024 {template}")), "<hidden> 1024 <hidden>");
}

#[test]
fn variables_of_the_environment_and_what_an_export_tells_are_hidden_too() {
    let mut redaction = Redaction::default();
    redaction.hide_variable("https_proxy", "http://me:proxy-pass@proxy");
    redaction.hide_variable("AWS_SECRET_ACCESS_KEY", "env-key");
    redaction.hide_variable("PATH", "/usr/bin");
    redaction.hide_exported(
        "<IMPORT_SOURCE><![CDATA[rbd://h/p/i?CEPH_KEY=ceph-key]]></IMPORT_SOURCE><MD5></MD5>",
    );
    assert_eq!(
        redaction.apply("proxy-pass env-key ceph-key /usr/bin"),
        "<hidden> <hidden> <hidden> /usr/bin"
    );
}

#[test]
fn thousands_of_nested_elements_and_long_runs_take_little_time() {
    let before = Instant::now();
    for (open, close) in [("<PASSWORD>x", "</PASSWORD>"), ("<PASSWORD>", "</PASSWORD>")] {
        let xml = format!(
            "<M><TEMPLATE>{}secret-text{}</TEMPLATE></M>",
            open.repeat(20_000),
            close.repeat(20_000)
        );
        assert_eq!(of(&xml).apply("secret-text"), HIDDEN);
    }
    let long = "aaaaaaaaaaaaaaaaaaaaaaab".repeat(10_000);
    let redaction = with(&[("KEY", &long)]);
    redaction.apply(&"a".repeat(100_000));
    // It takes a few seconds; a search in quadratic time would take hours.
    assert!(before.elapsed() < Duration::from_secs(120), "{:?}", before.elapsed());
}

#[test]
fn values_that_are_no_secrets_by_name_leave_ordinary_words_and_paths_alone() {
    let redaction = with(&[
        ("BACKUP_DIR", "/var/lib/one/backups"),
        ("HELP", "https://www.example.com/x"),
        ("CACHE", "none"),
        ("CONVERT", "true"),
        ("INVENTED", "admin"),
        ("HOST", "storage01.internal.example.com"),
        ("SOURCE", "lxd://images/x?size=2048&filesystem=ext4&format=raw"),
        ("IMPORT_SOURCE", "rbd://h/p/i?CEPH_USER=libvirt&CEPH_KEY=ceph-key"),
    ]);
    let text = "oneadmin: https://www.example.org /var/lib/one/remotes none true ext4 raw 2048 \
                libvirt backups \
                storage02.internal.example.com";
    assert_eq!(redaction.apply(text), text);
    let text = "admin: https://www.example.com/x '/var/lib/one/backups' ceph-key-1 \
                %2fvar%2flib%2fone%2fbackups%20";
    assert_eq!(redaction.apply(text), "<hidden>: <hidden> '<hidden>' <hidden>-1 <hidden>%20");
    let wrapped = "see /var/lib/\none/back\nups and /var/lib/one/backups2";
    assert_eq!(
        redaction.apply(wrapped),
        "see <hidden>\n<hidden>\n<hidden> and /var/lib/one/backups2"
    );
    let in_base64 = encode(b"see /var/lib/one/backups there");
    assert_eq!(redaction.apply(&in_base64), HIDDEN);
}

#[test]
fn the_parts_of_a_value_that_looks_like_a_key_are_hidden() {
    let [hex, base64] =
        ["0123456789abcdef0123456789abcdef", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"];
    let redaction = with(&[("INVENTED", hex), ("OTHER", &format!("me {base64}, none"))]);
    assert_eq!(
        redaction.apply("x89abcdef0123x lrXUtnFEMI/K7MDEN... me"),
        "x<hidden>x <hidden>... me"
    );
}

#[test]
fn of_a_large_dump_long_runs_are_hidden_and_paths_are_not() {
    let xml =
        format!("<M><PASSWORD>hunter2</PASSWORD><NAME>{}</NAME></M>", "x".repeat(MAX_DUMP_BYTES));
    let redaction = of(&xml);
    let shown = "/var/lib/one/datastores/100/5f2b51ca2fdc 5f2b51ca-2fdc-5baa-31ec-02e002f69aec";
    assert_eq!(redaction.apply(shown), shown);
    for width in [24, 60, 76] {
        assert_eq!(redaction.apply(&encode(xml.as_bytes())[..width]), HIDDEN);
    }
}

#[test]
fn the_path_of_a_file_with_a_secret_is_shown() {
    let mut redaction = Redaction::default();
    redaction.hide_variable("ONE_AUTH", "/var/lib/one/.one/one_auth");
    redaction.hide_variable("PROXY_AUTH_FILE", "/etc/one/proxy.auth");
    redaction.hide_variable("AWS_SECRET_ACCESS_KEY", "/Jalr/UtnFEMI");
    let text = "/var/lib/one/remotes /etc/one/proxy.auth";
    assert_eq!(redaction.apply(&format!("{text} /Jalr/UtnFEMI")), format!("{text} <hidden>"));
}

#[test]
fn a_value_that_is_no_text_hides_no_line() {
    let bytes: Vec<u8> = (0..=255).flat_map(|byte| [byte, 0, byte, b'x', 0]).collect();
    for name in ["ICON64", "KEY64"] {
        let redaction =
            with(&[(name, &encode(&bytes)), ("QUOTES", "\"\"\"\"\"\"\"\"\"\"\"\"\"\"a1")]);
        let text = "any line is shown: ax 0x1, beta1";
        assert_eq!(redaction.apply(text), text, "{name}");
    }
}

#[test]
fn a_value_with_zeros_is_hidden_part_by_part() {
    for name in ["FOO64", "KEY64"] {
        let redaction = with(&[(name, &encode(b"swordfish\0"))]);
        for (line, shown) in
            [("73776f726466697368", HIDDEN), ("0a73776f726466697368", "0a<hidden>")]
        {
            assert_eq!(redaction.apply(line), shown, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn any_value_and_any_line_is_searched_line_by_line(
        value in prop::collection::vec(
            prop::sample::select(vec![0, b'a', b'7', b'/', b' ', b'%', 0xc3, 0xa9]),
            0..24,
        ),
        name in "(FOO64|KEY64|FOO|KEY)",
        noise in "[a0/ =%\\PC]{0,9}",
    ) {
        let plain = String::from_utf8_lossy(&value).replace('\0', "");
        let ends_in_zero = encode(&[value.as_slice(), &[0]].concat());
        let redaction = with(&[(&name, if name.ends_with("64") { &ends_in_zero } else { &plain })]);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
        for form in [plain, hex, percent, encode(&value), encode(encode(&value).as_bytes())] {
            for line in [
                form.clone(),
                format!("{noise}{form}"),
                format!("{form}{noise}"),
                format!("{noise}{form} {form}"),
            ] {
                let shown = redaction.apply(&line).into_owned();
                prop_assert_eq!(shown.lines().count(), line.lines().count());
            }
        }
    }

    #[test]
    fn any_text_is_searched_and_no_value_stays(
        text in "\\PC{0,80}",
        value in "[!-~]{4,40}",
        before in "[a-z ]{0,9}",
    ) {
        let redaction = with(&[("SECRET", &value.replace("]]>", "x"))]);
        redaction.apply(&text);
        let value = value.replace("]]>", "x");
        if MappedText::of(&value).compacted().bytes.len() >= MIN_PIECE_BYTES {
            for form in [
                value.clone(),
                encode(value.as_bytes()),
                encode(format!("{before}{value}").as_bytes()),
            ] {
                let line = format!("{before} {form} {text}");
                let shown = redaction.apply(&line);
                prop_assert!(shown.contains(HIDDEN) && !shown.contains(&form), "{line}: {shown}");
            }
        }
    }
}
