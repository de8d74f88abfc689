//! When a call is made again, and where.

use std::sync::Arc;

use sealgate_kms::{Cause, Kind, Kms as _, KmsError};

use crate::script::{Act, Address, failure, layer, ms, save, server, unwrap, wrap};

/// The first fails in this way; the calls to both, and whether the caller got its answer.
async fn second_chance(error: KmsError) -> ([usize; 2], bool) {
    let (first, second) = (Address::good(), Address::good());
    let (kms, _) = layer(&[&first, &second]);
    save(&kms, 1).await;
    first.forget();
    first.set(move |_, _| Act::Fail(error.clone()));
    let (result, took) = wrap(&kms).await;
    assert!(took <= ms(100), "the pause is at most 100 ms: {took:?}");
    ([first.all_calls(), second.all_calls()], result.is_ok())
}

#[tokio::test(start_paused = true)]
async fn another_address_gets_the_second_attempt_unless_the_first_gave_an_answer() {
    for cause in [Cause::Connect, Cause::Timeout, Cause::Server, Cause::Sealed] {
        assert_eq!(second_chance(failure(cause)).await, ([1, 1], true), "{cause:?}");
    }
    let key = || "kms/key".to_owned();
    for error in [
        KmsError::Denied(key()),
        KmsError::NotFound(key()),
        KmsError::BadCiphertext,
        KmsError::Unsupported(key()),
        failure(Cause::Local),
    ] {
        assert_eq!(second_chance(error.clone()).await, ([1, 0], false), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_address_gets_it_too_but_not_while_it_is_sealed() {
    for (cause, calls) in [(Cause::Server, 2), (Cause::Sealed, 1)] {
        let address = Address::good();
        let (kms, _) = layer(&[&address]);
        save(&kms, 3).await;
        address.forget();
        address.set(move |_, _| Act::Fail(failure(cause)));
        assert_eq!(wrap(&kms).await.0, Err(failure(cause)));
        assert_eq!(address.calls("wrap"), calls, "{cause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_are_spread_over_their_whole_length() {
    let address = Address::good();
    let (kms, _) = layer(&[&address]);
    let mut pauses = Vec::new();
    for _ in 0..40 {
        save(&kms, 1).await;
        let mut fails = true;
        address.set(move |_, _| if std::mem::take(&mut fails) { server() } else { Act::Answer });
        let (result, took) = unwrap(&kms).await;
        result.unwrap();
        pauses.push(took);
    }
    assert!(pauses.iter().all(|it| *it <= ms(100)));
    assert!(pauses.iter().any(|it| *it < ms(25)) && pauses.iter().any(|it| *it > ms(75)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_kek_is_never_sent_twice_unless_nobody_heard_it() {
    for (cause, calls) in [
        (Cause::Connect, [1, 1]),
        (Cause::Standby, [1, 1]),
        (Cause::Timeout, [1, 0]),
        (Cause::Server, [1, 0]),
        (Cause::Sealed, [1, 0]),
    ] {
        let (first, second) = (Address::good(), Address::good());
        let (kms, _) = layer(&[&first, &second]);
        save(&kms, 2).await;
        first.set(move |_, _| Act::Fail(failure(cause)));
        let result = kms.rotate("kms/key").await;
        assert_eq!([first.calls("rotate"), second.calls("rotate")], calls, "{cause:?}");
        assert_eq!(result.is_ok(), calls[1] == 1, "{cause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_breaker_is_open_gets_no_second_attempt() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, told) = layer(&[&first, &second]);
    save(&kms, 10).await;
    // The second one's breaker opens, by calls that the first one failed.
    let sick: Arc<_> = Arc::clone(&second);
    sick.set(|_, _| Act::Fail(failure(Cause::Connect)));
    first.set(|_, _| Act::Fail(failure(Cause::Server)));
    for _ in 0..5 {
        assert!(unwrap(&kms).await.0.is_err());
    }
    assert_eq!(second.calls("unwrap"), 5);
    first.set(|_, _| Act::Answer);
    save(&kms, 3).await;
    first.set(|_, _| Act::Fail(failure(Cause::Server)));
    assert!(unwrap(&kms).await.0.is_err());
    assert_eq!(second.calls("unwrap"), 5, "the first one has it again");
    assert_eq!(told.kinds(Kind::Retry), 6);
}
