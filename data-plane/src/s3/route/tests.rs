#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Access, Operation, route};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;

fn with(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Operation, S3Error> {
    let mut builder = http::Request::builder().method(method).uri(target).header("host", "127.0.0.1");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let request = S3Request::parse(&parts, &[]).unwrap();
    route(&request, &parts.headers)
}

fn of(method: &str, target: &str) -> Operation {
    with(method, target, &[]).unwrap()
}

fn unimplemented_name(method: &str, target: &str) -> String {
    match of(method, target) {
        Operation::NotImplemented(name) => name,
        other => panic!("{method} {target} is {other:?}"),
    }
}

#[test]
fn every_operation_in_scope() {
    for (method, target, expected) in [
        ("GET", "/", Operation::ListBuckets),
        ("GET", "/?x-id=ListBuckets", Operation::ListBuckets),
        ("PUT", "/bucket", Operation::CreateBucket),
        ("PUT", "/bucket/", Operation::CreateBucket),
        ("HEAD", "/bucket", Operation::HeadBucket),
        ("DELETE", "/bucket", Operation::DeleteBucket),
        ("GET", "/bucket?location", Operation::GetBucketLocation),
        ("GET", "/bucket/?location=", Operation::GetBucketLocation),
        ("GET", "/bucket", Operation::ListObjectsV1),
        ("GET", "/bucket?marker=(null)&max-keys=1&prefix=&delimiter=%2F", Operation::ListObjectsV1),
        ("GET", "/bucket?list-type=2&encoding-type=url&fetch-owner=true", Operation::ListObjectsV2),
        ("GET", "/bucket?uploads", Operation::ListMultipartUploads),
        ("GET", "/bucket?prefix=&uploads=&max-uploads=1", Operation::ListMultipartUploads),
        ("POST", "/bucket?delete", Operation::DeleteObjects),
        ("POST", "/bucket/?delete=", Operation::DeleteObjects),
        ("PUT", "/bucket/k", Operation::PutObject),
        ("PUT", "/bucket/k?x-id=PutObject", Operation::PutObject),
        ("GET", "/bucket/k?response-content-type=text%2Fplain&versionId=null", Operation::GetObject),
        ("GET", "/bucket/k?partNumber=2", Operation::GetObject),
        (
            "GET",
            "/bucket/k?X-Amz-Algorithm=x&X-Amz-Signature=y&x-amz-checksum-mode=ENABLED",
            Operation::GetObject,
        ),
        ("HEAD", "/bucket/k?partNumber=1", Operation::HeadObject),
        ("GET", "/bucket/k?attributes&versionId=1", Operation::GetObjectAttributes),
        ("OPTIONS", "/bucket", Operation::Preflight),
        ("OPTIONS", "/bucket/k?X-Amz-Signature=y&versionId=1", Operation::Preflight),
        ("DELETE", "/bucket/k", Operation::DeleteObject),
        ("POST", "/bucket/k?uploads", Operation::CreateMultipartUpload),
        ("POST", "/bucket/k?uploads=", Operation::CreateMultipartUpload),
        ("PUT", "/bucket/k?uploadId=u&partNumber=1", Operation::UploadPart),
        ("PUT", "/bucket/k?partNumber=1&uploadId=u", Operation::UploadPart),
        ("POST", "/bucket/k?uploadId=u", Operation::CompleteMultipartUpload),
        ("DELETE", "/bucket/k?uploadId=u", Operation::AbortMultipartUpload),
        ("GET", "/bucket/k?uploadId=u&max-parts=1000", Operation::ListParts),
    ] {
        assert_eq!(of(method, target), expected, "{method} {target}");
    }
}

#[test]
fn an_empty_version_id_is_refused_where_the_gateway_looks_at_it() {
    for (method, target) in [
        ("GET", "/bucket/k"),
        ("HEAD", "/bucket/k"),
        ("DELETE", "/bucket/k"),
        ("GET", "/bucket/k?attributes"),
        ("PUT", "/bucket/k"),
    ] {
        let and = if target.contains('?') { '&' } else { '?' };
        for empty in ["versionId", "versionId=", "versionId=v&versionId="] {
            let refused = with(method, &format!("{target}{and}{empty}"), &[]);
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{method} {target} {empty}");
        }
    }
    for (method, target) in [
        ("GET", "/bucket/k?tagging&versionId="),
        ("PUT", "/bucket/k?retention&versionId="),
        ("POST", "/bucket/k?restore&versionId="),
    ] {
        assert!(matches!(of(method, target), Operation::Forward(_)), "{method} {target}");
    }
}

/// Case 28: `?versions` and `?attributes` must not be answered as List and Get.
#[test]
fn case_28_subresources_never_fall_through() {
    assert_eq!(of("GET", "/bucket?versions"), Operation::ListObjectVersions);
    assert_eq!(
        of("GET", "/bucket?versions&key-marker=a&version-id-marker=b&max-keys=1"),
        Operation::ListObjectVersions
    );
    for (method, target, name) in [
        ("GET", "/bucket?list-type=2&versions", "the query parameter 'list-type'"),
        ("PUT", "/bucket/k?attributes", "PutObjectAttributes"),
        ("POST", "/bucket/k?select&select-type=2", "SelectObjectContent"),
        ("PUT", "/bucket/k?annotation", "PutObjectAnnotation"),
        ("PUT", "/bucket/k?encryption", "UpdateObjectEncryption"),
        ("PUT", "/bucket/k?append", "append to an object"),
        ("GET", "/bucket?brand-new", "the query parameter 'brand-new'"),
        ("PUT", "/bucket/k?brand-new", "the query parameter 'brand-new'"),
        ("GET", "/bucket/k?VERSIONID=1", "the query parameter 'VERSIONID'"),
        ("DELETE", "/bucket?uploads", "the query parameter 'uploads'"),
        ("PUT", "/bucket?list-type=2", "the query parameter 'list-type'"),
    ] {
        assert_eq!(unimplemented_name(method, target), name, "{method} {target}");
    }
}

fn forwarded(method: &str, target: &str) -> &'static super::forwarded::Forwarding {
    match of(method, target) {
        Operation::Forward(entry) => entry,
        other => panic!("{method} {target} is {other:?}"),
    }
}

#[test]
fn the_list_names_each_operation_once_and_its_permission() {
    use super::forwarded::{On, all};
    let mut names = std::collections::HashSet::new();
    for entry in all() {
        assert!(names.insert(entry.name), "{} twice", entry.name);
        let resource = if entry.on == On::Object { "/bucket/k" } else { "/bucket" };
        let target = format!("{resource}?{}", entry.subresource);
        assert_eq!(forwarded(entry.method.as_str(), &target), entry, "{target}");
        let expected = match (entry.method.as_str(), entry.on) {
            ("GET", _) => Access::Read,
            (_, On::Object) if !["PutObjectAcl", "PutObjectLegalHold"].contains(&entry.name) => Access::Write,
            _ => Access::Configure,
        };
        assert_eq!(of(entry.method.as_str(), &target).needed_action(), expected, "{}", entry.name);
        // With any parameter or header beyond its own it is none of the list.
        let more = format!("{target}&position=1");
        assert_eq!(unimplemented_name(entry.method.as_str(), &more), "the query parameter 'position'");
        for header in [
            "x-amz-brand-new",
            "x-amz-copy-source",
            "x-amz-meta-a",
            "x-amz-website-redirect-location",
            "if-match",
        ] {
            let refused = with(entry.method.as_str(), &target, &[(header, "v")]).unwrap();
            assert_eq!(refused, Operation::NotImplemented(format!("the header {header}")), "{}", entry.name);
        }
        for header in entry.headers.iter().chain(&[
            "x-amz-checksum-crc32",
            "x-amz-date",
            "x-amz-expected-bucket-owner",
            "x-amz-request-payer",
        ]) {
            let taken = with(entry.method.as_str(), &target, &[(header, "v")]).unwrap();
            assert_eq!(taken.name(), entry.name, "{header}");
        }
    }
    assert_eq!(names.len(), 72);
}

#[test]
fn methods_that_a_subresource_does_not_have_are_not_implemented() {
    for (method, target, name) in [
        ("POST", "/bucket/k?tagging", "PostObjectTagging"),
        ("DELETE", "/bucket?versioning", "DeleteBucketVersioning"),
        ("HEAD", "/bucket?acl", "GetBucketAcl"),
        ("PUT", "/bucket?policyStatus", "PutBucketPolicyStatus"),
        ("GET", "/bucket/k?versioning", "the query parameter 'versioning'"),
        ("PUT", "/bucket?retention", "the query parameter 'retention'"),
        ("PUT", "/bucket/k?acl&tagging", "PutObjectTagging"),
    ] {
        assert_eq!(unimplemented_name(method, target), name, "{method} {target}");
    }
}

/// Case 18: a copy is not stored as an object of its own.
#[test]
fn case_18_copies_are_not_puts() {
    let copy = [("x-amz-copy-source", "/bucket/other")];
    for (target, operation) in [
        ("/bucket/k", Operation::CopyObject),
        ("/bucket/k?uploadId=u&partNumber=1", Operation::UploadPartCopy),
    ] {
        assert_eq!(with("PUT", target, &copy).unwrap(), operation);
    }
    assert_eq!(of("PUT", "/bucket/k?x-amz-copy-source=%2Fb%2Fo"), Operation::CopyObject);
    // A name in another case is not the parameter: it must not make a PutObject that drops it either.
    assert!(matches!(of("PUT", "/bucket/k?X-Amz-Copy-Source=%2Fb%2Fo"), Operation::NotImplemented(_)));
}

#[test]
fn forms_are_known_by_their_type() {
    let form = |target| with("POST", target, &[("content-type", "Multipart/Form-Data; boundary=x")]).unwrap();
    assert_eq!(form("/bucket"), Operation::PostObject);
    assert_eq!(form("/bucket?delete"), Operation::DeleteObjects);
    assert_eq!(form("/bucket?new"), Operation::NotImplemented("the query parameter 'new'".to_owned()));
    assert_eq!(form("/bucket/k"), Operation::NotImplemented("POST on an object".to_owned()));
    assert_eq!(unimplemented_name("POST", "/bucket"), "POST on a bucket");
}

/// Dropped, the condition would abort whatever is there.
#[test]
fn a_condition_on_an_abort_is_refused() {
    let header = ("x-amz-if-match-initiated-time", "Mon, 23 Nov 2026 10:00:00 GMT");
    let asked = with("DELETE", "/bucket/k?uploadId=u", &[header]).unwrap();
    assert_eq!(asked, Operation::NotImplemented("the header x-amz-if-match-initiated-time".to_owned()));
    let plain = with("DELETE", "/bucket/k?uploadId=u", &[("x-amz-date", "x")]).unwrap();
    assert_eq!(plain, Operation::AbortMultipartUpload);
}

#[test]
fn headers_that_promise_something_are_refused() {
    let refuses = |target: &str, name: &str, value: &str| {
        matches!(with("PUT", target, &[(name, value)]).unwrap(), Operation::NotImplemented(_))
    };
    let (object, part, bucket) = ("/bucket/k", "/bucket/k?uploadId=u&partNumber=1", "/bucket");
    for target in [object, part, bucket] {
        assert!(refuses(target, "x-amz-write-offset-bytes", "1"));
        assert!(!refuses(target, "x-amz-acl", "private"));
    }
    for (name, value) in [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-storage-class", "GLACIER"),
    ] {
        assert!(!refuses(object, name, value), "{name} goes to the storage");
        assert!(refuses(part, name, value) && refuses(bucket, name, value), "{name} means nothing there");
    }
    assert!(!refuses(bucket, "x-amz-bucket-object-lock-enabled", "true"));
    assert!(refuses(object, "x-amz-bucket-object-lock-enabled", "true"));
    assert!(!refuses(object, "x-amz-meta-acl", "public-read"));
    assert!(!refuses(object, "x-amz-expected-bucket-owner", "1"), "the gate holds it against the owner");
}

#[test]
fn a_header_that_no_write_knows_is_refused_on_all_of_them() {
    let writes = [
        ("PUT", "/bucket"),
        ("DELETE", "/bucket"),
        ("POST", "/bucket?delete"),
        ("PUT", "/bucket/k"),
        ("PUT", "/bucket/k?x-amz-copy-source=%2Fb%2Fo"),
        ("DELETE", "/bucket/k"),
        ("POST", "/bucket/k?uploads"),
        ("PUT", "/bucket/k?uploadId=u&partNumber=1"),
        ("PUT", "/bucket/k?uploadId=u&partNumber=1&x-amz-copy-source=%2Fb%2Fo"),
        ("POST", "/bucket/k?uploadId=u"),
        ("DELETE", "/bucket/k?uploadId=u"),
    ];
    for (method, target) in writes {
        for name in [
            "x-amz-brand-new",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "x-amz-if-match-initiated-time",
            "x-amz-snowball-extract",
            "x-amz-write-offset-bytes",
        ] {
            let refused = with(method, target, &[(name, "v")]).unwrap();
            let expected = Operation::NotImplemented(format!("the header {name}"));
            assert_eq!(refused, expected, "{method} {target}");
        }
        // What clients send on anything, and others before them; and what they were told of another object.
        for name in [
            "amz-sdk-invocation-id",
            "amz-sdk-request",
            "x-amz-cf-id",
            "x-amz-checksum-crc32",
            "x-amz-content-sha256",
            "x-amz-decoded-content-length",
            "x-amz-expected-bucket-owner",
            "x-amz-checksum-type",
            "x-amz-copy-source-version-id",
            "x-amz-delete-marker",
            "x-amz-expiration",
            "x-amz-id-2",
            "x-amz-meta-a",
            "x-amz-mp-parts-count",
            "x-amz-replication-status",
            "x-amz-request-charged",
            "x-amz-request-id",
            "x-amz-request-payer",
            "x-amz-restore",
            "x-amz-tagging-count",
            "x-amz-version-id",
            "x-amz-sdk-checksum-algorithm",
            "x-amz-te",
            "x-amz-trailer",
            "x-amz-user-agent",
            "x-amzn-trace-id",
        ] {
            let taken = with(method, target, &[(name, "v")]).unwrap();
            assert_eq!(taken, of(method, target), "{name}");
        }
    }
    let lists = ["/bucket", "/bucket?list-type=2", "/bucket?versions"];
    for target in lists {
        let taken = with("GET", target, &[("x-amz-optional-object-attributes", "RestoreStatus")]).unwrap();
        assert_eq!(taken, of("GET", target), "Trino asks all its listings so");
        assert_eq!(with("GET", target, &[("x-amz-request-payer", "requester")]).unwrap(), of("GET", target));
    }
}

#[test]
fn what_publishes_or_passes_over_a_lock_needs_configure() {
    let needs = |name: &'static str, value: &'static str| {
        super::needs_configure(&http::HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
    };
    assert!(needs("x-amz-acl", "public-read"));
    assert!(needs("x-amz-grant-read", "uri=x"));
    assert!(needs("x-amz-bypass-governance-retention", "True"));
    assert!(!needs("x-amz-acl", "private"));
    assert!(!needs("x-amz-bypass-governance-retention", "false"));
    assert!(!needs("x-amz-tagging", "a=b"));
    assert!(needs("x-amz-bypass-governance-retention", "1"), "whatever a storage may take for true");
    let mut twice = http::HeaderMap::new();
    for value in ["false", "true"] {
        twice.append("x-amz-bypass-governance-retention", value.parse().unwrap());
    }
    assert!(super::needs_configure(&twice), "whichever a storage goes by");
}

#[test]
fn values_that_change_nothing_do_not_go_to_the_storage() {
    let headers = http::HeaderMap::from_iter(
        [
            ("x-amz-acl", "private"),
            ("x-amz-object-lock-legal-hold", "OFF"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-tagging", "a=b"),
        ]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    let passed = super::passed(super::WITH_OBJECTS, &headers);
    let mut names: Vec<_> = passed.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["x-amz-storage-class", "x-amz-tagging"]);
}

#[test]
fn contradictions_are_errors() {
    for (method, target, code) in [
        ("PUT", "/bucket/k?partNumber=1", Code::InvalidArgument),
        ("PUT", "/bucket/k?uploadId=1", Code::InvalidArgument),
        ("GET", "/bucket?list-type=3", Code::InvalidArgument),
        ("PATCH", "/bucket/k", Code::MethodNotAllowed),
        ("PUT", "/", Code::MethodNotAllowed),
    ] {
        assert_eq!(with(method, target, &[]).unwrap_err().code(), code, "{method} {target}");
    }
}

#[test]
fn permissions() {
    assert_eq!(of("GET", "/bucket/k").needed_action(), Access::Read);
    assert_eq!(of("DELETE", "/bucket/k").needed_action(), Access::Write);
    assert_eq!(of("POST", "/bucket?delete").needed_action(), Access::Write);
    assert_eq!(of("DELETE", "/bucket").needed_action(), Access::Admin);
    assert_eq!(of("PUT", "/bucket?brand-new").needed_action(), Access::Admin);
    assert_eq!(of("PUT", "/bucket?policy").needed_action(), Access::Configure);
    assert_eq!(of("GET", "/bucket?versions").needed_action(), Access::Read);
}
