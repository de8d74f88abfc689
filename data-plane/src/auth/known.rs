//! What a node's snapshot knows of an access key: where the signature check looks its keys up.

use super::{Lookup, SigV2Lookup, SigningKey};
use crate::snapshot::{Credential, Snapshot};
use zeroize::Zeroizing;

/// The SigV4 signing key of an access key's day (`yyyymmdd`) and region, at `now` in Unix seconds.
#[must_use]
pub fn signing_key(snapshot: &Snapshot, now: u64, id: &str, date: &str, region: &str) -> Lookup {
    let Some(credential) = snapshot.credential(id).filter(|it| !ended(it, now)) else {
        return Lookup::UnknownKey;
    };
    if !snapshot.regions.iter().any(|known| known == region) {
        return Lookup::WrongRegion(snapshot.regions.first().cloned().unwrap_or_default());
    }
    match credential.signing_key(date, region) {
        Some(key) => Lookup::Found(SigningKey::new(Zeroizing::new(**key))),
        None => Lookup::NoKeyForDate,
    }
}

/// The SigV2 states of an access key, at `now` in Unix seconds.
#[must_use]
pub fn sigv2_key(snapshot: &Snapshot, now: u64, id: &str) -> SigV2Lookup {
    match snapshot.credential(id) {
        // As S3 where it has no Version 2: whatever the key.
        None => SigV2Lookup::Refused,
        Some(credential) if ended(credential, now) => SigV2Lookup::UnknownKey,
        Some(credential) => match &credential.sigv2 {
            Some(states) => SigV2Lookup::Found(states.copy()),
            None => SigV2Lookup::Refused,
        },
    }
}

fn ended(credential: &Credential, now: u64) -> bool {
    credential.not_after.is_some_and(|end| now >= end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{signing_key, sigv2_key};
    use crate::auth::{Lookup, SigV2Lookup};
    use crate::snapshot::{Rejected, Snapshot};
    use sealgate_proto::v1;
    use std::collections::HashSet;

    const END: u64 = 2_000;

    fn credential(id: &str, not_after: u64, state_bytes: Option<usize>) -> v1::Credential {
        let key = v1::SigningKey { date: "20130524".to_owned(), region: "r".to_owned(), key: vec![1; 32] };
        v1::Credential {
            access_key_id: id.to_owned(),
            tenant_id: vec![1; 16],
            signing_keys: vec![key],
            not_after,
            sigv2: state_bytes.map(|bytes| v1::SigV2States { inner: vec![1; bytes], outer: vec![2; bytes] }),
            ..v1::Credential::default()
        }
    }

    fn snapshot(credentials: Vec<v1::Credential>) -> Result<Snapshot, Rejected> {
        let (gateway_id, regions) = (vec![1; 16], vec!["r".to_owned()]);
        let wire = v1::Snapshot { gateway_id, regions, credentials, ..v1::Snapshot::default() };
        Snapshot::check(wire, [0; 32], &HashSet::new())
    }

    #[test]
    fn only_a_credential_made_for_it_has_states_and_only_until_its_end() {
        let known =
            snapshot(vec![credential("plain", END, None), credential("both", END, Some(20))]).unwrap();
        let v2 = |id, now| sigv2_key(&known, now, id);
        assert!(matches!(v2("both", END - 1), SigV2Lookup::Found(_)));
        assert!(matches!(v2("both", END), SigV2Lookup::UnknownKey));
        assert!(matches!(v2("plain", END - 1), SigV2Lookup::Refused));
        assert!(matches!(v2("nobody", END - 1), SigV2Lookup::Refused));
        let v4 = |id, now| signing_key(&known, now, id, "20130524", "r");
        assert!(matches!((v4("both", END - 1), v4("both", END)), (Lookup::Found(_), Lookup::UnknownKey)));
    }

    #[test]
    fn states_without_an_end_or_of_another_length_are_refused() {
        for (not_after, bytes) in [(0, 20), (END, 19), (END, 32)] {
            let rejected = snapshot(vec![credential("a", not_after, Some(bytes))]).err().unwrap();
            assert_eq!(rejected.resource, "credential/a", "{not_after} {bytes}: {}", rejected.reason);
        }
    }
}
