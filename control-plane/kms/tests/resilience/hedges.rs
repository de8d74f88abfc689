//! Unwraps that take longer than nearly all do.

use sealgate_kms::{BreakerSettings, Cause, Kind, Kms as _, KmsError, Operation, Phase, Sample, Settings};

use crate::script::{Act, Address, failure, layer, layer_with, ms, phase, save, unwrap, wrap};

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_answered_by_another_address_which_is_asked_first_from_then_on() {
    let (first, second) = (Address::good(), Address::new(|_, _| Act::After(ms(5))));
    let (kms, told) = layer(&[&first, &second]);
    save(&kms, 3).await;
    first.set(|_, _| Act::Hang);
    let (result, took) = unwrap(&kms).await;
    result.unwrap();
    assert_eq!(took, ms(10 + 5), "95 % take nothing, so after the least time");
    for _ in 0..20 {
        assert_eq!(unwrap(&kms).await, (Ok(()), ms(5)));
    }
    assert_eq!(told.kinds(Kind::Hedge), 1);
}

#[tokio::test(start_paused = true)]
async fn to_be_beaten_by_another_address_counts_as_a_failure() {
    let (first, second) = (Address::good(), Address::good());
    let breaker = BreakerSettings { fast_calls: 1, fast_percent: 1, ..BreakerSettings::default() };
    let (kms, _) = layer_with(&[&first, &second], Settings { breaker, ..Settings::default() });
    save(&kms, 1).await;
    first.set(|_, _| Act::After(ms(399)));
    unwrap(&kms).await.0.unwrap();
    assert_eq!(
        (phase(&kms, 0, Operation::Unwrap), phase(&kms, 1, Operation::Unwrap)),
        (Phase::Open, Phase::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_after_which_it_comes_follows_what_calls_take() {
    let address = Address::new(|_, _| Act::After(ms(60)));
    let (kms, told) = layer(&[&address]);
    save(&kms, 3).await;
    assert_eq!(told.kinds(Kind::Hedge), 0);
    let mut first = true;
    address.set(move |_, _| if std::mem::take(&mut first) { Act::Hang } else { Act::After(ms(60)) });
    assert_eq!(unwrap(&kms).await, (Ok(()), ms(120)), "over a second connection to the same address");
    assert_eq!((told.kinds(Kind::Hedge), phase(&kms, 0, Operation::Unwrap)), (1, Phase::Closed));
}

#[tokio::test(start_paused = true)]
async fn it_counts_as_the_second_attempt_and_against_the_budget() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, told) = layer(&[&first, &second]);
    save(&kms, 2).await;
    first.set(|_, _| Act::Hang);
    second.set(|_, _| Act::Fail(failure(Cause::Server)));
    first.forget();
    let (result, took) = unwrap(&kms).await;
    assert!(
        matches!(result, Err(KmsError::Unavailable(Cause::Timeout, _))),
        "the first was waited for: {result:?}"
    );
    assert_eq!((took, first.all_calls(), second.all_calls()), (ms(400), 1, 1));
    assert_eq!(
        (told.kinds(Kind::Hedge), told.kinds(Kind::Retry)),
        (1, 0),
        "there was one saved for a third attempt"
    );
    for _ in 0..2 {
        assert!(unwrap(&kms).await.0.is_err());
    }
    assert_eq!((told.kinds(Kind::Hedge), told.kinds(Kind::Retry)), (2, 0), "nothing saved any more");
}

#[tokio::test(start_paused = true)]
async fn nothing_but_unwraps_is_hedged() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, told) = layer(&[&first, &second]);
    save(&kms, 1).await;
    first.set(|_, _| Act::After(ms(390)));
    assert_eq!(wrap(&kms).await, (Ok(()), ms(390)));
    assert_eq!((told.kinds(Kind::Hedge), second.all_calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_ends_it() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, _) = layer(&[&first, &second]);
    save(&kms, 1).await;
    first.set(|_, _| Act::Hang);
    second.set(|_, _| Act::Fail(KmsError::Denied("kms/key".to_owned())));
    assert_eq!(unwrap(&kms).await, (Err(KmsError::Denied("kms/key".to_owned())), ms(100)));
}

/// The other one may lie in another region. It has the calls while the first is slow, and not a moment longer than an examination
/// takes to come by.
#[tokio::test(start_paused = true)]
async fn the_first_address_has_the_calls_again_once_an_examination_finds_it_well() {
    let (first, second) = (Address::good(), Address::new(|_, _| Act::After(ms(5))));
    let (kms, told) = layer(&[&first, &second]);
    save(&kms, 3).await;
    first.set(|what, _| if what == "unwrap" { Act::After(ms(450)) } else { Act::Answer });
    unwrap(&kms).await.0.unwrap();
    let sample = Sample::Kek("kms/key".to_owned());
    let calls = first.calls("unwrap");
    kms.examine(&sample).await.unwrap();
    assert_eq!(first.calls("unwrap"), calls + 1, "it was tried, by nobody's request");
    assert_eq!(unwrap(&kms).await, (Ok(()), ms(5)), "it is still slow: the second has them");
    first.set(|_, _| Act::Answer);
    kms.examine(&sample).await.unwrap();
    let (hedges, calls) = (told.kinds(Kind::Hedge), second.all_calls());
    assert_eq!(unwrap(&kms).await, (Ok(()), ms(0)), "the first has them again");
    assert_eq!((told.kinds(Kind::Hedge), second.all_calls()), (hedges, calls));
}

/// An address that says that it is ready, and is not the one to go back to.
#[tokio::test(start_paused = true)]
async fn a_standby_and_an_address_that_is_out_get_nothing_back() {
    let (first, second) = (Address::good(), Address::good());
    let (kms, _) = layer(&[&first, &second]);
    save(&kms, 3).await;
    first.set(|_, _| Act::Fail(failure(Cause::Standby)));
    unwrap(&kms).await.0.unwrap();
    first.forget();
    kms.examine(&Sample::Kek("kms/key".to_owned())).await.unwrap();
    assert_eq!((first.calls("unwrap"), kms.view().addresses[1].preferred), (0, true));
    kms.ready().await.unwrap();
}
