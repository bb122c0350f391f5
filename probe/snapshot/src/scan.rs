//! One pass over JSON before anything is built from it: how much there is, and where a byte of it is.

use std::fmt::Write as _;

use crate::limits;

/// A limit that a text does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Depth,
    Values,
    Text,
}

/// Where a value is in the value around it.
#[derive(Clone, Copy)]
enum Step {
    /// In an object, under the key between these bytes; none has come yet where both are 0.
    Key(usize, usize),
    /// In a list, with this number.
    Index(usize),
}

/// Whether the text keeps to the limits; otherwise which one it breaks, and at which byte.
///
/// It need not be JSON: what is none is found by who reads it. No recursion, no memory but for the depth.
pub(crate) fn check(text: &[u8]) -> Result<(), (Excess, usize)> {
    walk(text, text.len(), &mut Vec::new())
}

/// The path of the value at `offset`, as in `rules.tables[0].name`; empty for the whole.
pub(crate) fn path_at(text: &[u8], offset: usize) -> String {
    let mut steps = Vec::new();
    // What breaks a limit has a place too.
    let _ = walk(text, offset, &mut steps);
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(first, last) if first < last => {
                let key = String::from_utf8_lossy(&text[first..last]);
                let shown: String = key.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&shown);
            }
            Step::Key(..) => {}
            Step::Index(number) => {
                let _ = write!(path, "[{number}]");
            }
        }
    }
    path
}

fn walk(text: &[u8], until: usize, steps: &mut Vec<Step>) -> Result<(), (Excess, usize)> {
    let (mut at, mut values, mut last) = (0, 0, (0, 0));
    while at < until.min(text.len()) {
        match text[at] {
            b'"' => {
                let end = end_of_text(text, at + 1);
                if end - at > limits::TEXT + 1 {
                    return Err((Excess::Text, at));
                }
                last = (at + 1, end);
                values += 1;
                at = end;
            }
            b':' => {
                if let Some(step @ Step::Key(..)) = steps.last_mut() {
                    *step = Step::Key(last.0, last.1);
                }
            }
            b',' => {
                values += 1;
                if let Some(Step::Index(number)) = steps.last_mut() {
                    *number += 1;
                }
            }
            open @ (b'{' | b'[') => {
                values += 1;
                if steps.len() == limits::DEPTH {
                    return Err((Excess::Depth, at));
                }
                steps.push(if open == b'{' { Step::Key(0, 0) } else { Step::Index(0) });
            }
            b'}' | b']' => {
                steps.pop();
            }
            _ => {}
        }
        if values > limits::VALUES {
            return Err((Excess::Values, at));
        }
        at += 1;
    }
    Ok(())
}

/// The place of the quotation mark that ends a text, or the end of everything.
fn end_of_text(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_its_path() {
        let text = br#"{"rules":{"tables":[{"name":"a\"b"},{"name":7}]}}"#;
        let at = |what: &[u8]| text.windows(what.len()).position(|it| it == what).unwrap();
        assert_eq!(path_at(text, at(b"7")), "rules.tables[1].name");
        assert_eq!(path_at(text, at(b"[")), "rules.tables");
        assert_eq!(path_at(text, 0), "");
        assert_eq!(path_at(text, 10_000), "", "behind the end");
    }

    #[test]
    fn each_limit_is_kept() {
        assert_eq!(check(br#"{"a":["b",{"c":1}]}"#), Ok(()));
        let deep = "[".repeat(limits::DEPTH + 1);
        assert_eq!(check(deep.as_bytes()), Err((Excess::Depth, limits::DEPTH)));
        let long = format!("[\"{}\"]", "x".repeat(limits::TEXT + 1));
        assert_eq!(check(long.as_bytes()), Err((Excess::Text, 1)));
        let many = "1,".repeat(limits::VALUES + 1);
        assert_eq!(check(many.as_bytes()).unwrap_err().0, Excess::Values);
        assert_eq!(check(b"\"\\"), Ok(()), "no end is no loop");
    }
}
