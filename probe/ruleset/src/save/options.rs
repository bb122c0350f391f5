//! Options in groups: the rule's own, those of each match, those of the target.

use super::words::Word;

/// Options whose one argument is free text, which may look like an option itself.
const FREE_TEXT: [&str; 8] = [
    "--comment",
    "--log-prefix",
    "--nflog-prefix",
    "--name",
    "--string",
    "--hex-string",
    "--bytecode",
    "--hashlimit-name",
];

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opt {
    /// Whether `!` stands before it.
    pub(super) negated: bool,
    /// Such as `--dport`.
    pub(super) key: String,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
}

impl Opt {
    /// Its only argument.
    pub(super) fn one(&self) -> Option<&str> {
        match self.arguments.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// A rule's options in groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// `-s`, `-d`, `-i`, `-o`, `-p`, `-f`.
    pub(super) own: Vec<Opt>,
    /// Each `-m NAME` with its options.
    pub(super) matches: Vec<(String, Vec<Opt>)>,
    /// `-j NAME` or `-g NAME` with its options.
    pub(super) target: Option<Target>,
    /// What stands where no option can.
    pub(super) stray: Option<String>,
}

/// A rule's target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether `-g` names it.
    pub(super) goto: bool,
    /// Its name.
    pub(super) name: String,
    /// Its options.
    pub(super) options: Vec<Opt>,
}

/// Groups a rule's words.
pub(super) fn group(words: Vec<Word>) -> Groups {
    let mut groups = Groups::default();
    let mut negated = false;
    let mut words = words.into_iter().peekable();
    let is_option = |word: &Word| !word.quoted && (word.text == "!" || word.text.starts_with('-'));
    while let Some(word) = words.next() {
        if word.text == "!" && !word.quoted {
            negated = true;
            continue;
        }
        if !is_option(&word) {
            groups.stray.get_or_insert(word.text);
            continue;
        }
        let key = word.text;
        let free = FREE_TEXT.contains(&key.as_str());
        let mut arguments = Vec::new();
        if free {
            arguments.extend(words.next().map(|word| word.text));
        }
        while let Some(argument) = words.next_if(|word| !free && !is_option(word)) {
            arguments.push(argument.text);
        }
        let option = Opt { negated: std::mem::take(&mut negated), key, arguments };
        match (option.key.as_str(), option.arguments.as_slice()) {
            ("-m" | "--match", [name]) => groups.matches.push((name.clone(), Vec::new())),
            ("-j" | "--jump" | "-g" | "--goto", [name]) if groups.target.is_none() => {
                let goto = option.key.contains('g');
                groups.target = Some(Target { goto, name: name.clone(), options: Vec::new() });
            }
            _ if option.key.starts_with("--") => match (&mut groups.target, groups.matches.last_mut()) {
                (Some(target), _) => target.options.push(option),
                (None, Some((_, options))) => options.push(option),
                (None, None) => groups.own.push(option),
            },
            _ => groups.own.push(option),
        }
    }
    if negated {
        groups.stray.get_or_insert("!".into());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::words::split;
    use super::*;

    #[test]
    fn a_comment_that_looks_like_an_option_is_a_comment() {
        // iptables-save quotes only what has other characters than letters, digits, `-` and `_`.
        let groups = group(split("-m comment --comment --dport -m comment --comment -j -j ACCEPT"));
        assert_eq!(groups.matches.len(), 2);
        assert_eq!(groups.matches[1].1[0].arguments, ["-j"]);
        assert_eq!(groups.target.unwrap().name, "ACCEPT");
        assert_eq!(groups.stray, None);
    }

    #[test]
    fn options_belong_to_the_match_before_them_and_then_to_the_target() {
        let groups =
            group(split("! -i lo -p tcp -m tcp ! --dport 22 -m mark --mark 0x1 -j MARK --set-xmark 0x2/0x3"));
        assert!(groups.own[0].negated && !groups.own[1].negated);
        assert!(groups.matches[0].1[0].negated && groups.matches[0].1[0].key == "--dport");
        assert_eq!(groups.matches[1].1[0].arguments, ["0x1"]);
        assert_eq!(groups.target.unwrap().options[0].arguments, ["0x2/0x3"]);
    }
}
