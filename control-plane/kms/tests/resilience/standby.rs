//! Several nodes of one cluster, of which one serves.

use sealgate_kms::{Cause, Kind, KmsError, Operation, Phase};

use crate::script::{Act, Address, failure, layer, ms, phase, save, unwrap, wrap};

fn standby() -> Act {
    Act::Fail(failure(Cause::Standby))
}

#[tokio::test(start_paused = true)]
async fn a_standby_costs_one_call_and_is_remembered() {
    let (first, second, leader) =
        (Address::new(|_, _| standby()), Address::new(|_, _| standby()), Address::good());
    let (kms, told) = layer(&[&first, &second, &leader]);
    let (result, took) = unwrap(&kms).await;
    result.unwrap();
    assert_eq!(took, ms(0), "at once");
    for _ in 0..100 {
        wrap(&kms).await.0.unwrap();
        unwrap(&kms).await.0.unwrap();
    }
    assert_eq!([first.all_calls(), second.all_calls(), leader.all_calls()], [1, 1, 201]);
    assert_eq!(told.kinds(Kind::Hop), 2);
    let view = kms.view();
    let standing: Vec<_> = view.addresses.iter().map(|it| (it.preferred, it.standby)).collect();
    assert_eq!(standing, [(false, true), (false, true), (true, false)]);
}

#[tokio::test(start_paused = true)]
async fn warmed_up_it_knows_the_standbys_before_the_first_call() {
    let (first, leader) = (Address::new(|_, _| standby()), Address::good());
    let (kms, _) = layer(&[&first, &leader]);
    kms.warm().await;
    unwrap(&kms).await.0.unwrap();
    assert_eq!((first.all_calls(), first.calls("ready"), leader.calls("ready")), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_changes_calls_follow_it() {
    let (first, second) = (Address::good(), Address::new(|_, _| standby()));
    let (kms, _) = layer(&[&first, &second]);
    unwrap(&kms).await.0.unwrap();
    first.set(|_, _| standby());
    second.set(|_, _| Act::Answer);
    for _ in 0..50 {
        unwrap(&kms).await.0.unwrap();
    }
    assert_eq!([first.all_calls(), second.all_calls()], [2, 50]);
    assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_standby_beside_a_leader_does_what_it_should() {
    let (leader, other) = (Address::good(), Address::new(|_, _| standby()));
    let (kms, _) = layer(&[&leader, &other]);
    for n in 1..=12 {
        leader.set(|_, _| Act::Answer);
        save(&kms, 1).await;
        leader.set(|_, _| Act::Fail(failure(Cause::Server)));
        assert_eq!(unwrap(&kms).await.0, Err(failure(Cause::Standby)));
        assert_eq!(other.calls("unwrap"), n, "the second attempt");
    }
    assert_eq!(phase(&kms, 1, Operation::Unwrap), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_each_call_costs_one_and_the_breakers_open() {
    let (first, second) = (Address::new(|_, _| standby()), Address::new(|_, _| standby()));
    let (kms, _) = layer(&[&first, &second]);
    let mut asked = 0;
    for _ in 0..100 {
        match unwrap(&kms).await.0.unwrap_err() {
            KmsError::Unavailable(Cause::Standby, _) => asked += 1,
            KmsError::Unavailable(Cause::Refused(after), _) => assert!(after <= ms(6_000)),
            other => panic!("{other}"),
        }
    }
    let calls = first.all_calls() + second.all_calls();
    assert!(asked >= 15 && calls <= asked + 2, "{calls} calls for {asked}");
    assert_eq!(phase(&kms, 0, Operation::Unwrap), Phase::Open);
    assert_eq!(phase(&kms, 1, Operation::Unwrap), Phase::Open);
    // Elected: the next probes find it, though the other one is open or a standby.
    second.set(|_, _| Act::Answer);
    tokio::time::advance(ms(6_000)).await;
    for _ in 0..4 {
        let _ = unwrap(&kms).await;
    }
    unwrap(&kms).await.0.unwrap();
    assert_eq!(phase(&kms, 1, Operation::Unwrap), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn warmed_up_it_turns_first_to_an_address_that_answers() {
    let (away, good) = (Address::new(|_, _| Act::Fail(failure(Cause::Connect))), Address::good());
    let (kms, _) = layer(&[&away, &good]);
    kms.warm().await;
    // Nothing is saved yet for a second attempt.
    unwrap(&kms).await.0.unwrap();
    assert_eq!([away.all_calls(), good.all_calls()], [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_elsewhere_open_no_breaker() {
    let elsewhere = || Act::Fail(failure(Cause::Elsewhere));
    let (home, replica) =
        (Address::new(|_, _| Act::Fail(failure(Cause::Connect))), Address::new(move |_, _| elsewhere()));
    let (kms, _) = layer(&[&home, &replica]);
    for _ in 0..60 {
        let error = unwrap(&kms).await.0.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(phase(&kms, 1, Operation::Unwrap), Phase::Closed, "it works");
    replica.set(|_, _| Act::Answer);
    unwrap(&kms).await.0.unwrap();
}

/// Of a rotation that a standby has not heard of yet: it says that it does not know the version. Another node opens it, and nobody
/// keeps that it was refused.
#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_know_the_version_yet_refuses_nothing() {
    let (lagging, active) = (Address::good(), Address::good());
    let (kms, _) = layer(&[&lagging, &active]);
    lagging.set(|_, _| Act::Fail(failure(Cause::Elsewhere)));
    unwrap(&kms).await.0.unwrap();
    assert_eq!((lagging.calls("unwrap"), active.calls("unwrap")), (1, 1));
    active.set(|_, _| Act::Fail(failure(Cause::Elsewhere)));
    assert_eq!(
        unwrap(&kms).await.0,
        Err(failure(Cause::Elsewhere)),
        "no node knows it: unavailable, not refused"
    );
    active.set(|_, _| Act::Answer);
    unwrap(&kms).await.0.unwrap();
}
