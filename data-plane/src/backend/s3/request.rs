//! Requests: what they say, how it is encoded, how it is signed.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::config::S3Config;
use crate::backend::{BackendError, Conditions};

/// Everything but S3's unreserved characters.
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, with the slashes of a path kept.
pub(super) const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The account that a bucket must belong to, and a copy's source: 403 otherwise.
const OWNER: HeaderName = HeaderName::from_static("x-amz-expected-bucket-owner");
const SOURCE_OWNER: HeaderName = HeaderName::from_static("x-amz-source-expected-bucket-owner");

/// A request before it is signed.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) query: Vec<(Cow<'static, str>, String)>,
    pub(super) headers: HeaderMap,
}

/// What the signature says about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing is sent.
    Empty,
    /// Protected by a checksum header, or not at all.
    Unsigned,
    /// `aws-chunked` with a trailer.
    UnsignedTrailer,
}

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, bucket: &'a str, key: &'a str) -> Self {
        Self { method, bucket, key, query: Vec::new(), headers: HeaderMap::new() }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((Cow::Borrowed(name), value.into()));
        self
    }

    pub(super) fn version(self, version_id: Option<&str>) -> Self {
        match version_id {
            Some(version_id) => self.query("versionId", version_id),
            None => self,
        }
    }

    pub(super) fn header(&mut self, name: &'static str, value: &str) -> Result<(), BackendError> {
        self.headers.insert(HeaderName::from_static(name), header_value(value)?);
        Ok(())
    }

    /// An If-Match without an ETag is refused here: to servers an empty header is no condition.
    pub(super) fn conditions(&mut self, conditions: &Conditions) -> Result<(), BackendError> {
        let names_none = |list: &String| list.chars().all(|c| matches!(c, '"' | ',' | ' '));
        if conditions.if_match.as_ref().is_some_and(names_none) {
            return Err(BackendError::s3(412, "PreconditionFailed", "If-Match names no ETag"));
        }
        let given = [
            ("if-match", &conditions.if_match),
            ("if-none-match", &conditions.if_none_match),
            ("if-modified-since", &conditions.if_modified_since),
            ("if-unmodified-since", &conditions.if_unmodified_since),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                self.header(name, value)?;
            }
        }
        Ok(())
    }

    /// Whether the bucket is one that must be there: not in ListBuckets, nor in CreateBucket, which knows no expected owner.
    fn names_a_bucket(&self) -> bool {
        let creates = self.method == Method::PUT && self.key.is_empty() && self.query.is_empty();
        !self.bucket.is_empty() && !creates
    }

    /// Host header, and path with query.
    fn target(&self, config: &S3Config) -> (String, String) {
        let authority = config.authority();
        let mut target = String::from("/");
        let host = if config.path_style || self.bucket.is_empty() {
            target.extend(percent_encode(self.bucket.as_bytes(), PATH));
            if !self.key.is_empty() {
                target.push('/');
            }
            authority
        } else {
            format!("{}.{authority}", self.bucket)
        };
        target.extend(percent_encode(self.key.as_bytes(), PATH));
        for (position, (name, value)) in self.query.iter().enumerate() {
            target.push(if position == 0 { '?' } else { '&' });
            target.extend(percent_encode(name.as_bytes(), QUERY));
            target.push('=');
            target.extend(percent_encode(value.as_bytes(), QUERY));
        }
        (host, target)
    }

    /// The signed request, without its body.
    pub(super) fn sign(
        &self,
        config: &S3Config,
        payload: Payload,
    ) -> Result<http::Request<()>, BackendError> {
        let invalid =
            |error: &dyn std::fmt::Display| BackendError::Protocol(format!("request can't be made: {error}"));
        let identity = config.credentials.current()?.into();
        let (host, target) = self.target(config);
        let mut headers = self.headers.clone();
        headers.insert(HOST, header_value(&host)?);
        if let Some(owner) = config.bucket_owner.as_deref().filter(|_| self.names_a_bucket()) {
            headers.insert(OWNER, header_value(owner)?);
            if headers.contains_key("x-amz-copy-source") {
                headers.insert(SOURCE_OWNER, header_value(owner)?);
            }
        }
        let scheme = if config.https { "https" } else { "http" };
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&config.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| invalid(&error))?
            .into();
        let body = match payload {
            Payload::Empty => SignableBody::Precomputed(EMPTY_SHA256.to_owned()),
            Payload::Unsigned => SignableBody::UnsignedPayload,
            Payload::UnsignedTrailer => SignableBody::StreamingUnsignedPayloadTrailer,
        };
        let mut texts = Vec::with_capacity(headers.len());
        for (name, value) in &headers {
            texts.push((
                name.as_str(),
                std::str::from_utf8(value.as_bytes()).map_err(|error| invalid(&error))?,
            ));
        }
        let signable = SignableRequest::new(
            self.method.as_str(),
            format!("{scheme}://{host}{target}"),
            texts.into_iter(),
            body,
        )
        .map_err(|error| invalid(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| invalid(&error))?.into_parts();
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target.parse::<Uri>().map_err(|error| invalid(&error))?;
        *request.headers_mut() = headers;
        for (name, value) in instructions.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| invalid(&error))?;
            let mut value = header_value(value)?;
            value.set_sensitive(name == http::header::AUTHORIZATION || name == "x-amz-security-token");
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// A header's value, or the client's fault.
pub(super) fn header_value(value: &str) -> Result<HeaderValue, BackendError> {
    HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| BackendError::s3(400, "InvalidArgument", "a header's value holds control characters"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::backend::s3::StaticCredentials;
    use std::sync::Arc;

    fn config(path_style: bool) -> S3Config {
        let credentials = StaticCredentials::new("AKID".into(), "secret".into(), None);
        let mut config = S3Config::new("http://h:9", "eu-central-1", Arc::new(credentials)).unwrap();
        config.path_style = path_style;
        config
    }

    #[test]
    fn targets() {
        let call =
            Call::new(Method::GET, "b", "a/ü +%&?#/../~x").query("list-type", "2").query("prefix", "a/b &");
        let path = "a/%C3%BC%20%2B%25%26%3F%23/../~x?list-type=2&prefix=a%2Fb%20%26";
        assert_eq!(call.target(&config(true)), ("h:9".to_owned(), format!("/b/{path}")));
        assert_eq!(call.target(&config(false)), ("b.h:9".to_owned(), format!("/{path}")));
        assert_eq!(Call::new(Method::GET, "b", "").target(&config(true)).1, "/b");
    }

    #[test]
    fn a_condition_without_an_etag_is_never_sent_as_none() {
        for list in ["", "\"\"", "\"\", \"\""] {
            let conditions = Conditions { if_match: Some(list.to_owned()), ..Conditions::default() };
            let refused = Call::new(Method::PUT, "b", "k").conditions(&conditions);
            assert!(refused.is_err_and(|error| error.is("PreconditionFailed")), "{list}");
        }
        let mut call = Call::new(Method::PUT, "b", "k");
        let conditions = Conditions { if_match: Some("\"e\"".to_owned()), ..Conditions::default() };
        call.conditions(&conditions).unwrap();
        assert_eq!(call.headers["if-match"], "\"e\"");
    }

    #[test]
    fn signature_covers_what_is_sent_and_hides_the_secret() {
        let mut call = Call::new(Method::PUT, "b", "k");
        call.header("x-amz-meta-a", "1").unwrap();
        let request = call.sign(&config(true), Payload::UnsignedTrailer).unwrap();
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a,"),
            "{authorization}"
        );
        assert_eq!(request.headers()["x-amz-content-sha256"], "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        assert!(!format!("{request:?}").contains("Signature="), "the log shows no signature");
    }
}
