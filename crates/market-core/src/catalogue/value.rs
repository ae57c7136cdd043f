//! Texts of a catalogue as values of a template.

use std::borrow::Cow;

/// Makes a text one that a template can hold and `oned` can store. `]]>` gets a blank before `>`, as
/// `oned` writes values as CDATA; a backslash at the end gets a blank behind it, as it would escape
/// the closing quote; control characters but line breaks and tabs become blanks.
///
/// ```
/// use market_core::catalogue::template_value;
///
/// assert_eq!(template_value("a]]>b\r\n\0c\\"), "a]] >b\n c\\ ");
/// ```
pub fn template_value(text: &str) -> Cow<'_, str> {
    // Almost every text is fine. This loop over bytes finds that out with vector instructions.
    if !text.bytes().fold(false, |found, b| found | (b < b' ') | (b == b']') | (b == 0xef))
        && !text.ends_with('\\')
    {
        return Cow::Borrowed(text);
    }
    let unfit = |c: char| is_unprintable(c) && c != '\n' && c != '\t';
    if !text.contains(unfit) && !text.contains("]]>") && !text.ends_with('\\') {
        return Cow::Borrowed(text);
    }
    let mut fit = text.replace("\r\n", "\n").replace(unfit, " ").replace("]]>", "]] >");
    if fit.ends_with('\\') {
        fit.push(' ');
    }
    Cow::Owned(fit)
}

/// Control characters, and those that XML cannot hold.
pub(super) fn is_unprintable(c: char) -> bool {
    c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}')
}
