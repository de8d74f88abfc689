//! A client for tests: signs with AWS's own implementation, and derives keys as the control plane does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Authenticated, HmacSha1, Lookup, SigV2Lookup, SigningKey, authenticate};
use crate::s3::error::S3Error;
use crate::s3::request::S3Request;
use crate::s3::timestamp::parse_basic;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::Sha256;
use std::time::{Duration, UNIX_EPOCH};
use zeroize::Zeroizing;

/// The credential of AWS's published examples.
pub const ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const DATE: &str = "20130524T000000Z";
pub const REGION: &str = "us-east-1";

pub fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

pub fn key_bytes(date: &str, region: &str) -> [u8; 32] {
    let day = mac(format!("AWS4{SECRET}").as_bytes(), date.as_bytes());
    mac(&mac(&mac(&day, region.as_bytes()), b"s3"), b"aws4_request")
}

/// What a node knows: one credential, one region.
pub fn lookup(id: &str, date: &str, region: &str) -> Lookup {
    match (id == ID, region == REGION) {
        (false, _) => Lookup::UnknownKey,
        (true, false) => Lookup::WrongRegion(REGION.to_owned()),
        (true, true) if date.starts_with("2013") => {
            Lookup::Found(SigningKey::new(Zeroizing::new(key_bytes(date, region))))
        }
        (true, true) => Lookup::NoKeyForDate,
    }
}

/// The states as the control plane makes them.
pub fn hmac_sha1(secret: &[u8]) -> HmacSha1 {
    let state = |pad: u8| {
        let mut block = [pad; 64];
        secret.iter().enumerate().for_each(|(at, byte)| block[at] ^= byte);
        let mut words = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        sha1::block_api::compress(&mut words, &[block]);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        Zeroizing::new(bytes.try_into().unwrap())
    };
    HmacSha1::new(state(0x36), state(0x5c))
}

/// The credential of the examples may sign with Version 2; `AKIDENDED` could, and no other.
pub fn lookup_v2(id: &str) -> SigV2Lookup {
    match id {
        ID => SigV2Lookup::Found(hmac_sha1(SECRET.as_bytes())),
        "AKIDENDED" => SigV2Lookup::UnknownKey,
        _ => SigV2Lookup::Refused,
    }
}

pub fn now() -> i64 {
    parse_basic(DATE).unwrap()
}

pub fn check_at(parts: &Parts, now: i64) -> Result<Authenticated, S3Error> {
    let request = S3Request::parse(parts, &["s3.amazonaws.com".to_owned()])?;
    authenticate(parts, &request, now, lookup, lookup_v2)
}

pub fn check(parts: &Parts) -> Result<Authenticated, S3Error> {
    check_at(parts, now())
}

pub fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// A request signed by AWS's implementation, in the header or, given a life, in the query.
pub fn sign_request(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    payload: &str,
    expires: Option<Duration>,
) -> Parts {
    let identity = Credentials::new(ID, SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if expires.is_some() {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = expires;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("s3")
        .time(UNIX_EPOCH + Duration::from_secs(now().unsigned_abs()))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://127.0.0.1:9000{target}");
    let mut all = vec![("host", "127.0.0.1:9000")];
    all.extend_from_slice(headers);
    let body = SignableBody::Precomputed(payload.to_owned());
    let signable = SignableRequest::new(method, &uri, all.iter().copied(), body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = http::Request::builder().method(method).uri(&uri).body(()).unwrap();
    for (name, value) in &all {
        request
            .headers_mut()
            .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    instructions.apply_to_request_http1x(&mut request);
    let mut parts = request.into_parts().0;
    // As a server sees it: the origin form.
    parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    parts
}
