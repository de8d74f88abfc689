//! The one place that gives errors S3's codes, statuses and XML.
//!
//! A code says whose fault it is and whether a retry helps: 4xx is the client's and final, 503 may be tried again
//! (with `Retry-After`), 500 is ours. SDKs retry every 5xx, so what a retry cannot mend is never one.

use super::headers::metadata::MAX_USER_METADATA;
use http::StatusCode;
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

/// S3's namespace for answers.
pub const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

macro_rules! codes {
    ($($name:ident $status:literal $text:literal)*) => {
        /// S3's error codes (AWS: "Error responses", "List of error codes"), with the status and text of each.
        /// `ObjectIntegrityError` is ours: an object at the backend that is not what was written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are S3's own; the texts beside them say what they mean")]
        pub enum Code { $($name,)* }

        impl Code {
            /// All codes, for tables and tests.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it stands in the XML.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            const fn number(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// The text that goes with the code when nothing better is known.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    AccessDenied 403 "Access Denied."
    AccessForbidden 403 "Access Forbidden"
    AuthorizationHeaderMalformed 400 "The authorization header is malformed."
    AuthorizationQueryParametersError 400 "The authorization query parameters are malformed."
    BadDigest 400 "The Content-MD5 or checksum you specified did not match what we received."
    BadRequest 400 "Bad Request"
    BucketAlreadyExists 409 "The requested bucket name is not available. Please select a different name and try again."
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it."
    BucketNotEmpty 409 "The bucket you tried to delete is not empty."
    ConditionalRequestConflict 409 "A conflicting operation occurred during this request. Try again."
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size."
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed size"
    ExpiredToken 400 "The provided token has expired."
    IllegalLocationConstraintException 400 "The location constraint is incompatible with this endpoint."
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header"
    IncorrectNumberOfFilesInPostRequest 400 "POST requires exactly one file upload per request."
    InternalError 500 "We encountered an internal error. Please try again."
    InvalidAccessKeyId 403 "The AWS Access Key Id you provided does not exist in our records."
    InvalidArgument 400 "Invalid Argument"
    InvalidBucketName 400 "The specified bucket is not valid."
    InvalidBucketState 409 "The request is not valid for the current state of the bucket."
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid."
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid. The valid value is AES256."
    InvalidLocationConstraint 400 "The specified location-constraint is not valid"
    InvalidObjectState 403 "The operation is not valid for the current state of the object."
    InvalidPart 400 "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    InvalidPartNumber 416 "The requested partnumber is not satisfiable."
    InvalidPartOrder 400 "The list of parts was not in ascending order. Parts must be ordered by part number."
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document."
    InvalidRedirectLocation 400 "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."
    InvalidRange 416 "The requested range is not satisfiable"
    InvalidRequest 400 "Invalid Request"
    InvalidStorageClass 400 "The storage class you specified is not valid."
    InvalidTag 400 "The tag provided was not a valid tag."
    InvalidToken 400 "The provided token is malformed or otherwise invalid."
    InvalidURI 400 "Couldn't parse the specified URI."
    KeyTooLongError 400 "Your key is too long."
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data."
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema."
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema."
    MaxMessageLengthExceeded 400 "Your request was too big."
    MaxPostPreDataLengthExceeded 400 "Your POST request fields preceding the upload file were too large."
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size"
    MethodNotAllowed 405 "The specified method is not allowed against this resource."
    MissingContentLength 411 "You must provide the Content-Length HTTP header."
    MissingRequestBodyError 400 "Request Body is empty"
    MissingSecurityHeader 400 "Your request was missing a required header."
    NoSuchBucket 404 "The specified bucket does not exist."
    NoSuchKey 404 "The specified key does not exist."
    NoSuchUpload 404 "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    NoSuchVersion 404 "The specified version does not exist."
    NotImplemented 501 "A header you provided implies functionality that is not implemented."
    NotModified 304 "Not Modified"
    ObjectIntegrityError 422 "The stored object is not what was written: it cannot be proved genuine, so nothing of it is returned."
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Please try again."
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold."
    RequestHeaderSectionTooLarge 400 "Your request header section exceeds the maximum allowed size."
    RequestTimeTooSkewed 403 "The difference between the request time and the current time is too large."
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period."
    ServiceUnavailable 503 "Service is unable to handle request."
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    SlowDown 503 "Please reduce your request rate."
    TooManyBuckets 400 "You have attempted to create more buckets than allowed."
    UnexpectedContent 400 "This request does not support content"
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed."
}

impl Code {
    /// The HTTP status of the code.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Seconds that a client should wait after a 503 when the code's maker gave no better number.
const DEFAULT_RETRY_AFTER: u32 = 1;

/// An error as a client sees it. It carries nothing that a client may not see: causes are logged where they are known.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    resource: Option<String>,
    fields: Vec<(&'static str, String)>,
    retry_after: Option<u32>,
    storage: Option<(StatusCode, String)>,
}

impl S3Error {
    /// The error with the code's own text.
    #[must_use]
    pub fn new(code: Code) -> S3Error {
        S3Error::with(code, code.text())
    }

    /// The error with a text of its own.
    #[must_use]
    pub fn with(code: Code, message: impl Into<Cow<'static, str>>) -> S3Error {
        let retry_after =
            matches!(code, Code::SlowDown | Code::ServiceUnavailable).then_some(DEFAULT_RETRY_AFTER);
        S3Error(Box::new(Inner {
            code,
            message: message.into(),
            resource: None,
            fields: Vec::new(),
            retry_after,
            storage: None,
        }))
    }

    /// An error in the storage's own words, for what the storage alone decides: its status, code and message. Only a
    /// client error or NotImplemented.
    #[must_use]
    pub fn of_storage(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> S3Error {
        let mut error = S3Error::with(Code::InvalidRequest, message.into());
        if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED {
            error.0.storage = Some((status, code.into()));
        }
        error
    }

    /// Names the resource (`/bucket/key`) that the error is about, where it is not the request's own path.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> S3Error {
        self.0.resource = Some(resource.into());
        self
    }

    /// Adds an element to the XML, after the message. `name` must be an XML name.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> S3Error {
        self.0.fields.push((name, value.into()));
        self
    }

    /// Says when a retry may help, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> S3Error {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The code; of an error in the storage's own words InvalidRequest ([`S3Error::code_text`] has theirs).
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.storage.as_ref().map_or_else(|| self.0.code.status(), |(status, _)| *status)
    }

    /// The code as the client sees it.
    #[must_use]
    pub fn code_text(&self) -> &str {
        self.0.storage.as_ref().map_or_else(|| self.0.code.as_str(), |(_, code)| code)
    }

    /// The text for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The value of the `Retry-After` header in seconds, if there is one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.0.retry_after
    }

    /// The value of an added element.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_str())
    }

    /// Whether an answer to `method` carries the XML: none does to HEAD, nor with 304.
    #[must_use]
    pub fn has_body(&self, method: &http::Method) -> bool {
        *method != http::Method::HEAD && self.status() != StatusCode::NOT_MODIFIED
    }

    /// The XML document. `path` is the request's, used when the error names no resource itself.
    #[must_use]
    pub fn to_xml(&self, path: &str, request_id: &str, host_id: &str) -> String {
        let mut out = String::with_capacity(512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        element(&mut out, "Code", self.code_text());
        element(&mut out, "Message", &self.0.message);
        for (name, value) in &self.0.fields {
            element(&mut out, name, value);
        }
        element(&mut out, "Resource", self.0.resource.as_deref().unwrap_or(path));
        element(&mut out, "RequestId", request_id);
        element(&mut out, "HostId", host_id);
        out.push_str("</Error>");
        out
    }

    /// InvalidArgument about one named argument.
    #[must_use]
    pub fn invalid_argument(
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> S3Error {
        S3Error::with(Code::InvalidArgument, message)
            .field("ArgumentName", name)
            .field("ArgumentValue", value)
    }

    /// NoSuchBucket for a name.
    #[must_use]
    pub fn no_such_bucket(bucket: impl Into<String>) -> S3Error {
        S3Error::new(Code::NoSuchBucket).field("BucketName", bucket)
    }

    /// NoSuchKey for a key.
    #[must_use]
    pub fn no_such_key(key: impl Into<String>) -> S3Error {
        S3Error::new(Code::NoSuchKey).field("Key", key)
    }

    /// NoSuchUpload for an upload id.
    #[must_use]
    pub fn no_such_upload(upload_id: impl Into<String>) -> S3Error {
        S3Error::new(Code::NoSuchUpload).field("UploadId", upload_id)
    }

    /// InvalidRange: the answer also needs `Content-Range: bytes */size`.
    #[must_use]
    pub fn invalid_range(requested: impl Into<String>, size: u64) -> S3Error {
        S3Error::new(Code::InvalidRange)
            .field("RangeRequested", requested)
            .field("ActualObjectSize", size.to_string())
    }

    /// PreconditionFailed, naming the condition's header.
    #[must_use]
    pub fn precondition_failed(condition: &'static str) -> S3Error {
        S3Error::new(Code::PreconditionFailed).field("Condition", condition)
    }

    /// NotImplemented, naming the operation or header.
    #[must_use]
    pub fn not_implemented(what: &str) -> S3Error {
        S3Error::with(Code::NotImplemented, format!("Sealgate does not implement {what}."))
    }

    /// MetadataTooLarge with the sizes in bytes.
    #[must_use]
    pub fn metadata_too_large(size: usize, limit: usize) -> S3Error {
        let text = Code::MetadataTooLarge.text();
        let message = match limit {
            // S3's own limit in S3's own words; of another one they would say nothing.
            MAX_USER_METADATA => Cow::Borrowed(text),
            _ => Cow::Owned(format!("{text}: {size} bytes, of at most {limit}.")),
        };
        S3Error::with(Code::MetadataTooLarge, message)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", limit.to_string())
    }

    /// EntityTooLarge with the sizes in bytes.
    #[must_use]
    pub fn entity_too_large(size: u64, limit: u64) -> S3Error {
        S3Error::new(Code::EntityTooLarge)
            .field("ProposedSize", size.to_string())
            .field("MaxSizeAllowed", limit.to_string())
    }

    /// EntityTooSmall for a part below the minimum that is not the last.
    #[must_use]
    pub fn entity_too_small(size: u64, minimum: u64, part: u16, etag: impl Into<String>) -> S3Error {
        S3Error::new(Code::EntityTooSmall)
            .field("ProposedSize", size.to_string())
            .field("MinSizeAllowed", minimum.to_string())
            .field("PartNumber", part.to_string())
            .field("ETag", etag)
    }
}

impl From<Code> for S3Error {
    fn from(code: Code) -> S3Error {
        S3Error::new(code)
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code_text(), self.0.message)
    }
}

/// Code and message only: the fields can hold a whole canonical request, which is for its sender and not for logs.
impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for S3Error {}

fn element(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "<{name}>");
    escape_into(out, text);
    let _ = write!(out, "</{name}>");
}

/// Appends `text` as XML character data. What XML 1.0 cannot carry is written as a character reference, as S3 does:
/// a client that has such keys asks for `encoding-type=url`.
pub fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            // A bare CR would be read as LF.
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "&#x{:x};", u32::from(c));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Code, S3Error};
    use http::{Method, StatusCode};

    #[test]
    fn every_code_has_an_error_status_of_its_own() {
        for code in Code::ALL {
            assert!(code.status() == 304 || code.status().as_u16() >= 400, "{code}");
            assert_eq!(code.status().as_u16(), code.number());
        }
    }

    #[test]
    fn xml_has_the_elements_that_sdks_read() {
        let xml = S3Error::no_such_key("a<b>&\u{1}").to_xml("/bucket/a", "RID", "HID");
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key \
             does not exist.</Message><Key>a&lt;b&gt;&amp;&#x1;</Key><Resource>/bucket/a</Resource>\
             <RequestId>RID</RequestId><HostId>HID</HostId></Error>"
        );
    }

    #[test]
    fn head_and_304_have_no_body() {
        assert!(!S3Error::new(Code::NoSuchKey).has_body(&Method::HEAD));
        assert!(!S3Error::new(Code::NotModified).has_body(&Method::GET));
        assert!(S3Error::new(Code::NoSuchKey).has_body(&Method::GET));
    }

    #[test]
    fn a_503_says_when_to_retry_and_integrity_is_not_retried() {
        assert_eq!(S3Error::new(Code::SlowDown).retry_after_seconds(), Some(1));
        assert_eq!(S3Error::new(Code::ServiceUnavailable).retry_after(30).retry_after_seconds(), Some(30));
        assert_eq!(S3Error::new(Code::ObjectIntegrityError).status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn debug_shows_no_fields() {
        let error = S3Error::new(Code::SignatureDoesNotMatch).field("CanonicalRequest", "GET\n/secret");
        assert!(!format!("{error:?}").contains("secret"));
    }
}
