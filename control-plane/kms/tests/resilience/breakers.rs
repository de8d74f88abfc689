//! The breaker in the layer.

use sealgate_kms::{Cause, Kind, Kms as _, KmsError, Operation, Phase};

use crate::script::{Act, Address, failure, layer, ms, phase, save, server, unwrap, wrap};

#[tokio::test(start_paused = true)]
async fn open_the_error_comes_at_once_with_the_time_to_come_again_and_nobody_is_asked() {
    let address = Address::new(|_, _| server());
    let (kms, told) = layer(&[&address]);
    while phase(&kms, 0, Operation::Unwrap) == Phase::Closed {
        assert!(unwrap(&kms).await.0.is_err());
    }
    let calls = address.calls("unwrap");
    assert_eq!(calls, 10);
    assert_eq!(*told.phases.lock().unwrap(), [(0, Operation::Unwrap, Phase::Open)]);
    for _ in 0..10_000 {
        let (result, took) = unwrap(&kms).await;
        let error = result.unwrap_err();
        let KmsError::Unavailable(Cause::Refused(after), text) = &error else { panic!("{error}") };
        assert!((ms(4_000)..=ms(6_000)).contains(after), "{after:?}");
        assert_eq!((took, error.retry_after()), (ms(0), Some(*after)), "no wait at all");
        assert!(text.contains("asked again in"), "{text}");
    }
    assert_eq!(address.calls("unwrap"), calls);
    assert_eq!(wrap(&kms).await.0.unwrap_err(), failure(Cause::Server), "another operation has its own");
    assert!(!kms.healthy());
    let shown = serde_json::to_value(kms.view()).unwrap();
    let breaker = &shown["addresses"][0]["breakers"][2];
    assert_eq!((&breaker["operation"], &breaker["state"]), (&"unwrap".into(), &"open".into()));
    assert!(breaker["retry_in_ms"].as_u64().unwrap() >= 4_000);
    assert_eq!(shown["addresses"][0]["last_error"], "the KMS is unavailable: as the test wants it");
}

#[tokio::test(start_paused = true)]
async fn what_the_kms_refuses_never_opens_it_and_is_never_hidden_by_it() {
    for error in [
        KmsError::Denied("kms/key".to_owned()),
        KmsError::NotFound("kms/key".to_owned()),
        KmsError::BadCiphertext,
        KmsError::Unsupported("that".to_owned()),
        KmsError::Throttled(None, "too much".to_owned()),
        failure(Cause::Local),
    ] {
        let told = error.clone();
        let address = Address::new(move |_, _| Act::Fail(told.clone()));
        let (kms, _) = layer(&[&address]);
        for n in 0..100_u8 {
            // Each another ciphertext, so that nothing is answered from what is known.
            let result = kms.unwrap("kms/key", "1", &[n], &[7; 32]).await;
            assert_eq!(
                std::mem::discriminant(&result.map(drop).unwrap_err()),
                std::mem::discriminant(&error)
            );
            tokio::time::advance(ms(2_000)).await;
        }
        assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Closed, "{error}");
        assert!(address.calls("unwrap") >= 100, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_one_call_goes_through_and_the_others_are_told_at_once() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, told) = layer(&[&address]);
    for _ in 0..5 {
        assert!(unwrap(&kms).await.0.is_err());
    }
    address.forget();
    address.set(|_, _| Act::After(ms(50)));
    tokio::time::advance(ms(6_000)).await;
    for n in 0..3 {
        let results = futures_util::future::join_all((0..100).map(|_| unwrap(&kms))).await;
        let served: Vec<_> = results.iter().filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(served.len(), 1, "round {n}");
        assert_eq!(results.iter().filter(|(_, took)| *took == ms(0)).count(), 99);
    }
    assert_eq!((address.most(), phase(&kms, 0, Operation::Unwrap)), (1, Phase::Closed));
    assert_eq!(told.kinds(Kind::Hedge), 0, "a probe has no hedge");
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_hangs_up_makes_room_for_the_next() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, _) = layer(&[&address]);
    for _ in 0..5 {
        assert!(unwrap(&kms).await.0.is_err());
    }
    address.set(|_, _| Act::Hang);
    tokio::time::advance(ms(6_000)).await;
    for _ in 0..20 {
        let calls = address.calls("unwrap");
        assert!(tokio::time::timeout(ms(100), unwrap(&kms)).await.is_err(), "it was let through");
        assert_eq!(address.calls("unwrap"), calls + 1);
    }
    address.set(|_, _| Act::Answer);
    for _ in 0..3 {
        unwrap(&kms).await.0.unwrap();
    }
    assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn another_address_serves_while_one_is_out() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, _) = layer(&[&first, &second]);
    save(&kms, 1).await;
    first.set(|_, _| Act::Fail(failure(Cause::Connect)));
    let mut failed = 0;
    for _ in 0..1_000 {
        failed += usize::from(unwrap(&kms).await.0.is_err());
    }
    assert_eq!(
        (failed, second.calls("unwrap")),
        (0, 1_000),
        "the second attempt found it, and it is asked first"
    );
    assert!(kms.healthy());
}
