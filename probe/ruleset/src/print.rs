//! Foreign text made safe to print.

/// The text without control characters and without characters that turn the direction of writing; what is no UTF-8 is
/// shown as the replacement character.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => safe.push(' '),
            c if c.is_control() => safe.extend(c.escape_default()),
            '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{2066}'..='\u{2069}' => {
                safe.extend(character.escape_unicode());
            }
            c => safe.push(c),
        }
    }
    safe
}
