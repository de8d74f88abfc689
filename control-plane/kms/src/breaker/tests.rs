//! The state machine: its rules one by one, then whatever happens in whatever order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::{
    prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest},
    test_runner::TestCaseError,
};

use super::{Breaker, BreakerSettings, Pass, Phase, Verdict};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn breaker() -> Breaker {
    Breaker::new(BreakerSettings::default(), 7)
}

/// A call that ends at once.
fn call(breaker: &mut Breaker, verdict: Verdict, now: Duration) -> Option<Phase> {
    let pass = breaker.admit(now).expect("let through");
    breaker.record(pass, verdict, now)
}

/// Opens it by connections; gives when.
fn opened(breaker: &mut Breaker, now: Duration) -> Duration {
    for _ in 0..4 {
        assert_eq!(call(breaker, Verdict::NoConnection, now), None);
    }
    assert_eq!(call(breaker, Verdict::NoConnection, now), Some(Phase::Open));
    now
}

#[test]
fn half_of_twenty_calls_in_ten_seconds_open_it() {
    let mut breaker = breaker();
    for n in 0..19 {
        let verdict = if n % 2 == 0 { Verdict::Failed } else { Verdict::Answered };
        assert_eq!(call(&mut breaker, verdict, ms(n * 500)), None, "call {n}");
    }
    assert_eq!(call(&mut breaker, Verdict::Answered, ms(9_500)), None, "a success opens nothing");
    assert_eq!(call(&mut breaker, Verdict::Failed, ms(9_600)), Some(Phase::Open));
}

#[test]
fn less_than_half_or_fewer_than_twenty_do_not() {
    let mut breaker = breaker();
    for n in 0..1_000 {
        let verdict = if n % 5 < 2 { Verdict::Failed } else { Verdict::Answered };
        assert_eq!(call(&mut breaker, verdict, ms(n * 20)), None, "40 %");
    }
    let mut breaker = self::breaker();
    for n in 0..100 {
        assert_eq!(call(&mut breaker, Verdict::Failed, ms(n * 600)), None, "17 in ten seconds");
    }
}

#[test]
fn eight_of_ten_in_a_second_open_it_sooner() {
    let mut breaker = breaker();
    for n in 0..9 {
        let verdict = if n < 2 { Verdict::Answered } else { Verdict::Failed };
        assert_eq!(call(&mut breaker, verdict, ms(n * 100)), None);
    }
    assert_eq!(call(&mut breaker, Verdict::Failed, ms(950)), Some(Phase::Open));
}

#[test]
fn five_failed_connections_in_a_row_open_it_and_an_answer_between_them_does_not_count_as_one() {
    let mut breaker = breaker();
    for n in 0..4 {
        call(&mut breaker, Verdict::NoConnection, ms(n * 11_000));
    }
    call(&mut breaker, Verdict::Answered, ms(44_000));
    opened(&mut breaker, ms(55_000));
}

#[test]
fn what_nobody_knows_counts_for_nothing() {
    let mut breaker = breaker();
    for n in 0..1_000 {
        assert_eq!(call(&mut breaker, Verdict::Unknown, ms(n)), None);
    }
    for n in 0..9 {
        assert_eq!(call(&mut breaker, Verdict::Failed, ms(1_000 + n)), None, "the unknown are no calls");
    }
}

#[test]
fn open_it_refuses_with_the_time_that_is_left_then_three_probes_close_it() {
    let mut breaker = breaker();
    let at = opened(&mut breaker, ms(1_000));
    let left = breaker.admit(at).unwrap_err();
    assert!((ms(4_000)..=ms(6_000)).contains(&left), "5 s ± 20 %: {left:?}");
    assert_eq!(breaker.admit(at + left - ms(1)).unwrap_err(), ms(1));
    let back = at + left;
    for n in 0..3 {
        let probe = breaker.admit(back).unwrap();
        assert!(probe.is_probe() && breaker.probing(back));
        assert_eq!(breaker.admit(back).unwrap_err(), ms(1_000), "one at a time");
        assert_eq!(breaker.record(probe, Verdict::Answered, back), (n == 2).then_some(Phase::Closed));
    }
    assert_eq!(call(&mut breaker, Verdict::Failed, back), None, "closed, and nothing of before counts");
}

#[test]
fn a_probe_that_fails_doubles_the_time_up_to_a_minute_and_closing_starts_anew() {
    let mut breaker = breaker();
    let mut now = opened(&mut breaker, ms(0));
    for seconds in [5, 10, 20, 40, 60, 60, 60] {
        let left = breaker.admit(now).unwrap_err();
        assert!((ms(seconds * 800)..=ms(seconds * 1_200)).contains(&left), "{seconds} s ± 20 %: {left:?}");
        now += left;
        assert_eq!(call(&mut breaker, Verdict::Failed, now), Some(Phase::Open));
    }
    assert!(breaker.answers_again(now));
    for _ in 0..3 {
        call(&mut breaker, Verdict::Answered, now);
    }
    opened(&mut breaker, now);
    assert!(breaker.admit(now).unwrap_err() <= ms(6_000));
}

#[test]
fn openings_are_spread() {
    let lengths = (0..50).map(|seed| {
        let mut breaker = Breaker::new(BreakerSettings::default(), seed);
        let at = opened(&mut breaker, ms(0));
        breaker.admit(at).unwrap_err()
    });
    let lengths: Vec<_> = lengths.collect();
    assert!(lengths.iter().any(|it| *it < ms(4_600)) && lengths.iter().any(|it| *it > ms(5_400)));
}

#[test]
fn calls_from_before_it_opened_say_nothing_afterwards() {
    let mut breaker = breaker();
    let (early, late) = (breaker.admit(ms(0)).unwrap(), breaker.admit(ms(0)).unwrap());
    let at = opened(&mut breaker, ms(0));
    let back = at + breaker.admit(at).unwrap_err();
    let probe = breaker.admit(back).unwrap();
    assert_eq!(breaker.record(early, Verdict::Failed, back), None);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    breaker.record(probe, Verdict::Answered, back);
    breaker.record(late, Verdict::Answered, back);
    assert_eq!(call(&mut breaker, Verdict::Answered, back), None, "only probes count: this is the second");
    assert_eq!(call(&mut breaker, Verdict::Answered, back), Some(Phase::Closed));
}

#[test]
fn a_probe_that_is_given_up_makes_room_at_once_and_one_that_is_lost_after_its_lease() {
    let mut breaker = breaker();
    let at = opened(&mut breaker, ms(0));
    let back = at + breaker.admit(at).unwrap_err();
    assert_eq!(call(&mut breaker, Verdict::Unknown, back), None);
    let lost = breaker.admit(back).unwrap();
    assert!(breaker.admit(back + ms(14_999)).is_err());
    let next = breaker.admit(back + ms(15_000)).unwrap();
    assert_eq!(breaker.record(lost, Verdict::Failed, back + ms(15_000)), None, "too late to be believed");
    assert!(breaker.probing(back + ms(15_000)));
    assert_eq!(breaker.record(next, Verdict::Failed, back + ms(15_000)), Some(Phase::Open));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Forward(u64),
    /// The clock goes back for one question.
    Back(u64),
    Admit,
    /// The nth call that is under way ends.
    End(usize, Verdict),
    /// The nth call is never heard of again.
    Lose(usize),
    AnswersAgain,
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        2 => Just(Verdict::Answered),
        2 => Just(Verdict::Failed),
        2 => Just(Verdict::NoConnection),
        1 => Just(Verdict::Unknown),
    ];
    prop_oneof![
        4 => (0_u64..20_000).prop_map(Step::Forward),
        1 => (0_u64..100_000).prop_map(Step::Back),
        8 => Just(Step::Admit),
        8 => (0_usize..50, verdict).prop_map(|(n, verdict)| Step::End(n, verdict)),
        1 => (0_usize..50).prop_map(Step::Lose),
        1 => Just(Step::AnswersAgain),
    ]
}

/// What must hold of a breaker that was driven by some steps, checked at each.
struct Driven {
    breaker: Breaker,
    now: Duration,
    /// The latest time that the breaker was told.
    seen: Duration,
    calls: Vec<(Pass, Duration)>,
    /// When it opened last, unless something said since that it answers again.
    opened: Option<Duration>,
}

impl Driven {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Forward(by) => self.now += ms(by),
            Step::Back(by) => self.admit(self.now.saturating_sub(ms(by)))?,
            Step::Admit => self.admit(self.now)?,
            Step::End(..) | Step::Lose(_) if self.calls.is_empty() => {}
            Step::End(n, verdict) => {
                let (pass, _) = self.calls.swap_remove(n % self.calls.len());
                self.seen = self.now;
                if self.breaker.record(pass, verdict, self.now) == Some(Phase::Open) {
                    self.opened = Some(self.now);
                }
            }
            Step::Lose(n) => drop(self.calls.swap_remove(n % self.calls.len())),
            Step::AnswersAgain => {
                self.seen = self.now;
                if self.breaker.answers_again(self.now) {
                    self.opened = None;
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self, now: Duration) -> Result<(), TestCaseError> {
        let before = self.breaker.phase();
        self.seen = self.seen.max(now);
        match self.breaker.admit(now) {
            Ok(pass) => {
                if let (Phase::Open, Some(opened)) = (before, self.opened) {
                    prop_assert!(
                        self.seen >= opened + ms(4_000),
                        "open, it let a call through before its time"
                    );
                }
                prop_assert_eq!(pass.is_probe(), before != Phase::Closed);
                if pass.is_probe() {
                    let lease = BreakerSettings::default().probe_lease;
                    let under_way = self
                        .calls
                        .iter()
                        .filter(|(other, since)| other.is_probe() && self.seen < *since + lease);
                    prop_assert_eq!(under_way.count(), 0, "two probes at once");
                }
                self.calls.push((pass, self.seen));
            }
            Err(after) => {
                prop_assert!(after <= ms(72_000) && after > ms(0), "it tells a time of {:?}", after)
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_one_probe_at_a_time_and_none_before_its_time(
        steps in proptest::collection::vec(step(), 0..200),
        seed: u64,
    ) {
        let breaker = Breaker::new(BreakerSettings::default(), seed);
        let mut driven = Driven { breaker, now: ms(0), seen: ms(0), calls: Vec::new(), opened: None };
        for step in steps {
            driven.take(step)?;
        }
        // Whatever it went through: healthy again, it is closed after the time that it tells and three successes, though
        // everything that was under way is lost.
        let Driven { mut breaker, mut now, .. } = driven;
        for _ in 0..3 {
            while let Some(after) = breaker.refuses(now) {
                now += after;
            }
            call(&mut breaker, Verdict::Answered, now);
        }
        prop_assert_eq!(breaker.phase(), Phase::Closed);
        prop_assert!(now <= driven.now + ms(72_000 + 15_000), "it took {:?}", now - driven.now);
    }
}
