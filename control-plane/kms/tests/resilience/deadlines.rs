//! Nobody waits longer than the design says.

use sealgate_kms::{Cause, Kms as _, KmsError, Operation, Outcome};
use tokio::time::Instant;

use crate::script::{Act, Address, layer, ms, save, unwrap, wrap};

#[tokio::test(start_paused = true)]
async fn an_attempt_has_400_ms_and_a_call_two_of_them_within_its_time() {
    let address = Address::new(|_, _| Act::Hang);
    let (kms, told) = layer(&[&address]);
    let (result, took) = wrap(&kms).await;
    let Err(KmsError::Unavailable(Cause::Timeout, text)) = result else { panic!("{result:?}") };
    assert_eq!((took, text.as_str()), (ms(400), "kms (one): no answer within 400 ms"));
    assert_eq!(address.calls("wrap"), 1, "nothing saved, no second attempt");

    address.set(|_, _| Act::Answer);
    save(&kms, 2).await;
    address.set(|_, _| Act::Hang);
    address.forget();
    let (result, took) = wrap(&kms).await;
    assert!(matches!(result, Err(KmsError::Unavailable(Cause::Timeout, _))), "{result:?}");
    assert!(took >= ms(800) && took <= ms(900), "two attempts and a pause of at most 100 ms: {took:?}");
    assert_eq!(address.calls("wrap"), 2);
    let (result, took) = unwrap(&kms).await;
    assert!(result.is_err() && took <= ms(1_500), "{took:?}");
    let told = told.calls.lock().unwrap();
    let (operation, outcome, took) = told.first().copied().unwrap();
    assert_eq!((operation, outcome, took), (Operation::Wrap, Outcome::Failed(Cause::Timeout), ms(400)));
}

#[tokio::test(start_paused = true)]
async fn what_changes_a_kek_has_ten_seconds() {
    let address = Address::new(|what, _| if what == "rotate" { Act::After(ms(9_000)) } else { Act::Hang });
    let (kms, _) = layer(&[&address]);
    kms.rotate("kms/key").await.unwrap();
    let began = Instant::now();
    let result = kms.destroy("kms/key").await;
    assert!(matches!(result, Err(KmsError::Unavailable(Cause::Timeout, _))), "{result:?}");
    assert_eq!(began.elapsed(), ms(10_000));
}
