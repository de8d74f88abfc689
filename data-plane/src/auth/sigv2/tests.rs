#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{forget, parse_mail};
use crate::auth::testing::{ID, SECRET, check_at, hmac_sha1, parts};
use crate::auth::{Authenticated, SignatureVersion};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::uri::encode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::proptest;

const HOST: &str = "awsexamplebucket1.s3.amazonaws.com";
const DATE: &str = "Tue, 27 Mar 2007 19:36:42 +0000";
const WEEK: i64 = 604_800;

fn at(date: &str) -> i64 {
    parse_mail(date).unwrap()
}

fn signature(to_sign: &str) -> String {
    STANDARD.encode(hmac_sha1(SECRET.as_bytes()).sign(to_sign.as_bytes()).as_ref())
}

fn code(result: Result<Authenticated, S3Error>) -> Code {
    result.err().expect("the request must be refused").code()
}

/// A request that is signed in its header over `to_sign`, checked when DATE is now.
fn header(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    to_sign: &str,
) -> Result<Authenticated, S3Error> {
    let value = format!("AWS {ID}:{}", signature(to_sign));
    let mut all = vec![("host", HOST), ("authorization", &value)];
    all.extend_from_slice(headers);
    check_at(&parts(method, target, &all), at(DATE))
}

/// A GET of a target, signed in its query over `to_sign` with an end in a minute.
fn query(target: &str, headers: &[(&str, &str)], to_sign: &str) -> Result<Authenticated, S3Error> {
    let end = (at(DATE) + 60).to_string();
    let to_sign = to_sign.replace("{end}", &end);
    let mark = if target.contains('?') { '&' } else { '?' };
    let own = format!(
        "AWSAccessKeyId={ID}&Signature={}&Expires={end}",
        encode(signature(&to_sign).as_bytes(), false)
    );
    let hosted = headers.iter().any(|(name, _)| *name == "host");
    let mut all = if hosted { vec![] } else { vec![("host", HOST)] };
    all.extend_from_slice(headers);
    check_at(&parts("GET", &format!("{target}{mark}{own}"), &all), at(DATE))
}

/// AWS: "Signing and authenticating REST requests", its examples.
#[test]
fn aws_published_header_examples() {
    type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let upload: [(&str, &str); 10] = [
        ("user-agent", "curl/7.15.5"),
        ("x-amz-acl", "public-read"),
        ("content-type", "application/x-download"),
        ("Content-MD5", "4gJE4saaMU4BqNR0kLY+lw=="),
        ("X-Amz-Meta-ReviewedBy", "joe@example.com"),
        ("X-Amz-Meta-ReviewedBy", "jane@example.com"),
        ("X-Amz-Meta-FileChecksum", "0x02661779"),
        ("X-Amz-Meta-ChecksumAlgorithm", "crc32"),
        ("Content-Disposition", "attachment; filename=database.dat"),
        ("Content-Encoding", "gzip"),
    ];
    let rows: [Row<'_>; 8] = [
        ("GET", HOST, "/photos/puppy.jpg", DATE, &[], "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
        (
            "PUT",
            HOST,
            "/photos/puppy.jpg",
            "Tue, 27 Mar 2007 21:15:45 +0000",
            &[("content-type", "image/jpeg"), ("content-length", "94328")],
            "iqRzw+ileNPu1fhspnRs8nOjjIA=",
        ),
        (
            "GET",
            HOST,
            "/?prefix=photos&max-keys=50&marker=puppy",
            "Tue, 27 Mar 2007 19:42:41 +0000",
            &[("user-agent", "Mozilla/5.0")],
            "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
        ),
        ("GET", HOST, "/?acl", "Tue, 27 Mar 2007 19:44:46 +0000", &[], "82ZHiFIjc+WbcwFKGUVEQspPn+0="),
        (
            "DELETE",
            "s3.us-west-1.amazonaws.com",
            "/awsexamplebucket1/photos/puppy.jpg",
            "Tue, 27 Mar 2007 21:20:26 +0000",
            &[],
            "XbyTlbQdu9Xw5o8P4iMwPktxQd8=",
        ),
        (
            "PUT",
            "127.0.0.1:9000",
            "/static.example.com/db-backup.dat.gz",
            "Tue, 27 Mar 2007 21:06:08 +0000",
            &upload,
            "jtBQa0Aq+DkULFI8qrpwIjGEx0E=",
        ),
        (
            "GET",
            "s3.amazonaws.com",
            "/",
            "Wed, 28 Mar 2007 01:29:59 +0000",
            &[],
            "qGdzdERIC03wnaRNKh6OqZehG9s=",
        ),
        (
            "GET",
            "s3.amazonaws.com",
            "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
            "Wed, 28 Mar 2007 01:49:49 +0000",
            &[],
            "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
        ),
    ];
    for (method, host, target, date, headers, signature) in rows {
        let value = format!("AWS {ID}:{signature}");
        let mut all = vec![("host", host), ("date", date), ("authorization", &value)];
        all.extend_from_slice(headers);
        let authenticated = check_at(&parts(method, target, &all), at(date));
        let authenticated = authenticated.map_err(|error| error.to_xml(target, "", "")).unwrap();
        assert_eq!((authenticated.version(), authenticated.presigned()), (SignatureVersion::V2, false));
        let flipped = value.replace('=', "A");
        all[2] = ("authorization", &flipped);
        assert_eq!(
            code(check_at(&parts(method, target, &all), at(date))),
            Code::SignatureDoesNotMatch,
            "{target}"
        );
    }
}

/// The same page's example of a query, whose bucket was another then.
#[test]
fn aws_published_query_example() {
    let target = format!(
        "/photos/puppy.jpg?AWSAccessKeyId={ID}&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
    );
    let request = parts("GET", &target, &[("host", "johnsmith.s3.amazonaws.com")]);
    assert!(check_at(&request, 1_175_139_620).unwrap().presigned());
    let expired = check_at(&request, 1_175_139_621).err().unwrap();
    assert_eq!((expired.code(), expired.message()), (Code::AccessDenied, "Request has expired"));
    assert!(check_at(&request, 1_175_139_620 - WEEK).is_ok());
    let far = check_at(&request, 1_175_139_620 - WEEK - 1).err().unwrap();
    assert_eq!(far.code(), Code::AccessDenied);
    assert!(far.message().contains("604800"), "{}", far.message());
    let head = parts("HEAD", &target, &[("host", "johnsmith.s3.amazonaws.com")]);
    assert_eq!(code(check_at(&head, 1_175_139_620)), Code::SignatureDoesNotMatch);
}

#[test]
fn who_may_not_is_told_the_cure() {
    for value in ["AWS", "AWS ", "AWS nonsense", "AWS AKIDOTHER:sig", "AWS :"] {
        let error = check_at(&parts("GET", "/bucket/k", &[("host", "h"), ("authorization", value)]), 0)
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::InvalidRequest, "{value}");
        assert!(error.message().contains("signature_version='s3v4'") && error.message().contains("operator"));
    }
    let ended =
        check_at(&parts("GET", "/bucket/k", &[("host", "h"), ("authorization", "AWS AKIDENDED:x")]), 0);
    assert_eq!(code(ended), Code::InvalidAccessKeyId);
}

#[test]
fn a_header_is_good_for_15_minutes() {
    let value = format!("AWS {ID}:{}", signature(&format!("GET\n\n\n{DATE}\n/bucket/k")));
    let request = parts("GET", "/bucket/k", &[("host", "h"), ("date", DATE), ("authorization", &value)]);
    for off in [-900, 900] {
        assert!(check_at(&request, at(DATE) + off).is_ok(), "{off}");
        assert_eq!(code(check_at(&request, at(DATE) + off + off.signum())), Code::RequestTimeTooSkewed);
    }
    assert_eq!(code(header("GET", "/k", &[], "GET\n\n\n\n/awsexamplebucket1/k")), Code::AccessDenied);
    assert_eq!(
        code(header("GET", "/k", &[("date", "1175024202")], "GET\n\n\n1175024202\n/awsexamplebucket1/k")),
        Code::AccessDenied
    );
    // libs3 and s3cmd: the date as a header of Amazon's, whatever Date says.
    let moved = [("x-amz-date", DATE), ("date", "Mon, 26 Mar 2007 19:36:42 GMT")];
    assert!(
        header("GET", "/k", &moved, &format!("GET\n\n\n\nx-amz-date:{DATE}\n/awsexamplebucket1/k")).is_ok()
    );
    let gmt = [("date", "Tue, 27 Mar 2007 19:36:42 GMT")];
    assert!(
        header("GET", "/k", &gmt, "GET\n\n\nTue, 27 Mar 2007 19:36:42 GMT\n/awsexamplebucket1/k").is_ok()
    );
}

#[test]
fn what_is_signed_cannot_be_changed() {
    let to_sign = format!("PUT\n\ntext/plain\n{DATE}\nx-amz-meta-a:1\n/awsexamplebucket1/k");
    let good = [("date", DATE), ("content-type", "text/plain"), ("x-amz-meta-a", "1")];
    assert!(header("PUT", "/k", &good, &to_sign).is_ok());
    type Change<'a> = (&'a str, &'a str, [(&'a str, &'a str); 4]);
    let changes: [Change<'_>; 6] = [
        ("GET", "/k", [good[0], good[1], good[2], ("x", "y")]),
        ("PUT", "/other", [good[0], good[1], good[2], ("x", "y")]),
        ("PUT", "/k", [good[0], ("content-type", "text/html"), good[2], ("x", "y")]),
        ("PUT", "/k", [good[0], good[1], ("x-amz-meta-a", "2"), ("x", "y")]),
        ("PUT", "/k", [good[0], good[1], good[2], ("x-amz-acl", "public-read")]),
        ("PUT", "/k", [good[0], good[1], good[2], ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]),
    ];
    for (method, target, headers) in changes {
        let error = header(method, target, &headers, &to_sign).err().unwrap();
        assert_eq!(error.code(), Code::SignatureDoesNotMatch, "{method} {target} {headers:?}");
        assert!(error.get("StringToSign").unwrap().starts_with(method));
        assert_eq!(error.get("SignatureProvided"), Some(signature(&to_sign).as_str()));
    }
}

#[test]
fn a_bucket_may_be_signed_with_the_slash_that_boto_leaves_out() {
    let list = |target: &str, resource: &str| {
        query(target, &[("host", "h")], &format!("GET\n\n\n{{end}}\n{resource}"))
    };
    assert!(list("/bucket?list-type=2", "/bucket/").is_ok() && list("/bucket?acl", "/bucket/?acl").is_ok());
    assert!(list("/bucket", "/bucket").is_ok() && list("/bucket/", "/bucket/").is_ok());
    assert_eq!(code(list("/bucket/", "/bucket")), Code::SignatureDoesNotMatch);
    assert_eq!(code(list("/bucket/key", "/bucket/key/")), Code::SignatureDoesNotMatch);
}

#[test]
fn a_parameter_cannot_be_added() {
    let signed = "GET\n\n\n{end}\n/awsexamplebucket1/k";
    assert!(query("/k", &[], signed).is_ok());
    // What steers an operation, whether or not AWS's list has it.
    for name in [
        "acl",
        "versionId=1",
        "tagging",
        "uploads",
        "attributes",
        "response-content-type=a",
        "x-amz-copy-source=%2Fb%2Fk",
        "new",
    ] {
        assert_eq!(code(query(&format!("/k?{name}"), &[], signed)), Code::SignatureDoesNotMatch, "{name}");
    }
    let page = "GET\n\n\n{end}\n/awsexamplebucket1/";
    assert!(query("/?prefix=a&list-type=2&encoding-type=url&x-id=ListObjectsV2", &[], page).is_ok());
    let two = "GET\n\n\n{end}\n/awsexamplebucket1/k?partNumber=1&uploadId=a+b/c=";
    assert!(query("/k?uploadId=a%2Bb%2Fc%3D&partNumber=1", &[], two).is_ok());
    assert_eq!(
        code(query("/k?uploadId=a%2Bb%2Fc%3D&partNumber=1&partNumber=2", &[], two)),
        Code::SignatureDoesNotMatch
    );
    // The same text from one parameter.
    assert_eq!(code(query("/k?partNumber=1%26uploadId%3Da%2Bb%2Fc%3D", &[], two)), Code::InvalidArgument);
    let name =
        "GET\n\n\n{end}\n/awsexamplebucket1/k?response-content-disposition=attachment; filename=\"R&D.pdf\"";
    assert!(
        query("/k?response-content-disposition=attachment%3B%20filename%3D%22R%26D.pdf%22", &[], name)
            .is_ok()
    );
}

#[test]
fn a_parameter_that_stands_for_a_header_is_signed_as_one() {
    let signed = "GET\n\n\n{end}\nx-amz-meta-a:1\n/awsexamplebucket1/k";
    assert!(query("/k?x-amz-meta-a=1", &[], signed).is_ok());
    assert!(query("/k?x-amz-meta-a=1", &[("x-amz-meta-a", "1")], signed).is_ok());
    assert_eq!(
        code(query("/k?x-amz-meta-a=2", &[("x-amz-meta-a", "1")], signed)),
        Code::SignatureDoesNotMatch
    );
    let two = "GET\n\n\n{end}\nx-amz-meta-a:1\nx-amz-meta-b:2\n/awsexamplebucket1/k";
    assert_eq!(code(query("/k?x-amz-meta-a=1%0Ax-amz-meta-b%3A2", &[], two)), Code::InvalidArgument);
    assert_eq!(code(query("/k?x-amz-security-token=t", &[], signed)), Code::InvalidToken);
    // What came as a header is spent, and what signs.
    let target =
        "/k?x-amz-meta-a=1&x-amz-meta-b=2&content-type=a&versionId=1&Expires=1&Signature=x&AWSAccessKeyId=x";
    let parts = parts("GET", target, &[("host", HOST), ("x-amz-meta-a", "1")]);
    let mut request = S3Request::parse(&parts, &["s3.amazonaws.com".to_owned()]).unwrap();
    forget(&mut request, &parts.headers);
    assert_eq!(request.query.pairs().collect::<Vec<_>>(), [("x-amz-meta-b", "2"), ("versionId", "1")]);
}

#[test]
fn each_parameter_is_there_once() {
    let target = |query: &str| parts("GET", &format!("/bucket/k?{query}"), &[("host", "h")]);
    let good = format!("AWSAccessKeyId={ID}&Signature=x&Expires=1175139620");
    assert_eq!(code(check_at(&target(&good), at(DATE))), Code::SignatureDoesNotMatch);
    for bad in [
        good.replace("&Expires=1175139620", ""),
        good.replace("Signature=x&", ""),
        format!("{good}&Expires=1175139621"),
        format!("{good}&signature=y"),
        good.replace("1175139620", "-1"),
        good.replace("1175139620", "+1175139620"),
        good.replace("1175139620", ""),
        good.replace("1175139620", "99999999999999999999"),
    ] {
        assert_eq!(code(check_at(&target(&bad), at(DATE))), Code::AccessDenied, "{bad}");
    }
    let both = [("host", "h"), ("authorization", "AWS a:b")];
    assert_eq!(
        code(check_at(&parts("GET", &format!("/bucket/k?{good}"), &both), at(DATE))),
        Code::InvalidArgument
    );
    let v4 = target(&format!("{good}&X-Amz-Algorithm=AWS4-HMAC-SHA256"));
    assert_eq!(code(check_at(&v4, at(DATE))), Code::InvalidArgument);
}

#[test]
fn the_body_is_unsigned_or_hashed_and_its_chunks_are_not_signed() {
    let put = |hash: &str| {
        let to_sign = format!("PUT\n\n\n{DATE}\nx-amz-content-sha256:{hash}\n/awsexamplebucket1/k");
        header("PUT", "/k", &[("date", DATE), ("x-amz-content-sha256", hash)], &to_sign)
    };
    assert!(put(&"0".repeat(64)).is_ok() && put("STREAMING-UNSIGNED-PAYLOAD-TRAILER").is_ok());
    assert_eq!(code(put("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")), Code::InvalidRequest);
    assert_eq!(code(put("nonsense")), Code::InvalidArgument);
}

proptest! {
    #[test]
    fn never_panics(value in "(AWS )?\\PC{0,40}", target in "/[ -~]{0,40}", query in "[ -~]{0,60}") {
        let target = format!("{target}?AWSAccessKeyId={ID}&{query}");
        for (target, header) in [(target.as_str(), "x-other"), ("/bucket/k", "authorization")] {
            if let Ok(request) = http::Request::builder().uri(target).header("host", HOST).header(header, value.as_str()).body(()) {
                assert!(check_at(&request.into_parts().0, at(DATE)).is_err());
            }
        }
    }
}
