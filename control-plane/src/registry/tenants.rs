//! Tenants.

use std::sync::Arc;

use sealgate_envelope::TenantId;
use sealgate_store::{Compare, Op, encode};

use super::{
    Registry,
    records::{TenantRecord, tenant_key},
};
use crate::Error;

/// 24 h: how long an IK may go on when the KMS cannot be reached, unless the tenant says otherwise.
pub(crate) const UNPROVED_LIFE: u64 = 86_400;
/// The longest that a tenant may ask for: a week.
const UNPROVED_LIFE_MAX: u64 = 7 * 86_400;

impl Registry {
    /// Makes a tenant whose KEK exists already.
    ///
    /// # Errors
    /// When the name is taken or invalid.
    pub fn create_tenant(
        &self,
        id: TenantId,
        name: &str,
        kek: &str,
        unproved_life: Option<u64>,
    ) -> Result<Arc<TenantRecord>, Error> {
        check_label("a tenant's name", name)?;
        if self.state().tenant_named(name).is_some() {
            return Err(Error::AlreadyExists(format!("the tenant {name:?} exists")));
        }
        let state = self.state();
        if let Some(other) = state.tenants.values().find(|other| other.id == id || other.kek == kek) {
            // One KEK for two tenants: neither could be shredded alone.
            return Err(Error::AlreadyExists(format!("id or KEK are those of the tenant {:?}", other.name)));
        }
        let unproved_life = unproved_life.unwrap_or(UNPROVED_LIFE);
        if unproved_life > UNPROVED_LIFE_MAX {
            return Err(Error::Invalid(format!("unproved_life is 0 to {UNPROVED_LIFE_MAX} seconds")));
        }
        let (name, kek) = (name.to_owned(), kek.to_owned());
        let record = TenantRecord { id, name, kek, created: self.now(), unproved_life };
        let key = tenant_key(id);
        self.commit(&[Compare::Absent(key.clone())], vec![Op::Put(key, encode(&record)?)], false)?;
        Ok(Arc::new(record))
    }
}

/// Names that people give: 1 to 64 letters, digits, dots, hyphens and underscores.
pub(crate) fn check_label(what: &str, text: &str) -> Result<(), Error> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(valid) {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{what} has 1 to 64 of A-Z a-z 0-9 . - _")))
    }
}
