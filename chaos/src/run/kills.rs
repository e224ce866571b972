//! When the server is killed, and what was under way then (NV-1).

use super::client::Reader;
use super::replay::Replay;
use super::server::{Recovery, Server};
use super::{Options, RunError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often the server is asked whether the day has begun, or whether something is in flight.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a kill waits for something to be in flight.
const WORK_MAX: Duration = Duration::from_secs(10);
/// A kill just after an order was placed comes within so many wall milliseconds: while its saga is before the pivot.
const SOON_MS: u64 = 600;
/// Other kills come within so many business minutes of an order's placement: while it is cooked and carried.
const LATER_MINUTES: u64 = 35;
/// Each third kill is followed by another while the server starts, within so many milliseconds.
const STARTING_MS: u64 = 120;

/// A kill to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    /// How long after the first order.
    at: Duration,
    /// How long after the start that follows there is another.
    while_starting: Option<Duration>,
}

/// A kill that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// How many orders were in flight in each status when the server was killed.
    pub in_flight: BTreeMap<String, usize>,
    /// Whether the next start was killed, too.
    pub while_starting: bool,
    /// The start after it.
    pub recovery: Recovery,
    /// Rows that the killed server's journal had refused as those of another owner.
    pub fenced_rows: u64,
}

/// The kills of a seed, over a day whose orders are placed at these minutes: half of them right after a placement.
fn plan(seed: u64, times: usize, placed: &[u32], pace: u64) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let Some(first) = placed.first() else { return Vec::new() };
    let wall = |minutes: u64| Duration::from_millis(minutes * 60_000 / pace.max(1));
    let mut planned: Vec<Planned> = (0..times)
        .map(|n| {
            let minute = placed[random.random_range(0..placed.len())];
            let soon = Duration::from_millis(random.random_range(0..SOON_MS));
            let later = wall(LATER_MINUTES).mul_f64(random.random_range(0.0..1.0));
            let starting = Duration::from_millis(random.random_range(0..STARTING_MS));
            Planned {
                at: wall(u64::from(minute - first)) + if n % 2 == 0 { soon } else { later },
                while_starting: (n % 3 == 2).then_some(starting),
            }
        })
        .collect();
    planned.sort_by_key(|kill| kill.at);
    planned
}

/// Kills the server and starts it again, as planned, until the replay is over.
pub(super) async fn kill(
    options: &Options,
    placed: &[u32],
    server: &mut Server,
    reader: &Reader,
    replay: &mut Replay,
) -> Result<Vec<Kill>, RunError> {
    let mut kills = Vec::new();
    if !wait_for_work(reader, replay, None).await {
        return Ok(kills);
    }
    let began = Instant::now();
    for planned in plan(options.seed, options.kills, placed, options.speed) {
        sleep_until(began + planned.at).await;
        if !wait_for_work(reader, replay, Some(WORK_MAX)).await && replay.has_ended() {
            break;
        }
        let (in_flight, fenced_rows) = (
            reader.in_flight().await,
            reader.figure("uoop_journal_fenced_total").await,
        );
        server.kill().await?;
        if let Some(after) = planned.while_starting {
            server.start_and_kill(after).await?;
        }
        let recovery = server.start().await?;
        kills.push(Kill {
            in_flight,
            while_starting: planned.while_starting.is_some(),
            recovery,
            fenced_rows,
        });
    }
    Ok(kills)
}

/// Waits until an order is in flight; not longer than `time_max`, nor than the replay takes.
async fn wait_for_work(reader: &Reader, replay: &mut Replay, time_max: Option<Duration>) -> bool {
    let began = Instant::now();
    while !replay.has_ended() && time_max.is_none_or(|most| began.elapsed() < most) {
        if !reader.in_flight().await.is_empty() {
            return true;
        }
        sleep(GLANCE).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_kills_within_the_day() {
        let minutes: Vec<u32> = (600..700).collect();
        let kills = plan(7, 30, &minutes, 240);
        assert_eq!(kills, plan(7, 30, &minutes, 240));
        assert_ne!(kills, plan(8, 30, &minutes, 240));
        let most = Duration::from_secs((100 + LATER_MINUTES) * 60 / 240);
        assert!(
            kills.is_sorted_by_key(|kill| kill.at) && kills[29].at <= most,
            "{kills:?}"
        );
        assert_eq!(kills.iter().filter(|kill| kill.while_starting.is_some()).count(), 10);
        assert_eq!(plan(7, 3, &[], 240), []);
    }
}
