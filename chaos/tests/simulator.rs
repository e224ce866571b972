//! The simulator on fresh seeds and on those that ever failed; and proof that its checker can fail.

use chaos::simulator::{Broken, Options, Outcome, Size, fresh_seed, play, simulate};

const FRESH_SEEDS: u64 = 20;
/// And so many of days on which capacity is scarce.
const CROWDED_SEEDS: u64 = 8;
/// Most seeds that may be needed to notice a broken rule.
const NOTICED_WITHIN: u64 = 60;

const SMALL: Size = Size {
    nodes: 3,
    hours: 1,
    orders: 24,
};

/// More orders than there is capacity for: many are refused, at one kitchen or all of them.
const CROWDED: Size = Size { orders: 150, ..SMALL };

#[test]
fn everything_holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("seeds {first} to {}", first + FRESH_SEEDS - 1);
    let simulate = |seeds, size| {
        simulate(&Options {
            seeds: (first..first + seeds).collect(),
            size,
            shrink: true,
            broken: None,
        })
    };
    let crowded = simulate(CROWDED_SEEDS, CROWDED);
    assert!(crowded.failures.is_empty(), "{crowded}");
    let report = simulate(FRESH_SEEDS, SMALL);
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    // NV-1: it was no idle day.
    let figures = report.figures;
    assert!(figures.delivered > 0 && figures.epochs > 0, "{figures:?}");
    assert!(
        figures.deaths + figures.fenced + figures.answers_lost > 0,
        "{figures:?}"
    );
    assert!(figures.full > 0 && figures.late_commands > 0, "{figures:?}");
    assert!(figures.actor_crashes > 0, "{figures:?}");
}

#[test]
fn everything_holds_on_seeds_that_ever_failed() {
    let seeds = include_str!("../seeds.txt");
    for line in seeds.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let numbers = line.split('#').next().unwrap_or_default().split_whitespace();
        let numbers: Vec<u64> = numbers.map(|number| number.parse().expect("a number")).collect();
        let [seed, nodes, hours, orders] = numbers[..] else {
            panic!("seed, nodes, hours, orders: {line}");
        };
        let size = Size {
            nodes: usize::try_from(nodes).expect("a few"),
            hours,
            orders: usize::try_from(orders).expect("some"),
        };
        let outcome = play(seed, size, None, false);
        assert_eq!(outcome.findings, [], "{line}");
    }
}

/// NV-1: of a seed in which many panic; few of the fresh ones have such moments.
#[test]
fn actors_panic_with_rows_under_way() {
    let Outcome { figures, findings, .. } = play(426, SMALL, None, false);
    assert!(figures.actor_crashes > 0 && figures.orphans > 0, "{figures:?}");
    assert_eq!(findings, []);
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let seed = fresh_seed();
    let play = |seed, reads| play(seed, SMALL, None, reads);
    let (first, second) = (play(seed, false), play(seed, true));
    let told = |outcome: &Outcome| (outcome.hash, outcome.events, outcome.virtual_ms, outcome.figures);
    assert_eq!(
        told(&first),
        told(&second),
        "seed {seed}; reading along changes nothing"
    );
    assert!(!second.trace.is_empty());
    assert_ne!(first.hash, play(seed + 1, false).hash);
}

/// The first seed from `first` on whose run shows that a rule is broken.
fn notices(broken: Broken, first: u64, size: Size, expected: &[&str]) {
    let found = (first..first + NOTICED_WITHIN).find_map(|seed| {
        let outcome = play(seed, size, Some(broken), false);
        outcome.findings.first().map(|finding| (seed, finding.clone()))
    });
    let (seed, finding) = found.unwrap_or_else(|| panic!("{broken:?} is not noticed"));
    println!("{broken:?}: seed {seed}: {finding}");
    assert!(expected.contains(&finding.invariant.id()), "{finding}");
}

#[test]
fn a_store_that_does_not_fence_is_noticed() {
    notices(Broken::Fence, 21, SMALL, &["LS-2", "LS-3"]);
}

#[test]
fn a_store_that_takes_a_key_twice_is_noticed() {
    notices(Broken::Keys, 2, SMALL, &["SG-2"]);
}

#[test]
fn effects_before_their_row_are_noticed() {
    notices(Broken::EffectsFirst, 2, SMALL, &["PT-1", "PY-1"]);
}

#[test]
fn participants_without_tombstones_are_noticed() {
    notices(Broken::Tombstones, 17, SMALL, &["PT-1", "PY-1"]);
}

#[test]
fn a_lost_answer_taken_for_a_failure_is_noticed() {
    notices(
        Broken::Unknown,
        49,
        Size { orders: 2, ..SMALL },
        &["SG-3", "SG-4", "EV-2"],
    );
}

#[test]
fn a_takeover_that_does_not_resume_is_noticed() {
    notices(Broken::Timers, 148, Size { orders: 100, ..SMALL }, &["SG-3", "TM-1"]);
}

#[test]
fn no_room_for_what_may_have_been_done_is_noticed() {
    notices(Broken::Room, 1, SMALL, &["CP-2"]);
}

#[test]
fn a_channel_that_forgets_what_it_refused_is_noticed() {
    notices(Broken::Refusals, 157, CROWDED, &["CP-2"]);
}

#[test]
fn a_successor_that_overtakes_what_was_left_to_the_writer_is_noticed() {
    notices(Broken::Orphans, 200, SMALL, &["LS-3"]);
}

#[test]
fn a_failing_seed_is_made_smaller_and_still_fails_alike() {
    let report = simulate(&Options {
        seeds: vec![21],
        size: SMALL,
        shrink: true,
        broken: Some(Broken::Fence),
    });
    let failure = report.failures.first().expect("this seed fails");
    let (faults, orders) = failure.left.expect("it was made smaller");
    assert!(
        orders < SMALL.orders && faults <= 5,
        "{faults} faults and {orders} orders are left"
    );
    assert!(
        failure.violations.iter().any(|line| line.starts_with("LS-2")),
        "{failure}"
    );
    assert!(failure.trace.iter().any(|line| line.contains("commits")), "{failure}");
    assert!(failure.replay.contains("--seed 21"), "{failure}");
}
