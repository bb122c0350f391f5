//! Names that may be written.

/// A chain or set of iptables: letters, digits and `_ . -`, beginning with a letter or `_`.
pub(super) fn identifier(name: &str) -> Option<&str> {
    // `XT_EXTENSION_MAXNAMELEN` less one for chains; sets may have three more.
    nft_identifier(name).filter(|name| name.len() <= 31)
}

/// The same for nft, which allows longer ones.
pub(super) fn nft_identifier(name: &str) -> Option<&str> {
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    (begins && plain && name.len() <= 127).then_some(name)
}

/// An interface, of the characters that they have in practice.
pub(super) fn interface(name: &str) -> Option<&str> {
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | ':'));
    (begins && plain && name.len() <= 15).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_as_something_else_is_no_name() {
        for name in ["", "-j", "a b", "a\nb", "a;b", "é", "a\"", "a{", "!a", "a/../b", &"a".repeat(200)] {
            assert_eq!(identifier(name), None, "{name:?}");
            assert_eq!(interface(name), None, "{name:?}");
        }
        assert_eq!(identifier("DOCKER-ISOLATION-STAGE-1"), Some("DOCKER-ISOLATION-STAGE-1"));
        assert_eq!(interface("br-0123456789ab"), Some("br-0123456789ab"));
    }
}
