//! Errors of the admin API: the one place where they become HTTP.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use serde_json::json;

use crate::Error;

/// An error on its way to an operator.
#[derive(Debug)]
pub(super) struct Problem(Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        match self.0 {
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::AlreadyExists(_) | Error::Precondition(_) | Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Denied(_) => StatusCode::FORBIDDEN,
            Error::Unauthenticated(_) | Error::Revoked => StatusCode::UNAUTHORIZED,
            Error::Exhausted(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable(_) | Error::Later(..) | Error::NotAsked(..) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let title = status.canonical_reason().unwrap_or("error");
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": self.to_string() });
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        if let Some(seconds) = self.0.retry_after() {
            response.insert_header(("Retry-After", seconds.to_string()));
        }
        response.content_type("application/problem+json").body(body.to_string())
    }
}

/// What has no route.
pub(super) async fn unknown() -> Result<HttpResponse, Problem> {
    Err(Error::NotFound("no such resource".to_owned()).into())
}
