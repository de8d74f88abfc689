//! After an outage: soon, and without a herd.

use std::time::Duration;

use sealgate_kms::{Cause, Kms as _, KmsError, Operation, Phase, Resilient, Sample};
use tokio::{task::JoinHandle, time::Instant};

use crate::script::{Act, Address, failure, layer, ms, phase, server, unwrap};

/// Examines the provider as its health actor does: every 4 to 5 s.
fn examined(kms: &Resilient) -> JoinHandle<()> {
    let kms = kms.clone();
    tokio::spawn(async move {
        for n in 0_u64.. {
            let _ = kms.examine(&Sample::Kek("kms/key".to_owned())).await;
            tokio::time::sleep(ms(4_000 + n * 377 % 1_000)).await;
        }
    })
}

/// A hundred callers a second, for so long; how many were served.
async fn load(kms: &Resilient, time: Duration) -> usize {
    load_every(kms, time, ms(10)).await
}

async fn load_every(kms: &Resilient, time: Duration, pause: Duration) -> usize {
    let (end, mut calls) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let kms = kms.clone();
        calls.push(tokio::spawn(async move { unwrap(&kms).await }));
        tokio::time::sleep(pause).await;
    }
    let mut served = 0;
    for call in calls {
        let (result, took) = call.await.unwrap();
        assert!(took <= ms(1_500), "{took:?}");
        served += usize::from(result.is_ok());
    }
    served
}

async fn recovers(outage: Act) {
    let address = Address::new(|_, _| Act::After(ms(2)));
    let (kms, _) = layer(&[&address]);
    let examiner = examined(&kms);
    assert!(load(&kms, ms(5_000)).await >= 499);
    address.set(move |_, _| outage.clone());
    load(&kms, ms(10_000)).await;
    assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Open);
    // Minutes: the breaker is open for a minute at a time by then.
    address.forget();
    load_every(&kms, Duration::from_secs(600), ms(100)).await;
    assert!(address.most() <= 1, "{} probes at a time", address.most());
    assert!(address.all_calls() <= 60, "{} calls in ten minutes", address.all_calls());

    address.set(|_, _| Act::After(ms(2)));
    let back = Instant::now();
    while phase(&kms, 0, Operation::Unwrap) != Phase::Closed {
        let _ = unwrap(&kms).await;
        tokio::time::sleep(ms(10)).await;
        assert!(address.most() <= 1, "recovering it met a herd");
    }
    println!("closed after {:?}", back.elapsed());
    assert!(back.elapsed() <= Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(load(&kms, ms(1_000)).await, 100);
    examiner.abort();
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_of_refused_connections_it_serves_within_ten_seconds() {
    recovers(Act::Fail(failure(Cause::Connect))).await;
}

#[tokio::test(start_paused = true)]
async fn and_after_ten_minutes_of_silence() {
    recovers(Act::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn without_callers_the_examination_closes_every_breaker() {
    let down = || Act::Fail(failure(Cause::Sealed));
    let address = Address::new(move |_, _| down());
    let (kms, _) = layer(&[&address]);
    let ik = sealgate_envelope::Ik::generate().unwrap();
    for _ in 0..30 {
        let _ = kms.current_version("kms/key").await;
        let _ = kms.wrap("kms/key", "1", b"", &ik).await;
        let _ = unwrap(&kms).await;
    }
    let operations = [Operation::CurrentVersion, Operation::Wrap, Operation::Unwrap];
    assert!(operations.into_iter().all(|operation| phase(&kms, 0, operation) == Phase::Open));
    let sample = Sample::Kek("kms/key".to_owned());
    let calls = address.all_calls();
    assert_eq!(kms.examine(&sample).await, Err(failure(Cause::Sealed)));
    assert_eq!(address.all_calls(), calls, "what says that it is sealed is not asked for keys");
    address.set(|_, _| Act::Answer);
    kms.examine(&sample).await.unwrap();
    assert!(kms.healthy());
    assert!(operations.into_iter().all(|operation| phase(&kms, 0, operation) == Phase::Closed));
}

fn record(wrapped: &[u8]) -> Sample {
    Sample::Record {
        kek: "kms/key".to_owned(),
        version: "1".to_owned(),
        context: b"context".to_vec(),
        wrapped: wrapped.to_vec(),
    }
}

/// Opens the breakers of all operations.
async fn break_all(kms: &Resilient) {
    let ik = sealgate_envelope::Ik::generate().unwrap();
    for _ in 0..30 {
        let _ = kms.current_version("kms/key").await;
        let _ = kms.wrap("kms/key", "1", b"", &ik).await;
        let _ = unwrap(kms).await;
        let _ = kms.rotate("kms/key").await;
    }
    assert!(Operation::ALL.into_iter().all(|operation| phase(kms, 0, operation) == Phase::Open));
}

#[tokio::test(start_paused = true)]
async fn a_record_closes_every_breaker_that_keys_need() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, _) = layer(&[&address]);
    break_all(&kms).await;
    address.set(|_, _| Act::Answer);
    kms.examine(&record(&[7; 32])).await.unwrap();
    assert!(kms.healthy());
    assert!(Operation::ON_KEYS.into_iter().all(|operation| phase(&kms, 0, operation) == Phase::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_kek_that_may_only_decrypt_closes_every_breaker_too() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, _) = layer(&[&address]);
    break_all(&kms).await;
    address.set(|what, _| match what {
        "current_version" | "wrap" => Act::Fail(KmsError::Denied("kms/key".to_owned())),
        _ => Act::Answer,
    });
    kms.examine(&record(&[7; 32])).await.unwrap();
    assert!(kms.healthy(), "{:?}", kms.view());
}

/// It says that it is ready, and nothing works: what cannot be probed for want of the operation before it is left to callers every
/// other time, so that it closes where only that one is broken, and they do not wait for it each time.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_probed_is_left_to_callers_every_other_time() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, _) = layer(&[&address]);
    break_all(&kms).await;
    address.set(|what, _| if what == "ready" { Act::Answer } else { server() });
    let mut reached = Vec::new();
    for _ in 0..6 {
        let _ = kms.examine(&Sample::Kek("kms/key".to_owned())).await;
        let before = address.calls("unwrap");
        assert!(unwrap(&kms).await.0.is_err());
        reached.push(address.calls("unwrap") > before);
        tokio::time::sleep(ms(4_000)).await;
    }
    assert_eq!(reached, [true, false, true, false, true, false]);
}

/// An examination that has nothing to probe with, or that never tries what manages keys, must not keep off those who call.
#[tokio::test(start_paused = true)]
async fn what_an_examination_cannot_probe_is_left_to_callers() {
    let address = Address::new(|_, _| Act::Fail(failure(Cause::Connect)));
    let (kms, _) = layer(&[&address]);
    break_all(&kms).await;
    let ik = sealgate_envelope::Ik::generate().unwrap();
    address.set(|_, _| Act::Answer);
    let back = Instant::now();
    while !kms.healthy() || phase(&kms, 0, Operation::Manage) != Phase::Closed {
        let _ = kms.examine(&Sample::Nothing).await;
        for _ in 0..40 {
            let _ = kms.current_version("kms/key").await;
            let _ = kms.wrap("kms/key", "1", b"", &ik).await;
            let _ = unwrap(&kms).await;
            let _ = kms.rotate("kms/key").await;
            tokio::time::sleep(ms(100)).await;
        }
        assert!(back.elapsed() <= Duration::from_secs(10), "{:?}: {:?}", back.elapsed(), kms.view());
    }
}

#[tokio::test(start_paused = true)]
async fn an_examination_finds_what_does_not_open() {
    let address = Address::good();
    let (kms, _) = layer(&[&address]);
    assert_eq!(kms.examine(&record(&[7; 32])).await, Ok(()));
    assert_eq!(kms.examine(&record(b"short")).await, Err(KmsError::BadCiphertext));
    assert_eq!(kms.examine(&Sample::Nothing).await, Ok(()));
    assert_eq!((address.calls("ready"), address.calls("unwrap")), (3, 2), "each keeps the connection warm");
    address.set(|_, _| Act::Fail(failure(Cause::Connect)));
    assert_eq!(kms.examine(&Sample::Nothing).await, Err(failure(Cause::Connect)));
}

#[tokio::test(start_paused = true)]
async fn an_examination_finds_a_key_that_comes_back_as_another() {
    let address = Address::good();
    let (kms, _) = layer(&[&address]);
    let sample = Sample::Kek("kms/key".to_owned());
    assert_eq!(kms.examine(&sample).await, Ok(()));
    address.alter();
    assert_eq!(kms.examine(&sample).await, Err(KmsError::BadCiphertext));
}

#[tokio::test(start_paused = true)]
async fn flapping_every_seven_seconds_it_serves_most_of_the_time_that_it_is_up() {
    let up = |now: Duration| (now.as_secs() / 7).is_multiple_of(2);
    let address = Address::new(move |_, now| if up(now) { Act::After(ms(2)) } else { Act::Hang });
    let (kms, _) = layer(&[&address]);
    let examiner = examined(&kms);
    let served = load(&kms, Duration::from_secs(280)).await;
    let requests = 28_000;
    println!("flapping: {served} of {requests} served, {} calls", address.all_calls());
    assert!(served * 10 >= requests / 2 * 3, "{served} of {} that could be", requests / 2);
    assert!(address.all_calls() * 10 <= requests * 11);
    address.set(|_, _| Act::Answer);
    let back = Instant::now();
    while phase(&kms, 0, Operation::Unwrap) != Phase::Closed {
        let _ = unwrap(&kms).await;
        tokio::time::sleep(ms(10)).await;
    }
    assert!(back.elapsed() <= Duration::from_secs(10), "{:?}", back.elapsed());
    examiner.abort();
}

/// A probe that hangs costs whoever makes it an attempt's time. While somebody looks after the provider no caller makes one.
#[tokio::test(start_paused = true)]
async fn while_a_breaker_is_open_and_the_provider_is_looked_after_no_caller_waits() {
    let address = Address::good();
    let (kms, _) = layer(&[&address]);
    let examiner = examined(&kms);
    load(&kms, ms(5_000)).await;
    address.set(|_, _| Act::Hang);
    load(&kms, ms(2_000)).await;
    assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Open);
    for _ in 0..600 {
        let (result, took) = unwrap(&kms).await;
        assert!(matches!(result, Err(KmsError::Unavailable(Cause::Refused(_), _))), "{result:?}");
        assert_eq!(took, ms(0));
        tokio::time::sleep(ms(100)).await;
    }
    examiner.abort();
    // Nobody does any more: callers find out by themselves.
    address.set(|_, _| Act::Answer);
    let back = Instant::now();
    while unwrap(&kms).await.0.is_err() {
        tokio::time::sleep(ms(100)).await;
    }
    assert!(back.elapsed() <= Duration::from_secs(80), "{:?}", back.elapsed());
}
