//! Base64 as OpenNebula's processes exchange it.
//!
//! Dumps come in on one line, wrapped, or without padding, depending on who encoded them:
//! [`decode`] takes all of these. `oned` itself is far stricter about what it reads from a driver:
//! [`decode_as_oned`] is its rule, so that what we are about to print can be read as it will be
//! read.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a text is no base64. The text itself is never part of the message: it may hold keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not base64: {0}")]
pub struct DecodeError(String);

/// Decodes the standard alphabet; blanks and line breaks anywhere and missing padding are accepted.
///
/// # Errors
/// On any other byte, or a length that no encoder produces.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let compact: Vec<u8>;
    let text = if text.iter().any(u8::is_ascii_whitespace) {
        compact = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        &compact
    } else {
        text
    };
    TOLERANT.decode(text).map_err(|error| {
        DecodeError(match error {
            base64::DecodeError::InvalidByte(at, _) => {
                format!("a byte outside the alphabet at offset {at}")
            }
            base64::DecodeError::InvalidLength(_) => "its length is not that of base64".to_owned(),
            _ => "the padding or the last symbol is wrong".to_owned(),
        })
    })
}

/// Encodes with padding, on one line: the form that every reader takes.
pub fn encode(bytes: &[u8]) -> String {
    TOLERANT.encode(bytes)
}

/// As [`encode`], at the end of a text: for what is large.
pub fn encode_into(text: &mut String, bytes: &[u8]) {
    TOLERANT.encode_string(bytes, text);
}

/// Decodes by the rules of `oned` (the `EVP_DecodeBlock` of OpenSSL behind some trimming): anything
/// that it does not like becomes empty, without an error.
///
/// ```
/// use market_core::encoding::{decode_as_oned, encode};
///
/// assert_eq!(decode_as_oned(encode(b"NAME=\"x\"").as_bytes()), b"NAME=\"x\"");
/// assert_eq!(decode_as_oned(b"TkFN\nRT0ieCI="), b"", "a line break inside loses everything");
/// ```
pub fn decode_as_oned(text: &[u8]) -> Vec<u8> {
    let start = text.iter().position(|b| !b" \t".contains(b)).unwrap_or(text.len());
    // The pad count looks at the untrimmed end, which is how a trailing newline keeps two zero
    // bytes.
    let pads = text.iter().rev().take_while(|&&b| b == b'=').count();
    let end = text.iter().rposition(|b| !b" \t\r\n-".contains(b)).map_or(start, |last| last + 1);
    let body = text.get(start..end).unwrap_or_default();
    if !body.len().is_multiple_of(4) || pads > 2 {
        return Vec::new();
    }
    let value = |byte: u8| -> Option<u32> {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => 0,
            _ => return None,
        }))
    };
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    for group in body.chunks_exact(4) {
        let mut bits = 0;
        for &byte in group {
            let Some(value) = value(byte) else { return Vec::new() };
            bits = bits << 6 | value;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    out.truncate(out.len().saturating_sub(pads));
    out
}
