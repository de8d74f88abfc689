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

/// Case 28: `?versions` and `?attributes` must not be answered as List and Get.
#[test]
fn case_28_subresources_never_fall_through() {
    for (method, target, name) in [
        ("GET", "/bucket?versions", "ListObjectVersions"),
        ("GET", "/bucket?list-type=2&versions", "ListObjectVersions"),
        ("GET", "/bucket/k?attributes", "GetObjectAttributes"),
        ("GET", "/bucket/k?tagging", "GetObjectTagging"),
        ("PUT", "/bucket/k?tagging", "PutObjectTagging"),
        ("PUT", "/bucket/k?acl", "PutObjectAcl"),
        ("PUT", "/bucket/k?retention", "PutObjectRetention"),
        ("PUT", "/bucket?versioning", "PutBucketVersioning"),
        ("PUT", "/bucket?policy", "PutBucketPolicy"),
        ("DELETE", "/bucket?lifecycle", "DeleteBucketLifecycleConfiguration"),
        ("GET", "/bucket?object-lock", "GetObjectLockConfiguration"),
        ("POST", "/bucket/k?select&select-type=2", "SelectObjectContent"),
        ("POST", "/bucket/k?restore", "RestoreObject"),
        ("GET", "/bucket?brand-new", "the query parameter 'brand-new'"),
        ("PUT", "/bucket/k?brand-new", "the query parameter 'brand-new'"),
        ("GET", "/bucket/k?VERSIONID=1", "the query parameter 'VERSIONID'"),
        ("DELETE", "/bucket?uploads", "the query parameter 'uploads'"),
        ("PUT", "/bucket?list-type=2", "the query parameter 'list-type'"),
    ] {
        assert_eq!(unimplemented_name(method, target), name, "{method} {target}");
    }
}

/// Case 18: a copy is not stored as an object of its own.
#[test]
fn case_18_copies_are_not_puts() {
    let copy = [("x-amz-copy-source", "/bucket/other")];
    for (target, name) in
        [("/bucket/k", "CopyObject"), ("/bucket/k?uploadId=u&partNumber=1", "UploadPartCopy")]
    {
        assert_eq!(with("PUT", target, &copy).unwrap(), Operation::NotImplemented(name.to_owned()));
    }
    assert_eq!(unimplemented_name("PUT", "/bucket/k?x-amz-copy-source=%2Fb%2Fo"), "CopyObject");
}

#[test]
fn forms_and_preflights_are_not_implemented() {
    let form = with("POST", "/bucket", &[("content-type", "multipart/form-data; boundary=x")]).unwrap();
    assert_eq!(form, Operation::NotImplemented("PostObject".to_owned()));
    assert_eq!(unimplemented_name("OPTIONS", "/bucket/k"), "the CORS preflight");
}

#[test]
fn headers_that_promise_something_are_refused() {
    let refuses = |name: &str, value: &str| {
        matches!(with("PUT", "/bucket/k", &[(name, value)]).unwrap(), Operation::NotImplemented(_))
    };
    assert!(refuses("x-amz-object-lock-mode", "COMPLIANCE"));
    assert!(refuses("x-amz-server-side-encryption-customer-key", "x"));
    assert!(refuses("x-amz-acl", "public-read"));
    assert!(refuses("x-amz-storage-class", "GLACIER"));
    assert!(refuses("x-amz-server-side-encryption", "aws:kms"));
    assert!(refuses("x-amz-expected-bucket-owner", "1"));
    assert!(!refuses("x-amz-acl", "private"));
    assert!(!refuses("x-amz-storage-class", "STANDARD"));
    assert!(!refuses("x-amz-meta-acl", "public-read"));
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
    assert_eq!(of("PUT", "/bucket?policy").needed_action(), Access::Admin);
}
