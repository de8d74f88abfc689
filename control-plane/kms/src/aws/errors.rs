//! What AWS's answers mean to Sealgate. One table; everything else asks it.
//!
//! Of an answer only the code and the request id are told, and only when they look like such: a message may repeat what was
//! sent (a signature error repeats the session token), and what it says about a denial stands in CloudTrail under the id.

use std::{error::Error, time::Duration};

use aws_sdk_kms::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};

use super::http::Broken;
use crate::{Cause, KmsError};

/// What was asked for, for error texts.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The KEK's reference, or the name it is to have.
    pub(super) kek: &'a str,
    /// `kms:Decrypt`; several where one call needs them.
    pub(super) permission: &'static str,
    /// `[kms.aws.<name>] eu-central-1`.
    pub(super) place: &'a str,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// AWS's code, when AWS answered.
    pub(super) code: Option<String>,
    pub(super) error: KmsError,
    /// The credentials were refused, not the key: new ones may help.
    pub(super) login: bool,
}

impl From<Failure> for KmsError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        Self { code: None, error, login: false }
    }
}

impl Failure {
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// Says that a key's state does not allow what was asked, and leaves open which state.
pub(super) const INVALID_STATE: &str = "KMSInvalidStateException";

/// What stands for the code of an answer that has none.
const NO_CODE: &str = "no error code";

/// Sorts an error of the SDK.
pub(super) fn sorted<E>(asked: Asked<'_>, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let place = asked.place;
    let failed = |cause, why: String| Failure::from(KmsError::Unavailable(cause, format!("{place}: {why}")));
    match error {
        SdkError::ServiceError(answer) => {
            let raw = answer.raw();
            if raw.status().is_success() {
                return failed(Cause::Server, format!("an answer to {} that is none", asked.permission));
            }
            let code = answer.err().code().filter(|code| is_word(code)).unwrap_or(NO_CODE);
            let id = answer.err().meta().request_id().filter(|id| is_word(id)).unwrap_or("none");
            let wait =
                raw.headers().get("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
            told(asked, code, id, raw.status().as_u16(), wait)
        }
        SdkError::DispatchFailure(failure) => {
            match failure
                .as_connector_error()
                .and_then(Error::source)
                .and_then(<dyn Error>::downcast_ref::<Broken>)
            {
                Some(broken @ Broken::Connect(..)) => failed(Cause::Connect, broken.to_string()),
                Some(broken) => failed(Cause::Timeout, broken.to_string()),
                // No credentials, no endpoint: nothing was sent.
                None => failed(Cause::Local, format!("{} could not be sent", asked.permission)),
            }
        }
        SdkError::TimeoutError(_) => {
            failed(Cause::Timeout, format!("no answer to {} in time", asked.permission))
        }
        SdkError::ResponseError(answer) => failed(
            Cause::Server,
            format!("an answer that is none, status {}", answer.raw().status().as_u16()),
        ),
        _ => failed(Cause::Local, format!("{} could not be made", asked.permission)),
    }
}

/// The table.
fn told(asked: Asked<'_>, code: &str, id: &str, status: u16, wait: Option<Duration>) -> Failure {
    let Asked { kek, permission, place } = asked;
    let text = format!("{place}: {code} to {permission} (request {id})");
    let mut login = false;
    let error = match code {
        "InvalidCiphertextException" | "IncorrectKeyException" => KmsError::BadCiphertext,
        "NotFoundException" | "InvalidArnException" => KmsError::NotFound(format!("{kek} ({text})")),
        "DisabledException" | INVALID_STATE | "InvalidGrantTokenException" => {
            KmsError::Denied(format!("{kek} ({text})"))
        }
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => {
            KmsError::Denied(format!("{kek} ({text}); it needs the permission {permission}"))
        }
        "ThrottlingException"
        | "Throttling"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => KmsError::Throttled(wait, text),
        "KMSInternalException" | "DependencyTimeoutException" | "KeyUnavailableException" => {
            KmsError::Unavailable(Cause::Server, text)
        }
        // Nobody revoked them: whoever renews them does not.
        "ExpiredTokenException" | "ExpiredToken" => {
            login = true;
            KmsError::Unavailable(Cause::Local, format!("the credentials have expired ({text})"))
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => {
            login = true;
            KmsError::Denied(format!("{kek}: the credentials are refused ({text})"))
        }
        // Mostly the clock, on one side or the other: nobody took access away.
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" | "RequestTimeTooSkewed" => {
            login = true;
            KmsError::Unavailable(Cause::Local, format!("{text}: is the clock right?"))
        }
        "UnsupportedOperationException" | "UnknownOperationException" | "InvalidKeyUsageException" => {
            KmsError::Unsupported(text)
        }
        _ if status == 501 => KmsError::Unsupported(text),
        _ if status >= 500 => KmsError::Unavailable(Cause::Server, text),
        _ if status == 429 => KmsError::Throttled(wait, text),
        // Not AWS's own: somebody between has answered, and takes no key away.
        NO_CODE => KmsError::Unavailable(Cause::Server, text),
        _ => KmsError::Unsupported(text),
    };
    Failure { code: Some(code.to_owned()), error, login }
}

/// What looks like a code or a request id, and not like something else.
fn is_word(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, status: u16) -> KmsError {
        let asked = Asked { kek: "aws/k", permission: "kms:Decrypt", place: "[kms.aws.aws] r" };
        told(asked, code, "id-1", status, None).error
    }

    #[test]
    fn each_code_has_its_meaning() {
        for code in ["InvalidCiphertextException", "IncorrectKeyException"] {
            assert_eq!(error(code, 400), KmsError::BadCiphertext);
        }
        for code in [
            "DisabledException",
            "KMSInvalidStateException",
            "AccessDeniedException",
            "InvalidGrantTokenException",
        ] {
            assert!(matches!(error(code, 400), KmsError::Denied(_)), "{code}");
        }
        for code in ["ThrottlingException", "LimitExceededException", "RequestLimitExceeded"] {
            assert!(matches!(error(code, 400), KmsError::Throttled(None, _)), "{code}");
        }
        for (code, status) in [
            ("KMSInternalException", 500),
            ("KMSInternalException", 400),
            ("DependencyTimeoutException", 500),
            ("KeyUnavailableException", 500),
            ("ServiceUnavailable", 503),
            (NO_CODE, 502),
            (NO_CODE, 403),
            (NO_CODE, 404),
        ] {
            assert!(matches!(error(code, status), KmsError::Unavailable(Cause::Server, _)), "{code}");
        }
        assert!(matches!(error("NotFoundException", 400), KmsError::NotFound(_)));
        for code in ["InvalidSignatureException", "ExpiredTokenException"] {
            assert!(matches!(error(code, 400), KmsError::Unavailable(Cause::Local, _)), "{code}");
        }
        for (code, status) in
            [("UnsupportedOperationException", 400), ("ValidationException", 400), ("x", 501)]
        {
            assert!(matches!(error(code, status), KmsError::Unsupported(_)), "{code}");
        }
    }

    #[test]
    fn a_denial_names_key_permission_place_and_request() {
        let text = error("AccessDeniedException", 400).to_string();
        for part in ["aws/k", "kms:Decrypt", "[kms.aws.aws] r", "id-1", "AccessDeniedException"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn only_refused_credentials_are_loaded_anew() {
        let asked = Asked { kek: "k", permission: "kms:Decrypt", place: "p" };
        for (code, login) in [
            ("ExpiredTokenException", true),
            ("UnrecognizedClientException", true),
            ("InvalidSignatureException", true),
            ("AccessDeniedException", false),
            ("ThrottlingException", false),
        ] {
            assert_eq!(told(asked, code, "id", 400, None).login, login, "{code}");
        }
    }

    #[test]
    fn what_is_no_code_is_not_told() {
        assert!(is_word("ThrottlingException") && is_word("c1b2-9.x_"));
        for text in ["", "a b", "key=c2VjcmV0", &"a".repeat(65), "a\n"] {
            assert!(!is_word(text), "{text:?}");
        }
    }
}
