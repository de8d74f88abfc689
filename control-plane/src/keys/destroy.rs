//! KEKs that are destroyed: those of old that nothing needs any more, and all of a tenant that is shredded.
//!
//! What cannot be undone is not done on a guess: a question that is not answered keeps the KEK. The order for one of old is: the store
//! marks it, so that nothing begins to need it; then all that does is looked for; only then the KMS is told.

use sealgate_envelope::{BucketId, IkContext, IkId, TenantId};
use sealgate_kms::{Kms, KmsError};

use super::KeyService;
use crate::{Error, registry::records::TenantRecord};

impl KeyService {
    /// Destroys a KEK of old that nothing needs any more; Unix seconds at which it is gone.
    ///
    /// # Errors
    /// [`Error::Precondition`] with what needs it. When it is not certain that the KMS did not destroy it, it stays marked: the same
    /// call again ends that.
    pub(crate) async fn destroy_old(
        &self,
        tenant: &TenantRecord,
        kek: &str,
        kms: &dyn Kms,
    ) -> Result<u64, Error> {
        let id = tenant.id;
        let marked_before = self.mark(id, kek, true).await?;
        let unneeded = async {
            let report = self.read(move |registry| registry.kek_report(id)).await?;
            if report.versions.iter().any(|version| version.kek == kek && !version.destroyable) {
                return Err(Error::Precondition(format!(
                    "key records or their copies still name {kek:?}: GET …/kek says which, and what was not seen"
                )));
            }
            self.another_kek(tenant, kek, kms).await?;
            self.nobody_elses(id, kek, kms).await
        };
        if let Err(error) = unneeded.await {
            // What an earlier call has come to is not known yet.
            if !(marked_before && error.is_transient()) {
                self.mark(id, kek, false).await?;
            }
            return Err(error);
        }
        match kms.destroy(kek).await {
            Err(error) if !error.is_transient() && !matches!(error, KmsError::NotFound(_)) => {
                self.mark(id, kek, false).await?;
                Err(error.into())
            }
            answer => self.destroyed(id, kek, answer).await,
        }
    }

    async fn mark(&self, id: TenantId, kek: &str, destroying: bool) -> Result<bool, Error> {
        let of = kek.to_owned();
        self.change(move |registry| registry.set_destroying(id, &of, destroying)).await
    }

    /// Has the KMS destroy every KEK of a shredded tenant; whether some are left.
    pub(super) async fn destroy_all(&self, id: TenantId, kms: &dyn Kms) -> Result<bool, Error> {
        let tenant = self.registry.tenant(id)?;
        let mut left = false;
        for used in tenant.keks.iter().filter(|used| used.destroyed.is_none()) {
            let gone = async {
                self.nobody_elses(id, &used.kek, kms).await?;
                self.destroyed(id, &used.kek, kms.destroy(&used.kek).await).await
            };
            match gone.await {
                Ok(at) => {
                    tracing::warn!(target: "audit", tenant = tenant.name, kek = used.kek, at, "a KEK is destroyed: the tenant is shredded");
                }
                Err(error) => {
                    left = true;
                    tracing::error!(target: "audit", tenant = tenant.name, kek = used.kek, %error, "a KEK of a shredded tenant is not destroyed yet");
                }
            }
        }
        Ok(left)
    }

    /// Writes down what the KMS answered; Unix seconds at which the KEK is gone.
    async fn destroyed(&self, id: TenantId, kek: &str, answer: Result<u64, KmsError>) -> Result<u64, Error> {
        let at = match answer {
            Ok(at) => at,
            // By an earlier call whose answer was lost, or by somebody else.
            Err(KmsError::NotFound(_)) => self.clock.now(),
            Err(error) => return Err(error.into()),
        };
        let of = kek.to_owned();
        self.change(move |registry| registry.kek_destroyed(id, &of, at)).await?;
        Ok(at)
    }

    /// Demands that a KEK is not the tenant's present one under another reference: a provider that was given a second name, a key's id
    /// beside its ARN.
    async fn another_kek(&self, tenant: &TenantRecord, kek: &str, kms: &dyn Kms) -> Result<(), Error> {
        if self.opens_what(tenant.id, &tenant.kek, kek, kms).await? {
            return Err(Error::Precondition(format!(
                "{kek:?} opens what {:?} wraps: it is the same key under another name",
                tenant.kek
            )));
        }
        Ok(())
    }

    /// Demands that a KEK is no other tenant's, nor the system's, under any reference.
    async fn nobody_elses(&self, id: TenantId, kek: &str, kms: &dyn Kms) -> Result<(), Error> {
        self.registry.kek_free(id, kek)?;
        for (whose, of, other) in self.registry.namesakes(id, kek) {
            match self.opens_what(of, &other, kek, kms).await {
                Ok(false) => {}
                Ok(true) => {
                    return Err(Error::Precondition(format!(
                        "{kek:?} opens what {other:?} of {whose} wraps: it is the same key under another name"
                    )));
                }
                Err(error) => {
                    return Err(Error::Unavailable(format!(
                        "whether {kek:?} and {other:?} of {whose} are the same key cannot be found out: {error}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether `kek` opens what `other` wraps.
    async fn opens_what(&self, id: TenantId, other: &str, kek: &str, kms: &dyn Kms) -> Result<bool, Error> {
        let (record, _) = self.unwrapper.make(self.trial(id, other)?).await?;
        let (bytes, version) = (record.context.to_bytes()?, &record.context.kek_version);
        match kms.unwrap(kek, version, &bytes, &record.wrapped).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// A context of nothing, to try a KEK with.
    pub(super) fn trial(&self, tenant: TenantId, kek: &str) -> Result<IkContext, Error> {
        Ok(IkContext {
            tenant,
            bucket: BucketId::random()?,
            ik: IkId::random()?,
            created: self.clock.now(),
            kek: kek.to_owned(),
            kek_version: String::new(),
        })
    }
}
