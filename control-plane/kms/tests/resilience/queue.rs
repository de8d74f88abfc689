//! More calls than a KMS takes: bounded, in order, to their own deadlines.

use futures_util::future::join_all;
use sealgate_kms::{Cause, Kms as _, KmsError, Settings};
use tokio::time::{Duration, Instant};

use crate::script::{Act, Address, failure, layer, layer_with, ms, unwrap, wrap};

/// So many wraps at once.
async fn at_once(kms: &sealgate_kms::Resilient, many: usize) -> Vec<(Result<(), KmsError>, Duration)> {
    join_all((0..many).map(|_| wrap(kms))).await
}

#[tokio::test(start_paused = true)]
async fn a_hanging_kms_binds_a_bounded_number_of_calls() {
    let address = Address::new(|_, _| Act::Hang);
    let (kms, told) = layer(&[&address]);
    let results = at_once(&kms, 2_000).await;
    assert_eq!(address.most(), 64);
    let refused = |text: &str| {
        let full = |it: &&(Result<(), KmsError>, Duration)| matches!(&it.0, Err(KmsError::Unavailable(Cause::Refused(_), said)) if said.contains(text));
        results.iter().filter(full).map(|(_, took)| *took).collect::<Vec<_>>()
    };
    let full = refused("calls wait for it already");
    assert_eq!((full.len(), full.iter().max()), (2_000 - 64 - 1_024, Some(&ms(0))), "those are told at once");
    assert!(results.iter().all(|(result, took)| result.is_err() && *took <= ms(1_500)));
    // The first 64 opened the breaker; whoever waited is told so, instead of waiting for his own time-out.
    assert_eq!(refused("asked again").len(), 1_024);
    assert_eq!(address.calls("wrap"), 64);
    assert_eq!(told.queued.lock().unwrap().len(), 1_024);
    let view = kms.view();
    assert_eq!((view.in_flight, view.waiting), (0, 0), "everything was given back");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_does_so_to_his_own_deadline() {
    let address = Address::new(|_, _| Act::After(ms(399)));
    let (kms, _) = layer_with(&[&address], Settings { in_flight: 1, ..Settings::default() });
    let results = at_once(&kms, 10).await;
    let times: Vec<_> = results.iter().map(|(result, took)| (result.is_ok(), took.as_millis())).collect();
    assert_eq!(times[..3], [(true, 399), (true, 798), (true, 1_197)]);
    assert!(times[3..].iter().all(|it| *it == (false, 1_500)), "{times:?}");
    assert!(matches!(results[9].0, Err(KmsError::Unavailable(Cause::Refused(_), _))), "{:?}", results[9].0);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_gives_his_place_back() {
    let address = Address::new(|_, _| Act::After(ms(300)));
    let (kms, _) = layer_with(&[&address], Settings { in_flight: 1, waiting: 1, ..Settings::default() });
    for _ in 0..50 {
        // One is under way, one waits; both are given up.
        assert!(tokio::time::timeout(ms(100), at_once(&kms, 2)).await.is_err());
    }
    assert_eq!((kms.view().in_flight, kms.view().waiting), (0, 0));
    assert_eq!(wrap(&kms).await, (Ok(()), ms(300)));
    let slow = kms.clone();
    let first = tokio::spawn(async move { wrap(&slow).await });
    tokio::task::yield_now().await;
    let hung_up = tokio::spawn({
        let kms = kms.clone();
        async move { wrap(&kms).await }
    });
    tokio::task::yield_now().await;
    hung_up.abort();
    assert!(hung_up.await.is_err());
    assert_eq!(wrap(&kms).await.0, Ok(()), "the place in the queue is free");
    assert_eq!(first.await.unwrap().0, Ok(()), "nobody else fails");
}

#[tokio::test(start_paused = true)]
async fn changes_of_keks_have_places_of_their_own() {
    let address = Address::new(|what, _| if what == "destroy" { Act::Hang } else { Act::Answer });
    let (kms, _) = layer(&[&address]);
    let destroying = join_all((0..100).map(|_| kms.destroy("kms/key")));
    tokio::select! {
        biased;
        _ = destroying => panic!("they hang"),
        () = async {
            assert_eq!(unwrap(&kms).await, (Ok(()), ms(0)));
            assert_eq!(address.calls("destroy"), 4);
        } => {}
    }
}

/// A KMS that takes so many calls a second, and throttles the rest.
fn throttling(rate: u64) -> impl FnMut(&'static str, Duration) -> Act + Send + 'static {
    let mut free_at = Duration::ZERO;
    move |_, now| {
        if now + ms(100) < free_at {
            return Act::Fail(KmsError::Throttled(None, "as the test wants it".to_owned()));
        }
        free_at = free_at.max(now) + Duration::from_secs(1) / u32::try_from(rate).unwrap();
        Act::Answer
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttling_kms_gets_what_it_takes_and_nobody_waits_longer_than_his_deadline() {
    let address = Address::new(throttling(50));
    let (kms, _) = layer(&[&address]);
    let began = Instant::now();
    // 80 a second for a minute, of which it takes 50.
    let mut calls = Vec::new();
    for _ in 0..4_800 {
        let kms = kms.clone();
        calls.push(tokio::spawn(async move { unwrap(&kms).await }));
        tokio::time::sleep(Duration::from_micros(12_500)).await;
    }
    let mut served = 0;
    for call in calls {
        let (result, took) = call.await.unwrap();
        assert!(took <= ms(1_500));
        match result {
            Ok(()) => served += 1,
            Err(KmsError::Throttled(after, _)) => assert!(after.is_none_or(|it| it <= ms(10_000))),
            Err(other) => panic!("never anything else: {other}"),
        }
    }
    let seconds = began.elapsed().as_secs();
    println!("{served} served in {seconds} s at 50 a second, by {} calls", address.calls("unwrap"));
    let (taken, made) = (50 * seconds, address.calls("unwrap") as u64);
    assert!(served >= taken * 65 / 100, "{served} of {taken} that it takes");
    assert!(made <= taken * 12 / 10, "{made} calls for {taken} that it takes");
    // It recovers: the limit is lifted again.
    address.set(|_, _| Act::Answer);
    for _ in 0..60 {
        unwrap(&kms).await.0.unwrap();
        tokio::time::advance(ms(1_000)).await;
    }
    assert_eq!(kms.view().limit_per_second, None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_throttle_is_told_after_his_deadline() {
    let after = Some(Duration::from_secs(5));
    let address = Address::new(move |_, _| Act::Fail(KmsError::Throttled(after, "later".to_owned())));
    let (kms, _) = layer(&[&address]);
    assert!(matches!(unwrap(&kms).await.0, Err(KmsError::Throttled(..))));
    let (result, took) = unwrap(&kms).await;
    assert_eq!(took, ms(1_500));
    let Err(KmsError::Throttled(Some(after), _)) = result else { panic!("{result:?}") };
    assert_eq!((after, address.calls("unwrap")), (ms(3_500), 1), "what is left of the five seconds");
}

#[tokio::test(start_paused = true)]
async fn nobody_queues_for_what_is_not_going_to_be_asked() {
    let address = Address::new(|what, _| match what {
        "unwrap" => Act::Fail(failure(Cause::Connect)),
        _ => Act::Hang,
    });
    let (kms, _) = layer_with(&[&address], Settings { in_flight: 1, ..Settings::default() });
    for _ in 0..5 {
        assert!(unwrap(&kms).await.0.is_err());
    }
    let busy = tokio::spawn({
        let kms = kms.clone();
        async move { wrap(&kms).await }
    });
    while address.calls("wrap") == 0 {
        tokio::task::yield_now().await;
    }
    let (result, took) = unwrap(&kms).await;
    assert!(matches!(result, Err(KmsError::Unavailable(Cause::Refused(_), _))), "{result:?}");
    assert_eq!(took, ms(0), "though the only place is taken");
    assert!(busy.await.unwrap().0.is_err());
}
