//! The entries of directories.

use crate::bytes::{little_u16, little_u32};
use crate::unavailable::Unavailable;

/// The most names of a directory that are read.
const MAX_NAMES: usize = 50_000;

/// A name in a directory and its inode.
pub(crate) type DirectoryEntry = (Vec<u8>, u32);

/// Adds the entries in a block of a directory, without the directory itself and its parent.
pub(super) fn parse(mut block: &[u8], found: &mut Vec<DirectoryEntry>) -> Result<(), Unavailable> {
    let malformed = || Unavailable::damaged("a directory of the file system makes no sense");
    while block.len() >= 8 {
        let inode = little_u32(block, 0).unwrap_or_default();
        let length = match little_u16(block, 4).unwrap_or_default() {
            // A length of 64 KiB does not fit into 16 bits.
            0 | 0xffff if block.len() == 1 << 16 => 1 << 16,
            length => usize::from(length),
        };
        let (entry, rest) = match block.split_at_checked(length) {
            Some(parts) if length >= 8 && length % 4 == 0 => parts,
            _ => return Err(malformed()),
        };
        let name = entry.get(8..8 + usize::from(entry[6])).ok_or_else(malformed)?;
        if inode != 0 && !matches!(name, b"" | b"." | b"..") {
            found.push((name.to_vec(), inode));
        }
        if found.len() > MAX_NAMES {
            return Err(Unavailable::too_large("a directory has more names than are read"));
        }
        block = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_lead_nowhere_are_refused() {
        let mut found = Vec::new();
        let zero_length = [1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 0];
        assert!(parse(&zero_length, &mut found).is_err());
        let too_long = [1, 0, 0, 0, 12, 0, 9, 1, b'a', 0, 0, 0];
        assert!(parse(&too_long, &mut found).is_err());
        let valid = [1, 0, 0, 0, 12, 0, 1, 1, b'a', 0, 0, 0];
        assert!(parse(&valid, &mut found).is_ok());
        assert_eq!(found, [(b"a".to_vec(), 1)]);
    }
}
