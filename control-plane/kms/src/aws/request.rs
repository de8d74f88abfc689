//! The parts of a request: the bound context, grant tokens, and the one body that holds a plaintext key.
//!
//! The SDK would take the key into a `Blob`, write its base64 into a growing `String`, and wipe neither. So the SDK makes
//! the request without it, and before it is signed its body is replaced by one written here, into a buffer of the right size
//! from the start, which is wiped when the last part of it is dropped.

use aws_sdk_kms::config::http::HttpRequest;
use aws_smithy_types::body::SdkBody;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use sealgate_envelope::Ik;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::KmsError;

/// The one name in the encryption context.
pub(super) const LABEL: &str = "sealgate";

/// AWS takes 8192 characters of encryption context; in base64 this much is well below.
const LONGEST_CONTEXT: usize = 4096;

/// AWS's own bounds.
const MOST_TOKENS: usize = 10;
const LONGEST_TOKEN: usize = 8192;

pub(super) type Tokens = Vec<Zeroizing<String>>;

/// A context as the value of the encryption context; `None` for what none of ours is. An empty one is none: AWS refuses
/// an empty value.
pub(super) fn bound(context: &[u8]) -> Option<String> {
    (1..=LONGEST_CONTEXT).contains(&context.len()).then(|| URL_SAFE_NO_PAD.encode(context))
}

/// Reads the grant tokens of a file: one a line; empty lines, and such that begin with `#`, count for nothing.
pub(super) fn tokens(text: Zeroizing<Vec<u8>>) -> Result<Tokens, String> {
    let text = std::str::from_utf8(&text).map_err(|_| "not UTF-8".to_owned())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tokens: Tokens = lines.map(|line| Zeroizing::new(line.to_owned())).collect();
    let valid = |token: &Zeroizing<String>| {
        token.len() <= LONGEST_TOKEN
            && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if tokens.len() > MOST_TOKENS {
        return Err(format!("{} grant tokens: AWS takes {MOST_TOKENS}", tokens.len()));
    }
    match tokens.iter().position(|token| !valid(token)) {
        Some(at) => Err(format!("the {}. token is none as AWS gives them", at + 1)),
        None => Ok(tokens),
    }
}

/// For the SDK's builders.
pub(super) fn listed(tokens: &Tokens) -> Option<Vec<String>> {
    (!tokens.is_empty()).then(|| tokens.iter().map(|token| token.as_str().to_owned()).collect())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: Context<'a>,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    grant_tokens: &'a [&'a str],
}

#[derive(Serialize)]
struct Context<'a> {
    sealgate: &'a str,
}

/// The body of an Encrypt request, JSON.
pub(super) fn encrypt(key: &str, context: &str, tokens: &Tokens, ik: &Ik) -> Result<Bytes, KmsError> {
    let failed = || KmsError::local("the request could not be written");
    let mut plaintext = Zeroizing::new([0_u8; 44]);
    STANDARD.encode_slice(ik.expose(), plaintext.as_mut()).map_err(|_| failed())?;
    let plaintext = std::str::from_utf8(&*plaintext).map_err(|_| failed())?;
    let grant_tokens: Vec<&str> = tokens.iter().map(|token| token.as_str()).collect();
    // Nothing in it is escaped; the names and quotes around have some 120 bytes.
    let size = 256 + key.len() + context.len() + tokens.iter().map(|token| token.len() + 3).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    let encryption_context = Context { sealgate: context };
    let request = Encrypt { key_id: key, plaintext, encryption_context, grant_tokens: &grant_tokens };
    serde_json::to_writer(&mut *body, &request).map_err(|_| failed())?;
    debug_assert!(body.capacity() == size, "the buffer grew, and left the key behind");
    Ok(Bytes::from_owner(body))
}

/// Gives a request this body.
pub(super) fn put(request: &mut HttpRequest, body: &Bytes) {
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_encrypt_is_what_aws_documents() {
        let ik = Ik::from_bytes(&Zeroizing::new([7; 32]));
        let text = |tokens: &Tokens| {
            let body = encrypt("mrk-1", &bound(b"\xff\xfe\xfd").unwrap(), tokens, &ik).unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let plaintext = STANDARD.encode([7; 32]);
        assert_eq!(
            text(&Tokens::new()),
            format!(
                r#"{{"KeyId":"mrk-1","Plaintext":"{plaintext}","EncryptionContext":{{"sealgate":"__79"}}}}"#
            )
        );
        let tokens = tokens(Zeroizing::new(b"# ours\nAQpA+/=\n\n  second \n".to_vec())).unwrap();
        assert!(text(&tokens).ends_with(r#","GrantTokens":["AQpA+/=","second"]}"#));
    }

    #[test]
    fn contexts_and_grant_tokens_are_bounded() {
        assert_eq!(bound(b""), None);
        assert_eq!(bound(&[0; LONGEST_CONTEXT + 1]), None);
        assert!(bound(&[0; LONGEST_CONTEXT]).unwrap().len() < 8192 - LABEL.len());
        let of = |text: String| tokens(Zeroizing::new(text.into_bytes()));
        assert_eq!(of("t\n".repeat(10)).unwrap().len(), 10);
        for bad in ["t\n".repeat(11), "a\"b".to_owned(), "a\u{e9}".to_owned(), "x".repeat(8193)] {
            let text = of(bad.clone()).unwrap_err();
            assert!(!text.contains(&bad), "a token in the error");
        }
    }
}
