//! Loads on servers that are not there, in time that passes by itself.

use super::super::arrivals::Spacing;
use super::super::tally::{Outcome, Window};
use super::*;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A server that takes a millisecond, but does nothing at all during its stall.
struct Stalling {
    stall: (Instant, Instant),
    connected: AtomicU64,
}

impl Stalling {
    fn new(stall: (Instant, Instant)) -> Arc<Self> {
        Arc::new(Self {
            stall,
            connected: AtomicU64::new(0),
        })
    }
}

fn accepted(wait: bool) -> Answer {
    Answer::Accepted {
        id: Uuid::nil(),
        status: wait.then(|| "CONFIRMED".to_owned()),
    }
}

impl Transport for Stalling {
    type Line = ();

    async fn connect(&self) -> Result<(), Failure> {
        self.connected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn place(&self, (): &mut (), wait: bool) -> Result<Answer, Failure> {
        let (begin, end) = self.stall;
        if (begin..end).contains(&Instant::now()) {
            sleep_until(end).await;
        }
        tokio::time::sleep(MS).await;
        Ok(accepted(wait))
    }
}

/// Five seconds of a hundred orders a second, all of them measured.
async fn five_seconds<T: Transport>(transport: &Arc<T>, begin: Instant, connections: usize, share: f64) -> Outcome {
    let end = begin + 5 * SECOND;
    let tally = Arc::new(Tally::new(Window { begin, end }));
    let arrivals = Arrivals::new(100.0, Spacing::Even, share, 1);
    open(slice::from_ref(transport), &tally, arrivals, connections, (begin, end)).await;
    tally.outcome()
}

#[tokio::test(start_paused = true)]
async fn a_stall_shows_in_every_order_that_it_held_up() {
    for connections in [1, 4, 1_000] {
        let begin = Instant::now();
        let server = Stalling::new((begin + SECOND, begin + 2 * SECOND));
        let outcome = five_seconds(&server, begin, connections, 0.0).await;
        assert_eq!((outcome.counts.offered, outcome.counts.accepted), (500, 500));
        assert_eq!(outcome.acknowledged.len(), 500);
        // A hundred of the five hundred were to arrive within the stall, the first of them a second before its end. A
        // client that counted from the moment of sending would have seen as many as it has connections.
        let near = |ms: Option<f64>, expected: f64| ms.is_some_and(|ms| (ms - expected).abs() < 60.0);
        let submit = outcome.submit;
        assert!(
            near(submit.max, 1_000.0) && near(submit.p99, 950.0) && near(submit.p90, 500.0),
            "{submit:?}"
        );
        assert!(submit.p50 < Some(10.0), "{submit:?}");
        // Those that waited for a connection are the server's doing, the others began in time.
        let late = outcome.begun;
        assert!(late.count >= 300 && late.max < Some(5.0), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_opened_as_they_are_needed_and_no_more() {
    // A hundred arrive during the stall, and one more before the first of them has its answer.
    for (connections, expected) in [(1, 1), (4, 4), (1_000, 101)] {
        let begin = Instant::now();
        let server = Stalling::new((begin + SECOND, begin + 2 * SECOND));
        five_seconds(&server, begin, connections, 0.0).await;
        assert_eq!(server.connected.load(Ordering::Relaxed), expected);
    }
    let begin = Instant::now();
    let quick = Stalling::new((begin, begin));
    five_seconds(&quick, begin, 1_000, 0.0).await;
    assert_eq!(
        quick.connected.load(Ordering::Relaxed),
        1,
        "one is enough for a quick server"
    );
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_counted_by_themselves() {
    let begin = Instant::now();
    let server = Stalling::new((begin, begin));
    let outcome = five_seconds(&server, begin, 8, 0.3).await;
    assert_eq!(outcome.submit.count + outcome.confirmed.count, 500);
    assert!(
        (100..200).contains(&outcome.confirmed.count),
        "{}",
        outcome.confirmed.count
    );
    assert!(outcome.errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_what_was_to_arrive_within_the_window_is_measured() {
    let begin = Instant::now();
    let window = Window {
        begin: begin + 2 * SECOND,
        end: begin + 5 * SECOND,
    };
    // The stall lies in the warm-up, and is over before the window.
    let server = Stalling::new((begin, begin + SECOND));
    let tally = Arc::new(Tally::new(window));
    let arrivals = Arrivals::new(100.0, Spacing::Even, 0.0, 1);
    open(slice::from_ref(&server), &tally, arrivals, 4, (begin, window.end)).await;
    let outcome = tally.outcome();
    assert_eq!((outcome.counts.offered, outcome.acknowledged.len()), (300, 500));
    assert!(outcome.submit.max < Some(10.0), "{:?}", outcome.submit);
}

/// A server that never answers.
struct Silent;

impl Transport for Silent {
    type Line = ();

    async fn connect(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn place(&self, (): &mut (), _wait: bool) -> Result<Answer, Failure> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_waited_for_without_end() {
    let begin = Instant::now();
    let outcome = five_seconds(&Arc::new(Silent), begin, 2, 0.0).await;
    assert!(begin.elapsed() < 5 * SECOND + SUBMIT_TIMEOUT);
    let errors: Vec<_> = outcome
        .errors
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(errors, [("not sent", 498), ("timeout", 2)]);
    assert_eq!((outcome.counts.offered, outcome.counts.accepted), (500, 0));
}

/// A server that closes every connection after its first order, and cannot be reached for the first two times.
struct Closing {
    connected: AtomicU64,
}

impl Transport for Closing {
    type Line = bool;

    async fn connect(&self) -> Result<bool, Failure> {
        let n = self.connected.fetch_add(1, Ordering::Relaxed);
        if n < 2 { Err(Failure::Connect) } else { Ok(false) }
    }

    async fn place(&self, used: &mut bool, wait: bool) -> Result<Answer, Failure> {
        tokio::time::sleep(MS).await;
        if std::mem::replace(used, true) {
            Err(Failure::Stale)
        } else {
            Ok(accepted(wait))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_closed_is_replaced() {
    let begin = Instant::now();
    let server = Arc::new(Closing {
        connected: AtomicU64::new(0),
    });
    let outcome = five_seconds(&server, begin, 8, 0.0).await;
    assert_eq!((outcome.counts.offered, outcome.counts.accepted), (500, 498));
    assert_eq!(outcome.errors.get("connect"), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn customers_place_one_order_after_the_other() {
    let begin = Instant::now();
    let window = Window {
        begin,
        end: begin + SECOND,
    };
    let server = Stalling::new((begin, begin));
    let tally = Arc::new(Tally::new(window));
    let waits = |n: usize| Arrivals::new(1.0, Spacing::Even, 1.0, u64::try_from(n).expect("small"));
    closed(slice::from_ref(&server), &tally, 3, waits, (begin, window.end)).await;
    let outcome = tally.outcome();
    // A millisecond each, and tokio's clock counts whole ones.
    assert_eq!(
        (outcome.counts.offered, outcome.confirmed.count, outcome.submit.count),
        (3_000, 3_000, 0)
    );
    assert_eq!(server.connected.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn several_servers_have_equal_shares() {
    /// A server that counts its orders.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Transport for Counting {
        type Line = ();

        async fn connect(&self) -> Result<(), Failure> {
            Ok(())
        }

        async fn place(&self, (): &mut (), wait: bool) -> Result<Answer, Failure> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(MS).await;
            Ok(accepted(wait))
        }
    }

    let three = || [(); 3].map(|()| Arc::new(Counting::default()));
    let counts = |servers: &[Arc<Counting>]| -> Vec<u64> {
        servers.iter().map(|server| server.0.load(Ordering::Relaxed)).collect()
    };
    let begin = Instant::now();
    let window = |begin| Window {
        begin,
        end: begin + SECOND,
    };
    let tally = Arc::new(Tally::new(window(begin)));
    let servers = three();
    let arrivals = Arrivals::new(300.0, Spacing::Even, 0.0, 1);
    open(&servers, &tally, arrivals, 1, (begin, begin + SECOND)).await;
    assert_eq!(counts(&servers), [100, 100, 100]);

    let (begin, servers) = (Instant::now(), three());
    let waits = |n: usize| Arrivals::new(1.0, Spacing::Even, 1.0, u64::try_from(n).expect("small"));
    closed(&servers, &tally, 6, waits, (begin, begin + SECOND)).await;
    assert_eq!(counts(&servers), [2_000, 2_000, 2_000]);
}
