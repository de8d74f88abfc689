//! Signature Version 4 as a client computes it, to sign a recorded request again with the header set that it has. Written
//! from AWS's description, and apart from the front end's own: the two have to agree.

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::head::Head;
use crate::rig::SECRET_KEY;
use crate::sigv2;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The key of a day and region.
pub fn signing_key(secret: &str, date: &str, region: &str) -> [u8; 32] {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for step in [region, "s3", "aws4_request"] {
        key = hmac(&key, step.as_bytes());
    }
    key
}

/// What chunk signatures continue from.
pub struct Chain {
    key: [u8; 32],
    timestamp: String,
    scope: String,
    previous: String,
}

impl Chain {
    /// From a request's header; none where it has no signature there.
    pub fn of(head: &Head) -> Option<Chain> {
        let authorization = head.header("authorization")?;
        let (_, scope) = field(authorization, "Credential")?.split_once('/')?;
        let mut parts = scope.split('/');
        let (date, region) = (parts.next()?, parts.next()?);
        Some(Chain {
            key: signing_key(SECRET_KEY, date, region),
            timestamp: head.header("x-amz-date")?.to_owned(),
            scope: scope.to_owned(),
            previous: field(authorization, "Signature")?.to_owned(),
        })
    }

    /// The signature of the next chunk.
    pub fn chunk(&mut self, data: &[u8]) -> &str {
        let hashes = format!("{}\n{}", hash(b""), hash(data));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &hashes)
    }

    /// The signature of trailers, `name:value` each.
    pub fn trailers(&mut self, lines: &[String]) -> &str {
        let canonical: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.next("AWS4-HMAC-SHA256-TRAILER", &hash(canonical.as_bytes()))
    }

    fn next(&mut self, kind: &str, hashes: &str) -> &str {
        let Chain { key, timestamp, scope, previous } = self;
        let text = format!("{kind}\n{timestamp}\n{scope}\n{previous}\n{hashes}");
        self.previous = hex::encode(hmac(key, text.as_bytes()));
        &self.previous
    }
}

/// Signs a request again: the same headers are signed, at the same time, in the same scope.
pub fn sign_again(head: &mut Head) {
    let authorization = head.header("authorization").unwrap().to_owned();
    if sigv2::signature(&authorization).is_some() {
        return sigv2::sign_again(head);
    }
    let chain = Chain::of(head).unwrap();
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        chain.timestamp,
        chain.scope,
        hash(canonical(head, field(&authorization, "SignedHeaders").unwrap()).as_bytes())
    );
    let signature = hex::encode(hmac(&chain.key, text.as_bytes()));
    let old = field(&authorization, "Signature").unwrap();
    head.set("authorization", &authorization.replace(old, &signature));
}

/// The first character of a signature made another one; false for a request that has none.
pub fn spoil(head: &mut Head) -> bool {
    let other = |signature: &str| {
        let first = if signature.starts_with('0') { "1" } else { "0" };
        format!("{first}{}", &signature[1..])
    };
    if let Some(authorization) = head.header("authorization").map(str::to_owned) {
        let old = field(&authorization, "Signature").or_else(|| sigv2::signature(&authorization));
        let Some(old) = old else { return false };
        head.set("authorization", &authorization.replace(old, &other(old)));
        return true;
    }
    let target = head.target().to_owned();
    // `X-Amz-Signature`, and `Signature` of Version 2.
    let Some((_, rest)) = target.split_once("Signature=") else { return false };
    let old = rest.split('&').next().unwrap();
    head.set_target(&target.replace(old, &other(old)));
    true
}

fn canonical(head: &Head, signed: &str) -> String {
    let (path, query) = head.target().split_once('?').unwrap_or((head.target(), ""));
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name, UNRESERVED), encoded(value, UNRESERVED)))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", head.joined(name))).collect();
    let payload = head.header("x-amz-content-sha256").unwrap();
    let (method, path, query) = (head.method(), encoded(path, IN_PATH), query.join("&"));
    format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{payload}")
}

fn encoded(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(&percent_decode_str(text).decode_utf8_lossy(), set).to_string()
}

fn field<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = authorization.split_once(&format!("{name}="))?;
    rest.split([',', ' ']).next()
}

/// SHA-256 in hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}
