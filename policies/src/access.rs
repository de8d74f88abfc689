//! Access: a credential's grants against a bucket and an action.
//!
//! [`Allowed`] has no public constructor: possession of one is the proof that this module said yes.

use thiserror::Error;

/// What a request does to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read objects and list.
    Read,
    /// Write and delete objects, uploads included.
    Write,
    /// Create and delete the bucket.
    Admin,
    /// Reconfigure the bucket on its storage, with the gateway's identity there: policy, ACLs, versioning, lifecycle and
    /// the like, and pass over a governance lock.
    Configure,
}

/// What a credential may do, on one bucket or on all of its tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A bucket's name, or `*` for every bucket of the credential's tenant.
    pub bucket: String,
    /// May [`Action::Read`].
    pub read: bool,
    /// May [`Action::Write`].
    pub write: bool,
    /// May [`Action::Admin`].
    pub admin: bool,
    /// May [`Action::Configure`].
    pub configure: bool,
}

/// Who asks: an authenticated credential.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The tenant that the credential belongs to.
    pub tenant: [u8; 16],
    /// Its grants.
    pub grants: &'a [Grant],
    /// Unix seconds from which the credential is void; 0 means no end.
    pub not_after: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The tenant that owns the bucket; for a bucket that is to be created, the one that will.
    pub tenant: [u8; 16],
}

/// The proof that a request was allowed; only [`authorize`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Allowed {
    bucket: String,
    action: Action,
}

impl Allowed {
    /// The bucket that the decision is about.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The action that was allowed.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }
}

/// Why a request was not allowed. Clients are told `AccessDenied` whatever it is; the reason is for the audit log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// The credential's end has passed.
    #[error("the credential has expired")]
    Expired,
    /// The bucket belongs to another tenant: grants never reach beyond their own, so that a name which passes from
    /// one tenant to another takes no old grant with it.
    #[error("the bucket belongs to another tenant")]
    OtherTenant,
    /// No grant names the bucket.
    #[error("no grant for this bucket")]
    NoGrant,
    /// Grants name the bucket, none of them with this action.
    #[error("no grant for this action")]
    NotThisAction,
}

/// Decides whether `subject` may do `action` on `target` at `now` (Unix seconds).
///
/// # Errors
/// The first reason that forbids it.
pub fn authorize(
    subject: Subject<'_>,
    target: Target<'_>,
    action: Action,
    now: u64,
) -> Result<Allowed, Denied> {
    if subject.not_after != 0 && now >= subject.not_after {
        return Err(Denied::Expired);
    }
    if subject.tenant != target.tenant {
        return Err(Denied::OtherTenant);
    }
    let mut named = false;
    for grant in subject.grants.iter().filter(|grant| grant.bucket == "*" || grant.bucket == target.bucket) {
        named = true;
        let granted = match action {
            Action::Read => grant.read,
            Action::Write => grant.write,
            Action::Admin => grant.admin,
            Action::Configure => grant.configure,
        };
        if granted {
            return Ok(Allowed { bucket: target.bucket.to_owned(), action });
        }
    }
    Err(if named { Denied::NotThisAction } else { Denied::NoGrant })
}
