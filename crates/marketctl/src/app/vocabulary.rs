//! The words that OpenNebula knows in apps and entries, and the forms of their values.

/// Architectures of hosts.
pub(super) const ARCHITECTURES: [&str; 3] = ["x86_64", "aarch64", "all"];
/// Hypervisors, in any letter case.
pub(super) const HYPERVISORS: [&str; 6] = ["ALL", "KVM", "LXC", "QEMU", "vcenter", "firecracker"];
/// Types of images.
pub(super) const IMAGE_TYPES: [&str; 3] = ["OS", "CDROM", "DATABLOCK"];
/// Prefixes of devices (`DEV_PREFIX`).
pub(super) const PREFIXES: [&str; 4] = ["vd", "sd", "hd", "xvd"];

/// Whether a text is a release series like `7.0`, as clients name theirs.
pub(super) fn is_series(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// Whether a text is an http or https URL that may be published: it holds no user's name.
pub(super) fn is_public(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_web && url.username().is_empty() && url.password().is_none()
    })
}

/// Whether a text is a UUID as it is usually written.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
