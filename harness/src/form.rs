//! Where a TOML file is not of its form: what is wrong, with the line and its text.

/// A place in a text, and what is wrong there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// The line's text.
    pub(crate) text: String,
}

impl Fault {
    /// Something that is wrong in a line of `text`, counted from 1.
    pub(crate) fn at(text: &str, line: usize, message: String) -> Self {
        let line_text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        Self { line, message, text: line_text.trim().to_owned() }
    }

    /// Why `text` could not be read as TOML of a form.
    pub(crate) fn of(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        Self::at(text, line_at(text, start), error.message().replace('\n', ": "))
    }
}

/// The line, from 1, in which the byte at `offset` is.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_its_line_and_the_text_of_it() {
        let text = "version = 1\n\n  title = oops\n";
        let error = toml::from_str::<toml::Table>(text).unwrap_err();
        let fault = Fault::of(text, &error);
        assert_eq!((fault.line, fault.text.as_str()), (3, "title = oops"));
        assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{fault:?}");
    }

    #[test]
    fn a_line_that_is_not_there_has_no_text() {
        assert_eq!(Fault::at("", 1, "empty".to_owned()).text, "");
        assert_eq!(line_at("a\nb", 100), 2);
    }
}
