//! What was refused is not asked again at once.

use sealgate_kms::{Cause, Kms as _, KmsError};

use crate::script::{Act, Address, failure, layer, ms, unwrap};

#[tokio::test(start_paused = true)]
async fn a_refused_ciphertext_is_answered_for_three_seconds_without_the_kms() {
    for error in [
        KmsError::BadCiphertext,
        KmsError::Denied("kms/key".to_owned()),
        KmsError::NotFound("kms/key".to_owned()),
    ] {
        let refusal = error.clone();
        let address = Address::new(move |_, _| Act::Fail(refusal.clone()));
        let (kms, _) = layer(&[&address]);
        for _ in 0..100 {
            assert_eq!(unwrap(&kms).await, (Err(error.clone()), ms(0)));
        }
        assert_eq!(address.calls("unwrap"), 1, "{error}");
        let other = kms.unwrap("kms/key", "1", b"another", &[7; 32]).await;
        assert_eq!((other.map(drop), address.calls("unwrap")), (Err(error.clone()), 2), "another question");
        address.set(|_, _| Act::Answer);
        tokio::time::advance(ms(2_999)).await;
        assert_eq!(unwrap(&kms).await.0, Err(error));
        tokio::time::advance(ms(1)).await;
        assert_eq!(unwrap(&kms).await.0, Ok(()), "allowed again, it is heard after three seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_kept_and_a_change_of_keys_forgets_all() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Server)));
    let (kms, _) = layer(&[&address]);
    for n in 1..5 {
        assert!(unwrap(&kms).await.0.is_err());
        assert_eq!(address.calls("unwrap"), n);
    }
    address.set(|_, _| Act::Fail(KmsError::NotFound("kms/key".to_owned())));
    assert!(unwrap(&kms).await.0.is_err());
    address.set(|_, _| Act::Answer);
    kms.create_kek("key").await.unwrap();
    assert_eq!(unwrap(&kms).await.0, Ok(()));
}
