#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::testing::{DATE, ID, check, check_at, now, parts, sign_request};
use super::{Authenticated, Payload};
use crate::s3::error::{Code, S3Error};
use crate::s3::uri::encode;
use http::HeaderValue;
use http::request::Parts;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use std::time::Duration;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HOST: &str = "examplebucket.s3.amazonaws.com";

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
    )
}

fn code(result: Result<Authenticated, S3Error>) -> Code {
    result.err().expect("the request must be refused").code()
}

/// AWS: "Authenticating Requests: Using the Authorization Header", its four examples.
#[test]
fn aws_published_header_examples() {
    let plain = "host;x-amz-content-sha256;x-amz-date";
    let welcome = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);
    let rows: [Row<'_>; 4] = [
        (
            "GET",
            "/test.txt",
            &[("range", "bytes=0-9")],
            "host;range;x-amz-content-sha256;x-amz-date",
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            welcome,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            &[],
            plain,
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            &[],
            plain,
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    for (method, target, extra, signed, payload, signature) in rows {
        let authorization = authorization(signed, signature);
        let mut headers = vec![
            ("host", HOST),
            ("x-amz-date", DATE),
            ("x-amz-content-sha256", payload),
            ("authorization", authorization.as_str()),
        ];
        headers.extend_from_slice(extra);
        let ok = check(&parts(method, target, &headers)).unwrap();
        assert_eq!(ok.access_key_id(), ID, "{method} {target}");
        assert_eq!(
            hex::encode(match ok.payload() {
                Payload::SignedHash(hash) => hash,
                other => panic!("{other:?}"),
            }),
            payload
        );
        // And the test can fail: one character more in the target.
        assert_eq!(code(check(&parts(method, &format!("{target}x"), &headers))), Code::SignatureDoesNotMatch);
    }
}

fn presigned_example(expires: u32, signature: &str) -> Parts {
    let target = format!(
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ID}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date={DATE}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
    );
    parts("GET", &target, &[("host", HOST)])
}

/// AWS: "Authenticating Requests: Using Query Parameters".
#[test]
fn aws_published_presigned_example() {
    let request =
        presigned_example(86400, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    let ok = check(&request).unwrap();
    assert!(ok.presigned());
    assert_eq!(ok.payload(), Payload::Unsigned);
    assert_eq!(code(check(&presigned_example(86401, &"0".repeat(64)))), Code::SignatureDoesNotMatch);
}

/// Case 25: presigned URLs must not die at the clock skew.
#[test]
fn case_25_presigned_urls_live_as_long_as_they_say() {
    let request =
        presigned_example(86400, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    for ok in [now() - 900, now() + 901, now() + 86_400] {
        assert!(check_at(&request, ok).is_ok());
    }
    let late = check_at(&request, now() + 86_401).err().unwrap();
    assert_eq!((late.code(), late.message()), (Code::AccessDenied, "Request has expired."));
    let early = check_at(&request, now() - 901).err().unwrap();
    assert_eq!((early.code(), early.message()), (Code::AccessDenied, "Request is not valid yet."));
    for expires in [0, 604_801] {
        let refused = code(check(&presigned_example(expires, &"0".repeat(64))));
        assert_eq!(refused, Code::AuthorizationQueryParametersError);
    }
}

#[test]
fn a_header_signature_lives_a_quarter_of_an_hour() {
    let request = sign_request("GET", "/bucket/k", &[], EMPTY, None);
    assert!(check_at(&request, now() + 900).is_ok());
    assert!(check_at(&request, now() - 900).is_ok());
    assert_eq!(code(check_at(&request, now() + 901)), Code::RequestTimeTooSkewed);
    assert_eq!(code(check_at(&request, now() - 901)), Code::RequestTimeTooSkewed);
}

fn altered(change: impl FnOnce(&mut Parts)) -> Result<Authenticated, S3Error> {
    let mut request =
        sign_request("PUT", "/bucket/k?a=1", &[("x-amz-meta-a", "1")], "UNSIGNED-PAYLOAD", None);
    assert!(check(&request).is_ok());
    change(&mut request);
    check(&request)
}

#[test]
fn what_is_altered_is_refused() {
    assert_eq!(code(altered(|p| p.method = http::Method::DELETE)), Code::SignatureDoesNotMatch);
    assert_eq!(code(altered(|p| p.uri = "/bucket/l?a=1".parse().unwrap())), Code::SignatureDoesNotMatch);
    assert_eq!(code(altered(|p| p.uri = "/bucket/k?a=2".parse().unwrap())), Code::SignatureDoesNotMatch);
    let set = |name: &'static str, value: &'static str| {
        altered(move |p| {
            p.headers.insert(name, HeaderValue::from_static(value));
        })
    };
    assert_eq!(code(set("x-amz-meta-a", "2")), Code::SignatureDoesNotMatch);
    assert_eq!(code(set("host", "elsewhere")), Code::SignatureDoesNotMatch);
    assert_eq!(code(set("x-amz-content-sha256", EMPTY)), Code::SignatureDoesNotMatch);
    assert_eq!(code(set("x-amz-date", "20130524T000001Z")), Code::SignatureDoesNotMatch);
    let added = set("x-amz-copy-source", "/other/key").err().unwrap();
    assert_eq!(
        (added.code(), added.get("HeadersNotSigned")),
        (Code::AccessDenied, Some("x-amz-copy-source"))
    );
    assert_eq!(code(set("x-amz-security-token", "t")), Code::InvalidToken);
    // Some clients do not sign it, and proxies add it.
    assert!(set("content-type", "text/plain").is_ok());
    let second = altered(|p| {
        p.headers.append("x-amz-meta-a", HeaderValue::from_static("2"));
    });
    assert_eq!(code(second), Code::SignatureDoesNotMatch);
}

#[test]
fn diagnosis_carries_what_was_computed_and_no_key() {
    let error = altered(|p| p.method = http::Method::DELETE).err().unwrap();
    assert!(
        error.get("CanonicalRequest").unwrap().starts_with("DELETE\n/bucket/k\na=1\nhost:127.0.0.1:9000\n")
    );
    assert!(
        error
            .get("StringToSign")
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/")
    );
    let key = hex::encode(super::testing::key_bytes("20130524", "us-east-1"));
    assert!(!error.to_xml("/", "r", "h").contains(&key));
}

fn with_authorization(value: &str) -> Result<Authenticated, S3Error> {
    let headers = [
        ("host", "127.0.0.1"),
        ("x-amz-date", DATE),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("authorization", value),
    ];
    check(&parts("GET", "/bucket/k", &headers))
}

#[test]
fn other_schemes_and_broken_headers() {
    assert_eq!(code(check(&parts("GET", "/bucket/k", &[("host", "h")]))), Code::AccessDenied);
    for v2 in ["/bucket/k?AWSAccessKeyId=a&Signature=b&Expires=1", "/bucket/k?Signature=b"] {
        let error = check(&parts("GET", v2, &[("host", "h")])).err().unwrap();
        assert_eq!(error.code(), Code::InvalidRequest);
        assert!(error.message().contains("signature_version='s3v4'"));
    }
    assert!(with_authorization("AWS AKID:sig").err().unwrap().message().contains("us-east-1"));
    assert_eq!(code(with_authorization("Bearer x")), Code::InvalidArgument);
    assert_eq!(code(with_authorization(" ")), Code::AccessDenied);
    assert_eq!(code(with_authorization("AWS4-ECDSA-P256-SHA256 Credential=a")), Code::InvalidRequest);
    assert_eq!(code(with_authorization("AWS4-HMAC-SHA256 nonsense")), Code::AuthorizationHeaderMalformed);
    let credential = |credential: &str| {
        code(with_authorization(&format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={}",
            "0".repeat(64)
        )))
    };
    assert_eq!(credential("AKID/20130524/us-east-1/s3/aws4_request"), Code::InvalidAccessKeyId);
    assert_eq!(credential(&format!("{ID}/20130524/us-east-1/s3/aws4_request")), Code::SignatureDoesNotMatch);
    assert_eq!(
        credential(&format!("{ID}/20130524/eu-west-1/s3/aws4_request")),
        Code::AuthorizationHeaderMalformed
    );
    assert_eq!(
        credential(&format!("{ID}/20130525/us-east-1/s3/aws4_request")),
        Code::AuthorizationHeaderMalformed
    );
    assert_eq!(
        credential(&format!("{ID}/20130524/us-east-1/iam/aws4_request")),
        Code::AuthorizationHeaderMalformed
    );
    let both = parts(
        "GET",
        "/bucket/k?X-Amz-Algorithm=AWS4-HMAC-SHA256",
        &[("host", "h"), ("authorization", "AWS4-HMAC-SHA256 x")],
    );
    assert_eq!(code(check(&both)), Code::InvalidArgument);
}

#[test]
fn the_wrong_region_is_told_the_right_one() {
    let error = with_authorization(&format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20130524/eu-west-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={}",
        "0".repeat(64)
    ))
    .err()
    .unwrap();
    assert_eq!(error.get("Region"), Some("us-east-1"));
}

/// A key of S3's wildest sort, as UTF-8.
fn keys() -> impl Strategy<Value = String> {
    prop_oneof![Just("a//b/../c/.".to_owned()), "[ -~]{1,40}", "\\PC{1,20}"]
        .prop_filter("no NUL", |key| !key.contains('\0'))
}

proptest! {
    /// Differential: what AWS's own signer signs is accepted, in header and query, and not after a change.
    #[test]
    fn agrees_with_aws_sigv4(
        method in prop_oneof![Just("GET"), Just("PUT"), Just("DELETE"), Just("POST")],
        key in keys(),
        query in vec(("[a-zA-Z0-9._-]{1,8}", "[ -~]{0,12}"), 0..4),
        meta in vec(("[a-z]{1,6}", "[!-~]{1,5}( {1,3}[!-~]{1,5})?"), 0..4),
        payload in prop_oneof![Just("UNSIGNED-PAYLOAD"), Just(EMPTY), Just("STREAMING-UNSIGNED-PAYLOAD-TRAILER")],
        presign in any::<bool>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let query: Vec<String> = query
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "Signature" | "AWSAccessKeyId"))
            .map(|(name, value)| format!("{name}={}", encode(value.as_bytes(), false)))
            .collect();
        let mut target = format!("/bucket/{}", encode(key.as_bytes(), true));
        if !query.is_empty() {
            target = format!("{target}?{}", query.join("&"));
        }
        let names: Vec<(String, String)> =
            meta.into_iter().map(|(name, value)| (format!("x-amz-meta-{name}"), value)).collect();
        let mut headers: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.sort_unstable();
        headers.dedup_by_key(|(name, _)| *name);
        let payload = if presign { "UNSIGNED-PAYLOAD" } else { payload };
        let expires = presign.then_some(Duration::from_secs(3600));
        let mut request = sign_request(method, &target, &headers, payload, expires);
        if let Err(error) = check(&request) {
            panic!("{error} {:?} {:?}", error.get("CanonicalRequest"), request.uri);
        }
        // One character of the key replaced.
        let at = flip.index(key.chars().count());
        let other: String = key.chars().enumerate().map(|(i, c)| if i == at && c == 'x' { 'y' } else if i == at { 'x' } else { c }).collect();
        let path = |key: &str| format!("/bucket/{}", encode(key.as_bytes(), true));
        request.uri = request.uri.to_string().replacen(&path(&key), &path(&other), 1).parse().unwrap();
        assert_eq!(code(check(&request)), Code::SignatureDoesNotMatch);
    }

    #[test]
    fn any_header_gives_an_answer(authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,120}", date in "[ -~]{0,20}", query in "[ -~]{0,60}") {
        let request = http::Request::builder()
            .uri(format!("/bucket/k?X-Amz-Credential={query}"))
            .header("host", "h").header("x-amz-date", &date).body(()).unwrap_or_default().into_parts().0;
        let _ = check(&request).is_ok();
        let headers = [("host", "h"), ("x-amz-date", date.as_str()), ("authorization", authorization.as_str())];
        assert!(check(&parts("GET", "/bucket/k", &headers)).is_err());
    }
}
