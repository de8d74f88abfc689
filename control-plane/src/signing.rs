//! SigV4 signing keys ("Derive a signing key", AWS General Reference): what nodes get instead of client secrets.
//!
//! A key is good for one day and region. Nodes hold the days −7 … +2: a presigned URL lives at most seven days, and
//! the two days ahead mean that nothing has to happen at midnight.

use std::{collections::HashMap, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::{Date, OffsetDateTime};
use zeroize::Zeroizing;

use crate::{
    Error,
    clock::DAY,
    registry::{
        Sealer,
        records::{CredentialRecord, credential_key},
    },
};

pub mod v2;

const DAYS_BACK: u64 = 7;
const DAYS_AHEAD: u64 = 2;

/// The signing key of one day and region for the service `s3`.
pub struct SigningKey {
    /// `yyyymmdd`, UTC.
    pub date: String,
    /// The region.
    pub region: String,
    /// HMAC chain over the client secret up to `aws4_request`.
    pub key: Zeroizing<[u8; 32]>,
}

/// Derives the signing key of one day and region.
///
/// # Errors
/// None in practice: HMAC takes keys of every length.
pub fn derive(secret: &[u8], date: &str, region: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut first = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(secret);
    let date = mac(&first, date.as_bytes())?;
    let region = mac(date.as_ref(), region.as_bytes())?;
    let service = mac(region.as_ref(), b"s3")?;
    mac(service.as_ref(), b"aws4_request")
}

fn mac(key: &[u8], data: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::Internal("HMAC key".to_owned()))?;
    mac.update(data);
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// The day's date as `yyyymmdd`.
///
/// # Errors
/// When the day is beyond year 9999.
pub fn date(day: u64) -> Result<String, Error> {
    let far = || Error::Internal("the clock is far off".to_owned());
    let seconds = i64::try_from(day.saturating_mul(DAY)).map_err(|_| far())?;
    let date: Date = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| far())?.date();
    Ok(format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day()))
}

/// Derived keys by access key id, so that a push costs HMACs only for what is new.
#[derive(Default)]
pub struct SigningKeys {
    day: u64,
    known: HashMap<String, (Arc<CredentialRecord>, Arc<Vec<SigningKey>>)>,
}

impl SigningKeys {
    /// The keys of a credential around `day`, sorted by date and region.
    ///
    /// # Errors
    /// When the secret does not open.
    pub fn of(
        &mut self,
        credential: &Arc<CredentialRecord>,
        day: u64,
        regions: &[String],
        sealer: &Sealer,
    ) -> Result<Arc<Vec<SigningKey>>, Error> {
        if self.day != day {
            self.known.clear();
            self.day = day;
        }
        if let Some((record, keys)) = self.known.get(&credential.access_key_id)
            && Arc::ptr_eq(record, credential)
        {
            return Ok(Arc::clone(keys));
        }
        let secret = sealer.open(&credential_key(&credential.access_key_id), &credential.sealed_secret)?;
        let mut keys = Vec::with_capacity(regions.len() * 10);
        for day in day.saturating_sub(DAYS_BACK)..=day + DAYS_AHEAD {
            let date = date(day)?;
            for region in regions {
                let key = derive(&secret, &date, region)?;
                keys.push(SigningKey { date: date.clone(), region: region.clone(), key });
            }
        }
        keys.sort_by(|a, b| (&a.date, &a.region).cmp(&(&b.date, &b.region)));
        let keys = Arc::new(keys);
        self.known.insert(credential.access_key_id.clone(), (Arc::clone(credential), Arc::clone(&keys)));
        Ok(keys)
    }

    /// Forgets credentials that are gone; their keys are zeroized with the last snapshot that has them.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.known.retain(|id, _| exists(id));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::{date, derive};

    #[test]
    fn signing_keys_match_a_separate_implementation() {
        // python3: hmac.new chain over "AWS4" + secret, 20150830, us-east-1, s3, aws4_request
        let key = derive(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1").unwrap();
        assert_eq!(hex::encode(key.as_ref()), VECTOR);
    }

    const VECTOR: &str = "32f78051dcde24c552811d654f4a769112bb834b03975cdd6b1fd7d16248c269";

    #[test]
    fn dates_are_utc_days() {
        assert_eq!(date(0).unwrap(), "19700101");
        assert_eq!(date(20_779).unwrap(), "20261122");
        assert_eq!(date(19_782).unwrap(), "20240229");
    }
}
