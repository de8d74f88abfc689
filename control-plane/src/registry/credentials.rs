//! Clients' credentials. Secrets are generated, never chosen, and shown once.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sealgate_envelope::TenantId;
use sealgate_policies::check_bucket_name;
use sealgate_store::{Compare, Op, encode};
use zeroize::Zeroizing;

use super::{
    Registry, Version,
    records::{CredentialRecord, GrantRecord, credential_key},
    tenants::check_label,
};
use crate::Error;

/// The most grants of one credential.
const MAX_GRANTS: usize = 100;
/// 30 bytes are 40 characters of base64 and 240 bits.
const SECRET_BYTES: usize = 30;

/// A credential at the only moment when its secret is known. Not printable.
pub struct NewCredential {
    /// The stored record.
    pub record: Arc<CredentialRecord>,
    /// 40 characters; zeroized on drop.
    pub secret: Zeroizing<String>,
    /// The version that carries it to the nodes.
    pub version: Version,
}

impl Registry {
    /// Makes a credential; with `sigv2` one that may sign with Signature Version 2 too, until `not_after` (Unix seconds, 0:
    /// no end).
    ///
    /// # Errors
    /// When the tenant does not exist, grants or label are invalid, or one for SigV2 has no end or one that is over.
    pub fn create_credential(
        &self,
        tenant: TenantId,
        label: &str,
        grants: Vec<GrantRecord>,
        not_after: u64,
        sigv2: bool,
    ) -> Result<NewCredential, Error> {
        check_label("a credential's label", label)?;
        if !self.state().tenants.contains_key(&tenant) {
            return Err(Error::NotFound("no such tenant".to_owned()));
        }
        if grants.is_empty() || grants.len() > MAX_GRANTS {
            return Err(Error::Invalid(format!("a credential has 1 to {MAX_GRANTS} grants")));
        }
        for grant in grants.iter().filter(|grant| grant.bucket != "*") {
            check_bucket_name(&grant.bucket).map_err(|error| Error::Invalid(error.to_string()))?;
        }
        // The states that nodes get for it never age: only the end takes them away.
        if sigv2 && not_after <= self.now() {
            return Err(Error::Invalid(
                "a credential with \"sigv2\": true needs \"not_after\", in Unix seconds and ahead".to_owned(),
            ));
        }
        let access_key_id = access_key_id()?;
        let mut random = Zeroizing::new([0_u8; SECRET_BYTES]);
        fill(random.as_mut())?;
        let secret = Zeroizing::new(STANDARD.encode(random.as_ref()));
        let key = credential_key(&access_key_id);
        let sealed_secret = self.sealer().seal(&key, secret.as_bytes())?;
        let (label, created) = (label.to_owned(), self.now());
        let record = CredentialRecord {
            access_key_id,
            tenant,
            label,
            grants,
            sealed_secret,
            created,
            not_after,
            sigv2,
        };
        let version =
            self.commit(&[Compare::Absent(key.clone())], vec![Op::Put(key, encode(&record)?)], true)?;
        Ok(NewCredential { record: Arc::new(record), secret, version })
    }

    /// Removes a credential; pushed without waiting.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_credential(&self, access_key_id: &str) -> Result<Version, Error> {
        if !self.state().credentials.contains_key(access_key_id) {
            return Err(Error::NotFound("no such credential".to_owned()));
        }
        let key = credential_key(access_key_id);
        self.commit(&[self.unchanged(&key)?], vec![Op::Delete(key)], true)
    }
}

/// `SG` and 18 of A–Z and 2–7: 90 bits, so that none is ever made twice.
fn access_key_id() -> Result<String, Error> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = [0_u8; 18];
    fill(&mut random)?;
    let tail = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok("SG".chars().chain(tail).collect())
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|_| Error::Internal("no randomness".to_owned()))
}
