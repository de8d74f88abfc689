//! Percent coding as S3 does it, on bytes: one decoding for routing, keys and signatures, so that what is signed is
//! what is used.

/// What `+` means in the text to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a path: itself.
    Literal,
    /// In a query: a space.
    Space,
}

/// Decodes percent escapes; `None` when an escape is cut short or not hexadecimal.
#[must_use]
pub fn decode(raw: &[u8], plus: Plus) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = nibble(*bytes.next()?)?;
                let low = nibble(*bytes.next()?)?;
                out.push(high << 4 | low);
            }
            b'+' if plus == Plus::Space => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Appends `bytes` as SigV4's UriEncode writes them: unreserved characters as they are, all else as upper-case `%XX`,
/// `/` kept only where `keep_slash` says so.
pub fn encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            other => {
                out.push('%');
                out.push(char::from(HEX[usize::from(other >> 4)]));
                out.push(char::from(HEX[usize::from(other & 15)]));
            }
        }
    }
}

/// [`encode_into`] a new string.
#[must_use]
pub fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    encode_into(&mut out, bytes, keep_slash);
    out
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Plus, decode, encode};
    use proptest::prelude::{any, proptest};

    #[test]
    fn plus_is_a_space_in_queries_only() {
        assert_eq!(decode(b"a+b%2Bc", Plus::Literal).unwrap(), b"a+b+c");
        assert_eq!(decode(b"a+b%2Bc", Plus::Space).unwrap(), b"a b+c");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for raw in ["%", "%4", "%zz", "a%4g", "%%41"] {
            assert!(decode(raw.as_bytes(), Plus::Literal).is_none(), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes: Vec<u8>, keep_slash in any::<bool>()) {
            for plus in [Plus::Literal, Plus::Space] {
                assert_eq!(decode(encode(&bytes, keep_slash).as_bytes(), plus).unwrap(), bytes);
            }
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes, Plus::Space);
        }
    }
}
