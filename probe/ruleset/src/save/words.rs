//! The words of a rule, quoted or not.

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) text: String,
    /// Whether it had quotes: it is no option then.
    pub(super) quoted: bool,
}

/// Splits a rule as `iptables-restore` does.
pub(super) fn split(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(first) = characters.peek().copied() {
        if first.is_whitespace() {
            characters.next();
            continue;
        }
        let (mut text, mut quoted, mut inside) = (String::new(), false, false);
        while let Some(character) = characters.next_if(|next| inside || !next.is_whitespace()) {
            match character {
                '"' => {
                    inside = !inside;
                    quoted = true;
                }
                '\\' if inside => text.extend(characters.next()),
                other => text.push(other),
            }
        }
        words.push(Word { text, quoted });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_a_word_together_and_are_not_part_of_it() {
        let words = split(r#"-m comment --comment "a \"b\" -j DROP" -j ACCEPT"#);
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["-m", "comment", "--comment", r#"a "b" -j DROP"#, "-j", "ACCEPT"]);
        assert!(words[3].quoted && !words[4].quoted);
    }
}
