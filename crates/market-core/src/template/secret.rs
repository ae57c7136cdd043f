//! Which attributes hold secrets, and how values are shown without them.
//!
//! Anybody may give an attribute any name, so no list of secrets is complete. Where lines of
//! strangers are shown, what is not on the list of harmless names is hidden; `Debug` of a template,
//! which is for people who write drivers, hides what is a secret by its name.

use crate::line::without_secrets_of_urls;
use std::fmt;

pub(super) const HIDDEN: &str = "<hidden>";

/// Attributes of OpenNebula and of these drivers that say where something is or what it is like, in
/// the order of their bytes.
const HARMLESS: [&str; 125] = [
    "ALLOW_ORPHANS",
    "APP_NAME_PREFIX",
    "APP_PREFIX",
    "ARCHITECTURE",
    "AUTHOR",
    "AWS",
    "BASE_PATH",
    "BASE_URL",
    "BRIDGE_LIST",
    "BUCKET",
    "CEPH_CONF",
    "CEPH_HOST",
    "CEPH_USER",
    "CLONE_TARGET",
    "CLONE_TARGET_SHARED",
    "CLONE_TARGET_SSH",
    "COMPATIBLE_SYS_DS",
    "CONNECT_TIMEOUT",
    "CPU",
    "CREATION_TIME",
    "DATASTORE",
    "DATASTORE_ID",
    "DESCRIPTION",
    "DEV_PREFIX",
    "DISK_TYPE",
    "DISK_TYPE_SHARED",
    "DISK_TYPE_SSH",
    "DRIVER",
    "DS_MAD",
    "ENDPOINT",
    "ERROR",
    "FILESYSTEM",
    "FORCE_PATH_STYLE",
    "FORMAT",
    "FREE_MB",
    "FROM_APP",
    "FROM_APP_MD5",
    "FROM_APP_NAME",
    "FS",
    "GID",
    "GNAME",
    "HYPERVISOR",
    "ID",
    "IDLE_TIMEOUT",
    "IMAGE_CHECK",
    "IMAGE_CHECK_POLICY",
    "IMAGE_SIZE_MB",
    "IMPORT_ID",
    "IMPORT_SOURCE",
    "KEYBOARD",
    "KEYMAP",
    "LABELS",
    "LIMIT_MB",
    "LIMIT_TRANSFER_BW",
    "LINK",
    "LN_TARGET",
    "LN_TARGET_SHARED",
    "LN_TARGET_SSH",
    "LOGO",
    "LONG_DESCRIPTION",
    "MAINTAINER",
    "MARKETPLACE",
    "MARKETPLACE_ACTIONS",
    "MARKETPLACE_ID",
    "MARKET_MAD",
    "MAX_PARTS",
    "MAX_UNPACKED_MB",
    "MD5",
    "MEMORY",
    "NAME",
    "NFS_AUTO_ENABLE",
    "NFS_AUTO_HOST",
    "NFS_AUTO_OPTS",
    "NFS_AUTO_PATH",
    "NO_DECOMPRESS",
    "OPENNEBULA_VERSION",
    "ORIGIN_ID",
    "OS_ID",
    "OS_RELEASE",
    "OS_VERSION",
    "PATH",
    "PERSISTENT",
    "POOL_NAME",
    "PRIVILEGED",
    "PUBLIC_DIR",
    "PUBLISHER",
    "QCOW2_STANDALONE",
    "READX_LENGTH",
    "READ_LENGTH",
    "REDIRECT_TO_HTTP",
    "REGION",
    "REGTIME",
    "RESTRICTED_DIRS",
    "SAFE_DIRS",
    "SCHED_REQUIREMENTS",
    "SERVER_SIDE_ENCRYPTION",
    "SHA1",
    "SHA256",
    "SHARED",
    "SHORT_DESCRIPTION",
    "SIGNATURE_VERSION",
    "SIZE",
    "SIZE_MB",
    "SKIP_UNTESTED",
    "SOURCE",
    "STAGING_DIR",
    "STATE",
    "STORAGE_CLASS",
    "SUNSTONE",
    "TAGS",
    "TLS_CA",
    "TLS_INSECURE",
    "TM_MAD",
    "TM_MAD_SYSTEM",
    "TOTAL_MB",
    "TYPE",
    "UID",
    "UNAME",
    "USED_MB",
    "VCPU",
    "VERIFY_APP_MD5",
    "VERSION",
    "VG_NAME",
    "VIRTUAL_SIZE",
    "ZONE_ID",
];

/// Whether the value of an attribute of this name may be shown, in any letter case: it is one of
/// those that are known to say where something is or what it is like.
///
/// A URL in it may hold a password all the same: [`secrets_of_urls`](crate::line::secrets_of_urls)
/// finds these.
///
/// ```
/// use market_core::template::is_harmless;
///
/// assert!(is_harmless("BASE_URL") && is_harmless("bucket"));
/// assert!(!is_harmless("SECRET_ACCESS_KEY") && !is_harmless("WHAT_SOMEBODY_INVENTED"));
/// ```
pub fn is_harmless(name: &str) -> bool {
    HARMLESS.binary_search(&name.to_ascii_uppercase().as_str()).is_ok()
}

/// Whether a name says that the value is a secret (keys, passwords, tokens).
///
/// It errs on the side of hiding: `ACCESS_KEY_ID`, `SSH_PUBLIC_KEY` and `ROOT_PW` count. What may
/// be shown to everybody is told by [`is_harmless`].
pub fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "SECRET",
        "PASS",
        "PWD",
        "TOKEN",
        "CREDENTIAL",
        "PRIVATE",
        "KEY",
        "AUTH",
        "SIGNATURE",
        "DRV_ACTION",
        "COOKIE",
    ];
    let name = name.to_ascii_uppercase();
    let by_name =
        PARTS.iter().any(|part| name.contains(part)) || name.ends_with("_PW") || name == "PIN";
    by_name && !is_harmless(&name)
}

/// Shows a value unless it is a secret, may wrap one in base64, or is not text.
pub(super) fn show(f: &mut fmt::Formatter<'_>, name: &str, value: &[u8]) -> fmt::Result {
    if is_secret(name) {
        return f.write_str(HIDDEN);
    }
    match std::str::from_utf8(value) {
        Ok(text) if !name.ends_with("64") => fmt::Debug::fmt(&without_secrets_of_urls(text), f),
        _ => write!(f, "<{} bytes>", value.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(HARMLESS.is_sorted(), "{HARMLESS:?}");
    }

    #[test]
    fn what_may_be_shown_is_no_secret_by_its_name() {
        for name in [
            "ADMIN_PASS",
            "APIKEY",
            "PASSPHRASE",
            "TOKEN7",
            "ROOT_PW",
            "ACCESS_KEY_ID",
            "CEPH_KEY",
            "AUTH",
        ] {
            assert!(is_secret(name) && !is_harmless(name), "{name}");
        }
        assert!(!is_secret("SIGNATURE_VERSION") && HARMLESS.iter().all(|name| !is_secret(name)));
    }
}
