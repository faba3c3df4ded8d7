use super::*;

use std::time::Duration;

use crate::error::Code;

fn manifest() -> Manifest {
    let text = include_bytes!("../../tests/fixtures/manifest-minimal.json");
    crate::manifest::parse(text, 1).unwrap()
}

fn ended(status: Option<i32>, signal: Option<i32>) -> sys::Ended {
    sys::Ended {
        status,
        signal,
        cpu: Duration::ZERO,
        resident_peak_bytes: 0,
    }
}

/// The conclusion for a child that ended so, with or without a verdict.
fn conclusion(
    ended: sys::Ended,
    stopped: Option<Stopped>,
    verdict: Option<Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    let ledger = Ledger::new(0, 0).unwrap();
    if let Some(result) = verdict {
        Verdict::of(result).store(&ledger);
    }
    conclude(&manifest(), ended, stopped, &ledger)
}

fn limit_of(outcome: Result<Outcome, Error>) -> Limit {
    match outcome {
        Ok(Outcome::Limit { limit, .. }) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_verdict_counts_when_the_child_ended_by_itself() {
    let verdict = Some(Ok(Outcome::Exit(3)));
    let outcome = conclusion(ended(Some(0), None), None, verdict.clone());
    assert_eq!(outcome, Ok(Outcome::Exit(3)));
    // Finished in the moment in which it was to be stopped.
    let outcome = conclusion(ended(Some(0), None), Some(Stopped::Wall), verdict);
    assert_eq!(outcome, Ok(Outcome::Exit(3)));
}

#[test]
fn a_verdict_does_not_count_when_the_child_was_killed_over_it() {
    let verdict = Some(Ok(Outcome::Exit(0)));
    let killed = ended(None, Some(libc::SIGKILL));
    let outcome = conclusion(killed, Some(Stopped::Wall), verdict);
    assert_eq!(limit_of(outcome), Limit::WallSeconds);
}

#[test]
fn both_ways_to_run_out_of_cpu_are_the_same_limit() {
    let killed = ended(None, Some(libc::SIGKILL));
    let by_parent = conclusion(killed, Some(Stopped::Cpu), None);
    let by_kernel = conclusion(ended(None, Some(libc::SIGXCPU)), None, None);
    assert_eq!(by_parent, by_kernel);
    assert_eq!(limit_of(by_parent), Limit::CpuSeconds);
}

#[test]
fn signals_from_outside_and_crashes_are_told_apart() {
    for (signal, from_outside) in [
        (libc::SIGKILL, true),
        (libc::SIGTERM, true),
        (libc::SIGSEGV, false),
        (libc::SIGBUS, false),
        (libc::SIGABRT, false),
        (libc::SIGSYS, false),
    ] {
        match conclusion(ended(None, Some(signal)), None, None) {
            Ok(Outcome::Killed { signal: told, .. }) => {
                assert!(from_outside && told == signal, "{signal}");
            }
            Err(Error::Failure(_)) => assert!(!from_outside, "{signal}"),
            other => panic!("{signal}: {other:?}"),
        }
    }
}

#[test]
fn a_forbidden_call_is_our_failure_whatever_else_there_is() {
    let filtered = ended(None, Some(libc::SIGSYS));
    let verdict = Some(Ok(Outcome::Exit(0)));
    for stopped in [None, Some(Stopped::Wall), Some(Stopped::Cpu)] {
        match conclusion(filtered, stopped, verdict.clone()) {
            Err(Error::Failure(text)) => assert!(text.contains("SIGSYS"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_verdict_survives_a_signal_that_came_after_it() {
    let panicked = Some(Ok(Outcome::Failure("panicked: why".to_owned())));
    let outcome = conclusion(ended(None, Some(libc::SIGABRT)), None, panicked);
    assert_eq!(outcome, Err(Error::Failure("panicked: why".to_owned())));
}

#[test]
fn a_refusal_by_the_child_is_a_refusal_of_the_session() {
    let refused = Error::refused(Code::BadLayer, "no tar");
    let outcome = conclusion(ended(Some(0), None), None, Some(Err(refused.clone())));
    assert_eq!(outcome, Err(refused));
}

#[test]
fn an_end_without_a_word_is_our_failure() {
    for status in [0, 1] {
        let outcome = conclusion(ended(Some(status), None), None, None);
        assert!(matches!(outcome, Err(Error::Failure(_))), "{outcome:?}");
    }
    let killed = ended(None, Some(libc::SIGKILL));
    let outcome = conclusion(killed, Some(Stopped::NobodyListens), None);
    assert!(matches!(outcome, Err(Error::Failure(_))), "{outcome:?}");
}

#[test]
fn being_told_to_end_is_reported_with_the_signal() {
    let killed = ended(None, Some(libc::SIGKILL));
    let outcome = conclusion(killed, Some(Stopped::Told(libc::SIGTERM)), None);
    let Ok(Outcome::Killed { signal, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(signal, libc::SIGTERM);
}
