//! What a value, a word or a run of base64 looks like.

use super::MIN_PIECE_BYTES;
use super::mapped_text::base64_digit;

/// A shorter word is no key.
const MIN_KEY_BYTES: usize = 16;

/// A run of base64 of this length may be a part of a dump whose parts are not kept.
const MIN_DUMP_RUN_BYTES: usize = 24;

/// The same for a run with several `/`, `-` or `_`, which may be a path: base64 of XML hardly ever
/// has these digits.
const MIN_DUMP_PATH_BYTES: usize = 64;

/// Whether an attribute of this name holds base64: `APPTEMPLATE64`, `VMTEMPLATE64`.
pub(super) fn holds_base64(name: &str) -> bool {
    name.ends_with("64")
}

/// Whether a value is in too many lines to be hidden, and reveals nothing: a switch, or a small
/// number. A secret by its name is always hidden, unless it is empty.
pub(super) fn is_uninformative(value: &[u8], secret: bool) -> bool {
    const SWITCHES: [&str; 12] = [
        "yes", "no", "on", "off", "true", "false", "none", "null", "auto", "default", "enabled",
        "disabled",
    ];
    let is_switch = || SWITCHES.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let is_small = || value.len() < MIN_PIECE_BYTES && value.iter().all(u8::is_ascii_digit);
    value.is_empty() || !secret && (is_small() || is_switch())
}

/// Whether a word may be a key, whatever its attribute is called: it is long, and has letters and
/// digits. With a `/` it must be base64 with letters of both cases, which a path seldom is.
pub(super) fn looks_like_key(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    let is_mixed = has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit);
    let looks_like_base64 = || {
        let is_all_base64 = word.bytes().all(is_base64) && !word.starts_with('/');
        is_all_base64 && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
    };
    word.len() >= MIN_KEY_BYTES && is_mixed && (!word.contains('/') || looks_like_base64())
}

/// Whether a variable that is a secret by its name holds the path of a file with the secret.
/// `ONE_AUTH` always does; of any other variable the value must look like a path, because a key in
/// base64 may begin with a `/` too.
pub(super) fn is_path(name: &str, value: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte);
    value.starts_with('/')
        && (name == "ONE_AUTH" || value[1..].contains('/') && value.bytes().all(is_plain))
}

/// Whether a run of base64 may be a part of a dump whose parts are not kept. A checksum is not.
pub(super) fn is_part_of_dump(run: &[u8]) -> bool {
    let may_be_path = run.iter().filter(|byte| b"/-_".contains(byte)).count() >= 2;
    let is_checksum = || run.iter().all(u8::is_ascii_hexdigit);
    let min_bytes = if may_be_path { MIN_DUMP_PATH_BYTES } else { MIN_DUMP_RUN_BYTES };
    run.len() >= min_bytes && !is_checksum()
}

/// Whether a byte may be in base64, of both alphabets, or pads it.
pub(super) fn is_base64(byte: u8) -> bool {
    base64_digit(byte).is_some() || byte == b'='
}
