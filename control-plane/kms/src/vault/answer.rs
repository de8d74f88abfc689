//! What an answer means. A refusal counts as the server's own word only when it has the servers' shape, `{"errors": […]}`:
//! a 403 or 404 from a proxy in between takes no key away.
//!
//! | status | meaning |
//! |---|---|
//! | 2xx | done |
//! | 307, 472, 473, 500 without an active node | a standby that does not serve; never followed |
//! | 400, 403, 404 | depends on what was asked: the caller decides |
//! | 429 | throttled (on sys/health: a standby) |
//! | 501, 503 sealed or not initialized | sealed |
//! | anything else | a server that does not work |

use serde::Deserialize;

use super::{
    http::{Answer, Http},
    secret::shown,
};
use crate::{Cause, KmsError};

/// An answer that is no success.
pub(super) enum Failure {
    /// Whatever was asked.
    Decided(KmsError),
    /// 400 and what it says, fit to be shown: wrong ciphertext, missing key, refused login.
    Invalid(Vec<String>),
    /// 403: the token is not good, or may not do this.
    Forbidden(Vec<String>),
    /// 404: no such key, mount or namespace.
    Missing(Vec<String>),
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        Self::Decided(error)
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// Sorts an answer of `http`. `secrets` are what it was sent: they are not repeated in an error.
pub(super) fn sort(http: &Http, answer: Answer, secrets: &[&str]) -> Result<Answer, Failure> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let errors = serde_json::from_slice::<Errors>(&answer.body).ok();
    let errors: Option<Vec<String>> =
        errors.map(|errors| errors.errors.iter().take(8).map(|text| shown(text, secrets)).collect());
    let said = |cause: Cause, what: &str| {
        let text = errors.as_deref().unwrap_or_default().join("; ");
        let colon = if text.is_empty() { "" } else { ": " };
        KmsError::Unavailable(cause, format!("{}: {what}{colon}{text}", http.address()))
    };
    let says = |phrase: &str| errors.iter().flatten().any(|text| text.contains(phrase));
    let error = match (answer.status, &errors) {
        (400, Some(texts)) => return Err(Failure::Invalid(texts.clone())),
        (403, Some(texts)) => return Err(Failure::Forbidden(texts.clone())),
        (404, Some(texts)) => return Err(Failure::Missing(texts.clone())),
        (429, _) => KmsError::Throttled(answer.retry_after, http.address().to_owned()),
        (307 | 472 | 473, _) => said(Cause::Standby, "a standby"),
        (500, _) if says("node not active") || says("active cluster node not found") => {
            said(Cause::Standby, "a standby that knows no active node")
        }
        (501, _) => said(Cause::Sealed, "not initialized"),
        (503, _) if says("sealed") || says("not initialized") => said(Cause::Sealed, "sealed"),
        (300..400, _) => said(Cause::Server, "a redirect, which is not followed"),
        (status, Some(_)) => said(Cause::Server, &format!("status {status}")),
        (status, None) => {
            said(Cause::Server, &format!("status {status}, which did not come from OpenBao or Vault"))
        }
    };
    Err(Failure::Decided(error))
}

/// What `sys/health` says of the node itself.
pub(super) fn health(http: &Http, status: u16) -> Result<(), KmsError> {
    let error =
        |cause: Cause, what: String| Err(KmsError::Unavailable(cause, format!("{}: {what}", http.address())));
    match status {
        200 => Ok(()),
        429 | 472 | 473 => error(Cause::Standby, "a standby".to_owned()),
        501 => error(Cause::Sealed, "not initialized".to_owned()),
        503 => error(Cause::Sealed, "sealed".to_owned()),
        status => error(Cause::Server, format!("sys/health answers {status}")),
    }
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// The `data` of an answer.
pub(super) fn data<'a, T: Deserialize<'a>>(http: &Http, answer: &'a Answer) -> Result<T, KmsError> {
    let parsed: Result<Data<T>, _> = serde_json::from_slice(&answer.body);
    // serde's text may quote what it read, and that may be a key.
    parsed.map(|parsed| parsed.data).map_err(|_| unreadable(http))
}

/// An answer that says nothing which can be understood.
pub(super) fn unreadable(http: &Http) -> KmsError {
    KmsError::Unavailable(Cause::Server, format!("{}: an answer that cannot be read", http.address()))
}
