//! The checksums as types.

use std::fmt;
use std::str::FromStr;

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// MD5: 16 bytes. It finds damage; it does not keep out somebody who makes two files of one MD5.
    Md5,
    /// SHA-1: 20 bytes, as weak as MD5 against forgery.
    Sha1,
    /// SHA-256: 32 bytes.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha1, Self::Sha256];

    /// How many hexadecimal digits its checksums have: 32, 40 or 64.
    pub const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
        }
    }

    /// Reads a checksum of this algorithm.
    ///
    /// # Errors
    /// When the text is anything but so many hexadecimal [digits](Self::digits), in any letter case.
    pub fn parse(self, text: &str) -> Result<Checksum, Malformed> {
        match self {
            Self::Md5 => text.parse().map(Checksum::Md5),
            Self::Sha1 => text.parse().map(Checksum::Sha1),
            Self::Sha256 => text.parse().map(Checksum::Sha256),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
        })
    }
}

/// A text that should be a checksum and is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not {} hexadecimal digits", .algorithm.digits())]
pub struct Malformed {
    algorithm: Algorithm,
    text: String,
}

impl Malformed {
    /// The longest text that is kept, in characters.
    const MAX_CHARACTERS: usize = 128;

    fn new(algorithm: Algorithm, text: &str) -> Self {
        Self { algorithm, text: text.chars().take(Self::MAX_CHARACTERS).collect() }
    }

    /// What it should be a checksum of.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The text, of a longer one the first 128 characters. It is in no message: it comes from
    /// elsewhere and may hold anything.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A checksum of any algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Checksum {
    /// An MD5.
    Md5(Md5),
    /// A SHA-1.
    Sha1(Sha1),
    /// A SHA-256.
    Sha256(Sha256),
}

impl Checksum {
    /// How it is computed.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// Its bytes: 16, 20 or 32.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Md5(md5) => md5.as_bytes(),
            Self::Sha1(sha1) => sha1.as_bytes(),
            Self::Sha256(sha256) => sha256.as_bytes(),
        }
    }
}

impl fmt::Display for Checksum {
    /// Lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_bytes(), f)
    }
}

/// Declares the type of the checksums of one algorithm.
macro_rules! checksum {
    ($(#[$documentation:meta])* $name:ident, $bytes:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl From<[u8; $bytes]> for $name {
            fn from(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for Checksum {
            fn from(checksum: $name) -> Self {
                Self::$name(checksum)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            /// Reads hexadecimal digits, in any letter case; nothing may stand around them.
            fn from_str(text: &str) -> Result<Self, Malformed> {
                read_hex(text).map(Self).ok_or_else(|| Malformed::new(Algorithm::$name, text))
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

checksum! {
    /// An MD5.
    ///
    /// ```
    /// let md5: market_checksum::Md5 = "D41D8CD98F00B204E9800998ECF8427E".parse()?;
    /// assert_eq!(md5.to_string(), "d41d8cd98f00b204e9800998ecf8427e");
    /// assert_eq!(md5.as_bytes()[0], 0xd4);
    /// # Ok::<(), market_checksum::Malformed>(())
    /// ```
    Md5, 16
}
checksum! {
    /// A SHA-1.
    Sha1, 20
}
checksum! {
    /// A SHA-256.
    Sha256, 32
}

/// The bytes that a text spells, two digits each, when it spells just so many.
fn read_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |digit: u8| (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; BYTES];
    if pairs.len() != BYTES {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Writes the digits of up to 32 bytes, as wide as the format says.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(DIGITS[usize::from(half)] as char);
        }
    }
    f.pad(&text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;

    #[test]
    fn digits_of_any_letter_case_are_read_and_lower_case_ones_written() {
        for algorithm in Algorithm::ALL {
            let text = "0aF9".repeat(algorithm.digits() / 4);
            let checksum = algorithm.parse(&text).unwrap();
            assert_eq!(checksum.to_string(), text.to_lowercase());
            assert_eq!(checksum.algorithm(), algorithm);
            assert_eq!(checksum.as_bytes()[..2], [0x0a, 0xf9]);
            assert_eq!(algorithm.parse(&text.to_lowercase()).unwrap(), checksum);
        }
    }

    #[test]
    fn what_is_no_checksum_is_refused_and_not_repeated() {
        let digits = "0".repeat(32);
        for text in [
            String::new(),
            format!("{digits}0"),
            format!("{digits}00"),
            format!(" {digits}"),
            format!("{digits}\n"),
            format!("+{}", &digits[1..]),
            format!("g{}", &digits[1..]),
            format!("\u{e9}{}", &digits[2..]),
            "0".repeat(40),
        ] {
            let refused = text.parse::<Md5>().unwrap_err();
            assert_eq!((refused.algorithm(), refused.text()), (Algorithm::Md5, text.as_str()));
            assert_eq!(refused.to_string(), "not 32 hexadecimal digits");
        }
        assert_eq!("0".parse::<Sha256>().unwrap_err().to_string(), "not 64 hexadecimal digits");
        let long = "\u{e9}".repeat(1_000).parse::<Sha1>().unwrap_err();
        assert_eq!(long.text(), "\u{e9}".repeat(128));
    }

    #[test]
    fn a_checksum_is_shown_as_its_digits() {
        let md5 = Md5::from([0xab; 16]);
        assert_eq!(format!("{md5:?}"), format!("Md5({})", "ab".repeat(16)));
        assert_eq!(format!("{md5:>34}"), format!("  {}", "ab".repeat(16)));
    }
}
