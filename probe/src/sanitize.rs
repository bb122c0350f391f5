//! Text that came from elsewhere, made safe to print.

/// The most characters of foreign text that a message carries. NemoClaw cuts tool output at 400 characters too.
pub const MAX_FOREIGN_TEXT: usize = 400;

/// `text` on one line: control characters escaped, cut at [`MAX_FOREIGN_TEXT`] characters with a mark.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut clean = String::new();
    let mut length = 0;
    for character in text.trim().chars() {
        let escaped: String =
            if dangerous(character) { character.escape_default().collect() } else { character.to_string() };
        length += escaped.chars().count();
        if length > MAX_FOREIGN_TEXT {
            clean.push('…');
            break;
        }
        clean.push_str(&escaped);
    }
    clean
}

/// Control characters, and the invisible ones that reorder or hide text on a terminal.
fn dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_become_visible() {
        assert_eq!(sanitize("a\u{1b}[31mred\r\nb\u{202e}c "), "a\\u{1b}[31mred\\r\\nb\\u{202e}c");
        assert_eq!(sanitize("plain ü text"), "plain ü text");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        let cut = sanitize(&"x".repeat(5000));
        assert_eq!(cut.chars().count(), MAX_FOREIGN_TEXT + 1);
        assert!(cut.ends_with('…'));
    }
}
