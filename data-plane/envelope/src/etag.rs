//! ETags between client and backend: an object of this gateway must not look as if its ETag were the MD5 of its
//! plaintext, so bare digests get a suffix, that of an upload of no parts; the mapping is exactly invertible, so conditions
//! are translated and forwarded.

use crate::kdf::sha256;

/// The ETag that a client sees for a backend's; quoted or not, weak or not, as it came.
///
/// 32 hex digits → with `-0`; hex`-0` (which no backend should give) → hex`-00`, and so on, so that no two ETags meet; all
/// else stays, uploads' hex`-N` too.
#[must_use]
pub fn to_client(backend: &str) -> String {
    rewrite(backend, |digest, suffix| match suffix {
        None => Some(format!("{digest}-0")),
        Some(zeros) if are_zeros(zeros) => Some(format!("{digest}-0{zeros}")),
        Some(_) => None,
    })
}

/// The inverse of [`to_client`], for conditions and part lists. A bare digest, which no client was ever given, becomes
/// `-0` and matches nothing.
#[must_use]
pub fn to_backend(client: &str) -> String {
    rewrite(client, |digest, suffix| match suffix {
        None => Some(format!("{digest}-0")),
        Some("0") => Some(digest.to_owned()),
        Some(zeros) if are_zeros(zeros) => zeros.strip_prefix('0').map(|fewer| format!("{digest}-{fewer}")),
        Some(_) => None,
    })
}

/// An ETag as a part table holds it: 32 hex digits of either case are these bytes, anything else the first 16 bytes of
/// its SHA-256; without quotes.
#[must_use]
pub fn etag16(etag: &str) -> [u8; 16] {
    let (_, inner, _) = unquote(etag);
    let mut out = [0; 16];
    if inner.len() != 32 || hex::decode_to_slice(inner, &mut out).is_err() {
        out.copy_from_slice(&sha256(&[inner.as_bytes()])[..16]);
    }
    out
}

/// Without quotes and weakness mark.
#[must_use]
pub fn without_quotes(etag: &str) -> &str {
    unquote(etag).1
}

fn are_zeros(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|digit| digit == b'0')
}

/// Applies `f` to 32 hex digits and what follows their hyphen, keeping quotes; `None` keeps the ETag.
fn rewrite(etag: &str, f: impl FnOnce(&str, Option<&str>) -> Option<String>) -> String {
    let (open, inner, close) = unquote(etag);
    let parts = match inner.split_at_checked(32) {
        Some((digest, "")) => Some((digest, None)),
        Some((digest, rest)) => rest.strip_prefix('-').map(|number| (digest, Some(number))),
        None => None,
    };
    match parts {
        Some((digest, number)) if digest.bytes().all(|b| b.is_ascii_hexdigit()) => match f(digest, number) {
            Some(new) => format!("{open}{new}{close}"),
            None => etag.to_owned(),
        },
        _ => etag.to_owned(),
    }
}

/// Opening mark, contents, closing mark; the marks are empty unless both are there.
fn unquote(etag: &str) -> (&str, &str, &str) {
    for open in ["W/\"", "\""] {
        if let Some(inner) = etag.strip_prefix(open).and_then(|rest| rest.strip_suffix('"')) {
            return (open, inner, "\"");
        }
    }
    ("", etag, "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::{etag16, to_backend, to_client, without_quotes};
    use crate::kdf::sha256;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    const HEX: &str = "0123456789abcdef0123456789ABCDEF";

    #[test]
    fn the_rules() {
        for (backend, client) in [
            (HEX.to_owned(), format!("{HEX}-0")),
            (format!("{HEX}-1"), format!("{HEX}-1")),
            (format!("{HEX}-2"), format!("{HEX}-2")),
            (format!("{HEX}-0"), format!("{HEX}-00")),
            (format!("{HEX}-000"), format!("{HEX}-0000")),
            (format!("\"{HEX}\""), format!("\"{HEX}-0\"")),
            (format!("W/\"{HEX}\""), format!("W/\"{HEX}-0\"")),
            ("*".to_owned(), "*".to_owned()),
            ("é\"".to_owned(), "é\"".to_owned()),
            ("0x8D4BCC2E4835CD0".to_owned(), "0x8D4BCC2E4835CD0".to_owned()),
            // As long as a digest, but none.
            ("z".repeat(32), "z".repeat(32)),
        ] {
            assert_eq!(to_client(&backend), client);
            assert_eq!(to_backend(&client), backend);
        }
        assert_eq!(to_backend(HEX), format!("{HEX}-0"));
    }

    #[test]
    fn sixteen_bytes() {
        assert_eq!(etag16(HEX)[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(etag16(&format!("\"{HEX}\"")), etag16(HEX));
        assert_ne!(etag16(&format!("{HEX}-1")), etag16(HEX));
        // As long as a digest, but none: hashed, however far it reads as hex.
        let almost = format!("{}x", &HEX[..31]);
        assert_eq!(etag16(&almost), sha256(&[almost.as_bytes()])[..16]);
    }

    #[test]
    fn quotes_come_off_in_pairs() {
        for (etag, bare) in [("\"a\"", "a"), ("W/\"a\"", "a"), ("a", "a"), ("\"a", "\"a"), ("", "")] {
            assert_eq!(without_quotes(etag), bare);
        }
    }

    #[test]
    fn zeros_shift_only_alone() {
        for same in [format!("{HEX}-02"), format!("{HEX}-10"), format!("{HEX}-"), format!("{HEX}-0-0")] {
            assert_eq!((to_client(&same), to_backend(&same)), (same.clone(), same.clone()));
        }
    }

    proptest! {
        #[test]
        fn exactly_invertible(etag in "(W/)?\"?([0-9a-fA-F]{31,33})?(-0{0,3}(1|10|2)?)?[\"é]?") {
            prop_assert_eq!(to_backend(&to_client(&etag)), etag);
        }

        #[test]
        fn exactly_invertible_anywhere(etag in ".*") {
            prop_assert_eq!(to_backend(&to_client(&etag)), etag);
        }

        #[test]
        fn a_client_never_sees_a_bare_digest(etag in "[0-9a-f]{32}") {
            prop_assert!(to_client(&etag) != etag);
        }
    }
}
