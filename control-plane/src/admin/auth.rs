//! The bearer token, compared in constant time.

use actix_web::{
    Error as WebError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::Error;

/// The digest of the admin token: equal lengths compare in constant time.
pub(crate) struct Token([u8; 32]);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn matches(&self, token: &str) -> bool {
        self.0.ct_eq(&Sha256::digest(token)).into()
    }
}

/// Lets a request through that carries the token.
pub(super) async fn check<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, WebError> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    let right = request.app_data::<web::Data<Token>>().is_some_and(|token| token.matches(given));
    if !right {
        tracing::warn!(target: "audit", path = request.path(), "admin request without the right token");
        return Err(Problem::from(Error::Unauthenticated("a bearer token is needed".to_owned())).into());
    }
    tracing::info!(target: "audit", method = %request.method(), path = request.path(), "admin request");
    next.call(request).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Token;

    #[test]
    #[ignore = "statistics: `just timing`"]
    fn timing_of_the_admin_token() {
        let right = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let token = Token::new(right);
        crate::timing::tells_nothing("the admin token", right.as_bytes(), |given| {
            token.matches(std::str::from_utf8(given).unwrap())
        });
    }
}
