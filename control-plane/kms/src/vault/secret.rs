//! Secrets on their way: from a file into a request, from an answer into memory, never through a buffer that is not wiped.

use std::{fs::File, io::Read as _, path::Path};

use http::HeaderValue;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::KmsError;

/// A token, a secret id or a JWT: a service account's is around 1 KiB.
const MAX_SECRET: u64 = 16 << 10;

/// The secret that a file holds, without the white space around it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, KmsError> {
    let wrong = |what: &dyn std::fmt::Display| KmsError::local(format!("{}: {what}", path.display()));
    // Capacity first: a growing buffer would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET as usize + 1));
    let file = File::open(path).map_err(|error| wrong(&error))?;
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > MAX_SECRET {
        return Err(wrong(&"too long for a secret (16 KiB at most)"));
    }
    let secret = text.trim();
    // What a header can carry, and no secret has a control character or a space in it.
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(&"no secret in it: one line of visible ASCII is expected"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// A token as a header: never shown by Debug, not put into a compression table, wiped with its last copy.
pub(super) fn header(token: &str) -> Option<HeaderValue> {
    let wiped = bytes::Bytes::from_owner(Zeroizing::new(token.as_bytes().to_vec()));
    let mut header = HeaderValue::from_maybe_shared(wiped).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A JSON body in one buffer that does not grow, so that no copy is left behind. `size` is what the values take at most.
pub(super) fn body(fields: &impl Serialize, size: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut bytes = Zeroizing::new(vec![0_u8; size]);
    let written = {
        let mut rest = &mut bytes[..];
        let before = rest.len();
        // A slice does not grow: what does not fit is an error.
        serde_json::to_writer(&mut rest, fields).map_err(|_| KmsError::local("a request is too long"))?;
        before - rest.len()
    };
    bytes.truncate(written);
    Ok(bytes)
}

/// What a server said, for an error: one line, bounded, without these secrets, and without anything that is as long as a key.
pub(super) fn shown(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "(secret)");
    }
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<&str> = text.split(blank).filter(|word| !word.is_empty()).collect();
    let mut line = String::new();
    for part in words.join(" ").split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
        // 32 bytes in base64 are 44 characters, in hex 64.
        line.push_str(if part.len() > 40 { "(long)" } else { part });
    }
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_holds_no_secret() {
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert_eq!(
            shown("1 error occurred:\n\t* permission denied\n\n", &[]),
            "1 error occurred: * permission denied"
        );
        assert_eq!(shown("no s.abc, s.abc!", &["s.abc", ""]), "no (secret), (secret)!");
        assert_eq!(shown(&format!("{{\"plaintext\":\"{key}\"}}"), &[]), "{\"plaintext\":\"(long)}");
        assert_eq!(shown(&"word ".repeat(100), &[]).len(), 300);
    }

    #[test]
    fn a_body_fits_or_is_refused() {
        assert_eq!(body(&["a"], 8).map(|body| body.to_vec()), Ok(b"[\"a\"]".to_vec()));
        assert!(body(&["abcdef"], 8).is_err());
    }

    #[test]
    fn a_token_in_a_header_is_not_shown() {
        assert!(!format!("{:?}", header("s.abc")).contains("abc"));
        assert!(header("a\nb").is_none());
    }
}
