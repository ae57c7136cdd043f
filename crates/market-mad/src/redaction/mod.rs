//! Keeps secrets out of what drivers write to standard error: a shell script that runs with `set
//! -x` prints its whole dump.
//!
//! Which attributes hold secrets is not known for drivers of others. So every value of a template
//! is hidden whose attribute is not on the list of harmless ones. A value that is a secret by its
//! name, or looks like a key, is hidden in parts too; any other value only as a whole, because its
//! parts are ordinary words and paths. A text is searched as it stands, and with escapes, base64
//! and hexadecimal digits decoded, without regard to quotes and line breaks in between. Collecting
//! the values and searching a text both take time in proportion to its bytes. When there are more
//! values than can be searched for, everything is hidden.
//!
//! | module | what it does |
//! |---|---|
//! | `collect` | which values of a message are hidden |
//! | `search` | finds them in a text, and replaces them |
//! | `classify` | what a value or a word looks like: a switch, a key, a path, a part of a dump |
//! | `mapped_text` | a decoded text that knows which part of the original each byte stands for |
//! | `piece_set`, `whole_values` | the data structures that are searched |

mod classify;
mod collect;
mod mapped_text;
mod piece_set;
mod search;
#[cfg(test)]
mod tests;
mod whole_values;

use piece_set::PieceSet;
use whole_values::WholeValues;

/// A secret is searched for by all of its parts of this many bytes; a shorter one as a whole.
const MAX_PIECE_BYTES: usize = 12;

/// A shorter value would be found in too many words, so it is hidden only where it is a word.
const MIN_PIECE_BYTES: usize = 4;

/// The dump is searched for by parts of `DUMP_PIECE_BYTES` bytes that begin every `DUMP_STEP_BYTES`
/// bytes: so 11 consecutive bytes of it are recognised in base64.
const DUMP_PIECE_BYTES: usize = 8;
const DUMP_STEP_BYTES: usize = 4;

/// Of a larger dump no parts are kept. Then every long run of base64 counts as a part of it.
const MAX_DUMP_BYTES: usize = 512 << 10;

/// More pieces than the values of any real template have. With more, everything is hidden.
const MAX_PIECES: usize = 256 << 10;

/// The same for values that are shorter than a piece.
const MAX_SHORT_VALUES: usize = 256;

/// What must not be shown of one message.
#[derive(Default)]
pub(crate) struct Redaction {
    /// The parts of secrets.
    secrets: PieceSet,
    /// Values that are hidden only as a whole.
    whole_values: WholeValues,
    short_values: Vec<ShortValue>,
    /// The parts of the dump.
    dump: PieceSet,
    /// The dump is so large that its parts are not kept.
    is_dump_large: bool,
    /// There are more values than are searched for, or the message could not be read.
    hides_all: bool,
}

/// A value that is shorter than a piece.
#[derive(PartialEq, Eq)]
struct ShortValue {
    value: Vec<u8>,
    /// Whether its attribute is a secret by its name. Then a line that holds the value is hidden,
    /// otherwise only the word.
    is_secret: bool,
}

impl Redaction {
    /// Hides every text: of a message that cannot be read.
    pub(crate) fn of_everything() -> Self {
        Self { hides_all: true, ..Self::default() }
    }

    /// Whether it hides every text.
    pub(crate) fn hides_all(&self) -> bool {
        self.hides_all
    }
}
