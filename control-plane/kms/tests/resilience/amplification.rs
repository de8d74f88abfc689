//! A failing KMS gets at most a tenth more to do.

use sealgate_kms::{BreakerSettings, Cause, Settings};

use crate::script::{Act, Address, failure, layer, layer_with, ms, unwrap, wrap};

/// Fails so many of a hundred calls, spread out.
fn failing(percent: usize) -> impl FnMut(&'static str, std::time::Duration) -> Act + Send + 'static {
    let mut sum = 0;
    move |_, _| {
        sum += percent;
        if sum >= 100 {
            sum -= 100;
            Act::Fail(failure(Cause::Server))
        } else {
            Act::After(ms(2))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn under_errors_it_is_at_most_1_1_calls_a_request() {
    // The breaker makes fewer calls of it; without one the budget alone must do.
    let never = BreakerSettings { percent: 1_000, fast_percent: 1_000, ..BreakerSettings::default() };
    for percent in [10, 30, 50, 90, 100] {
        for breaker in [BreakerSettings::default(), never.clone()] {
            let settings = Settings { breaker, ..Settings::default() };
            let (first, second) = (Address::new(failing(percent)), Address::new(failing(percent)));
            let (kms, _) = layer_with(&[&first, &second], settings);
            let (mut requests, mut failed) = (0, 0);
            for _ in 0..2_000 {
                requests += 2;
                failed +=
                    usize::from(unwrap(&kms).await.0.is_err()) + usize::from(wrap(&kms).await.0.is_err());
                tokio::time::advance(ms(10)).await;
            }
            let calls = first.all_calls() + second.all_calls();
            println!("{percent} % errors: {calls} calls for {requests} requests, {failed} failed");
            assert!(calls * 10 <= requests * 11, "{percent} %: {calls} calls for {requests} requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_calls_hang_too() {
    let mut n = 0;
    let address = Address::new(move |_, _| {
        n += 1;
        if n % 2 == 0 { Act::Hang } else { Act::After(ms(2)) }
    });
    let (kms, _) = layer(&[&address]);
    let (mut requests, mut slowest) = (0, ms(0));
    for _ in 0..2_000 {
        let (_, took) = unwrap(&kms).await;
        requests += 1;
        slowest = slowest.max(took);
    }
    assert!(address.all_calls() * 10 <= requests * 11, "{} calls for {requests}", address.all_calls());
    assert!(slowest <= ms(1_500), "{slowest:?}");
}
