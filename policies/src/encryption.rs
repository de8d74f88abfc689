//! Which objects of a bucket are encrypted: the longest matching prefix wins, and without a match an object is.

/// One rule of a bucket: what happens to keys that begin with `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionRule {
    /// Compared byte by byte with the start of the key; empty matches every key.
    pub prefix: String,
    /// `true`: objects are stored as they come. `false`: they are encrypted.
    pub plain: bool,
}

/// What a key's objects are: there is no mixed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// An object without a valid envelope is an error.
    Encrypted,
    /// Objects pass as they are.
    Plain,
}

/// Decides for one key. The longest prefix that matches wins; between two rules with the same prefix, the one that
/// encrypts; without a match the answer is [`Encryption::Encrypted`].
#[must_use]
pub fn encryption(rules: &[EncryptionRule], key: &str) -> Encryption {
    let longest = rules
        .iter()
        .filter(|rule| key.as_bytes().starts_with(rule.prefix.as_bytes()))
        .max_by_key(|rule| (rule.prefix.len(), !rule.plain));
    match longest {
        Some(rule) if rule.plain => Encryption::Plain,
        _ => Encryption::Encrypted,
    }
}
