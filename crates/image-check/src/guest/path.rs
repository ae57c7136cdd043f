//! Paths of the guest: bytes, of any encoding.

/// The components of an absolute path. It names the root when there are none.
pub(super) type Components = Vec<Vec<u8>>;

/// The components of a path, without empty ones and `.`; `..` stays.
pub(super) fn components(path: &[u8]) -> Components {
    path.split(|&byte| byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(<[u8]>::to_vec)
        .collect()
}

/// The path of some components.
pub(super) fn absolute(components: &Components) -> Vec<u8> {
    if components.is_empty() {
        return b"/".to_vec();
    }
    components.iter().fold(Vec::new(), |mut path, component| {
        path.push(b'/');
        path.extend_from_slice(component);
        path
    })
}

/// How many bytes of memory the components take.
pub(super) fn memory_bytes(components: &Components) -> usize {
    components.iter().map(|component| component.len() + size_of::<Vec<u8>>()).sum()
}

/// The path of a name in a directory.
pub(crate) fn join(directory: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Vec<u8> {
    [directory.as_ref(), name.as_ref()].join(&b'/')
}
