//! Which attributes hold secrets, and how values are shown without them.

use std::fmt;

pub(super) const HIDDEN: &str = "<hidden>";

/// Whether an attribute of this name holds a secret by its usual meaning (keys, passwords, tokens).
///
/// It errs on the side of hiding: `ACCESS_KEY_ID` and `ROOT_PW` count, `SSH_PUBLIC_KEY` does not.
pub fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 9] =
        ["SECRET", "PASSW", "TOKEN", "CREDENTIAL", "ACCESS_KEY", "PRIVATE", "CEPH_KEY", "API_KEY", "DRV_ACTION"];
    let name = name.to_ascii_uppercase();
    PARTS.iter().any(|part| name.contains(part)) || name.ends_with("_PW") || name == "KEY"
}

/// Shows a value unless it is a secret, may wrap one in base64, or is not text.
pub(super) fn show(f: &mut fmt::Formatter<'_>, name: &str, value: &[u8]) -> fmt::Result {
    if is_secret(name) {
        return f.write_str(HIDDEN);
    }
    match std::str::from_utf8(value) {
        Ok(text) if !name.ends_with("64") => fmt::Debug::fmt(text, f),
        _ => write!(f, "<{} bytes>", value.len()),
    }
}
