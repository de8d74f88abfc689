//! Keys that no client can have: those that the gateway keeps for itself, and those that a backend takes for another one.

use sealgate_envelope::hidden;

use crate::backend::{Backend, Capabilities};
use crate::s3::error::{Code, S3Error};

/// Refuses a key that the gateway keeps for itself.
///
/// # Errors
/// AccessDenied, with a text that says why.
pub fn refuse_hidden(key: &str) -> Result<(), S3Error> {
    if hidden::could_be_hidden(key) {
        return Err(S3Error::with(
            Code::AccessDenied,
            "Keys that begin with .sealgate/ are reserved for the gateway. Use another name.",
        ));
    }
    Ok(())
}

/// Refuses a key that the backend would take for another one.
///
/// # Errors
/// InvalidArgument, with a text that says why.
pub fn refuse_folded(key: &str, backend: &dyn Backend) -> Result<(), S3Error> {
    match folded(key, backend.capabilities()) {
        Some(text) => Err(S3Error::invalid_argument("Key", key, text)),
        None => Ok(()),
    }
}

/// What a backend with these capabilities would do to a key, as a text for its client; None when it keeps the key as it is.
fn folded(key: &str, capabilities: &Capabilities) -> Option<&'static str> {
    let path = key.strip_suffix('/').unwrap_or(key);
    if capabilities.folds_keys && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some(
            "The storage behind the gateway takes keys with empty, \".\" or \"..\" components for other keys.",
        );
    }
    if capabilities.folds_backslashes && key.contains('\\') {
        return Some("The storage behind the gateway takes keys with a backslash for other keys.");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::folded;
    use crate::backend::s3::ServerKind;

    /// A key that a storage takes for another one would overwrite that one's object.
    #[test]
    fn keys_that_a_storage_folds_are_refused_there_only() {
        let refused = |server: ServerKind, key: &str| folded(key, &server.capabilities()).is_some();
        for server in [ServerKind::SeaweedFs, ServerKind::Generic] {
            for key in ["a\\b", "\\", "a//b", "./a", "a/..", "/"] {
                assert!(refused(server, key), "{server:?} {key}");
            }
        }
        for key in ["a\\b", "a\\", "a/b", "a/"] {
            assert!(!refused(ServerKind::VersityGw, key), "{key}");
            assert!(!refused(ServerKind::Aws, key), "{key}");
        }
        assert!(refused(ServerKind::VersityGw, "a//b"));
        assert!(!refused(ServerKind::SeaweedFs, "a/b/"));
    }
}
