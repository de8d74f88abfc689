//! Tenants.

use std::sync::Arc;

use sealgate_envelope::TenantId;
use sealgate_store::{Compare, Op, decode, encode};

use super::{
    Registry, Version,
    records::{KekUse, Longer, SYSTEM, SystemRecord, TenantRecord, tenant_key},
};
use crate::{Error, keys::HARD};

/// 24 h: how long an IK may go on when the KMS cannot be reached, unless the tenant says otherwise.
pub(crate) const UNPROVED_LIFE: u64 = 86_400;
/// The longest that a tenant may ask for: a week.
pub(crate) const UNPROVED_LIFE_MAX: u64 = 7 * 86_400;

/// What is to be another of a tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantChange {
    pub(crate) name: Option<String>,
    /// Seconds.
    pub(crate) unproved_life: Option<u64>,
}

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
        if let Some(other) = self.state().tenants.get(&id) {
            return Err(Error::AlreadyExists(format!("the id is that of the tenant {:?}", other.name)));
        }
        self.kek_free(id, kek)?;
        let unproved_life = bounded(unproved_life.unwrap_or(UNPROVED_LIFE))?;
        let (name, kek) = (name.to_owned(), kek.to_owned());
        let keks = vec![KekUse::new(&kek)];
        let created = self.now();
        let record = TenantRecord {
            id,
            name,
            kek,
            created,
            unproved_life,
            generation: 0,
            keks,
            cut: None,
            keys: 0,
            longer: None,
        };
        let key = tenant_key(id);
        self.commit(&[Compare::Absent(key.clone())], vec![Op::Put(key, encode(&record)?)], false)?;
        Ok(Arc::new(record))
    }

    /// Gives a tenant another name, or its keys another unproved life. A shorter one voids what nodes were given under the longer one;
    /// what it was before, and the version that has it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] and [`Error::Invalid`] as in [`Self::create_tenant`].
    pub(crate) fn change_tenant(
        &self,
        name: &str,
        change: &TenantChange,
    ) -> Result<(Arc<TenantRecord>, Version), Error> {
        let before = self.tenant_by_name(name)?;
        let mut record = TenantRecord::clone(&before);
        if let Some(name) = &change.name {
            check_label("a tenant's name", name)?;
            if self.state().tenant_named(name).is_some_and(|other| other.id != record.id) {
                return Err(Error::AlreadyExists(format!("the tenant {name:?} exists")));
            }
            record.name.clone_from(name);
        }
        if let Some(unproved_life) = change.unproved_life {
            record.unproved_life = bounded(unproved_life)?;
        }
        let shorter = record.unproved_life < before.unproved_life;
        record.keys += u64::from(shorter);
        if shorter {
            let (now, life) = (self.now(), before.longest_life(self.now()));
            record.longer = Some(Longer { life, until: now + HARD + life });
        }
        let same = (&record.name, record.unproved_life) == (&before.name, before.unproved_life);
        let version = if same { self.version() } else { self.put_tenant(&record, shorter)? };
        Ok((before, version))
    }

    /// Demands that a KEK is no other tenant's, nor ever was, and not the system's: of two that share one, neither could be
    /// shredded alone.
    pub(crate) fn kek_free(&self, tenant: TenantId, kek: &str) -> Result<(), Error> {
        let state = self.state();
        if let Some(other) = state.tenants.values().find(|other| other.id != tenant && other.uses(kek)) {
            return Err(Error::AlreadyExists(format!("the KEK {kek:?} is the tenant {:?}'s", other.name)));
        }
        match self.store().get(SYSTEM)? {
            Some(found) if decode::<SystemRecord>(&found.value)?.kek == kek => {
                Err(Error::Invalid("the system KEK is no tenant's".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn bounded(unproved_life: u64) -> Result<u64, Error> {
    if unproved_life > UNPROVED_LIFE_MAX {
        return Err(Error::Invalid(format!("unproved_life is 0 to {UNPROVED_LIFE_MAX} seconds")));
    }
    Ok(unproved_life)
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
