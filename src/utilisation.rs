//! How full the channels are, published to Redis for whoever plans with it.
//!
//! A sorted set, [`SET`]: each channel's id, scored with the share of its present slot's capacity that is taken, 0 to 1.
//! Looked at once a second instead of at each commit: the share changes with the slot as well, when nothing commits.

use actors::Platform;
use domain::channel::{Channel, slot_of};
use domain::ids::ChannelId;
use domain::time::{Millis, Timestamp};
use persistence::Redis;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The sorted set.
pub const SET: &str = "uoop:channel:utilisation";

/// How often channels are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// After how many looks all are published again, changed or not: Redis may have been restarted empty.
const ALL_EVERY: u64 = 10;
/// How long the set outlives its platform.
const TTL: Duration = Duration::from_mins(1);

/// Publishes for ever what has changed. `slot_ms` is the length of capacity slots, in business time.
pub(crate) async fn publish(platform: Platform, redis: Arc<Redis>, slot_ms: Millis) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut board = Board::default();
    for look in 0_u64.. {
        ticks.tick().await;
        if look % ALL_EVERY == 0 {
            board = Board::default();
        }
        let slot = slot_of(platform.clock().now(), slot_ms);
        let channels = platform.directory().channels();
        // Each channel's owner knows best.
        let own = channels.iter().map(|channel| &*channel.state);
        let own = own.filter(|channel| platform.owns(channel.id.stream()));
        let changes = board.changes(own, slot);
        if !changes.is_empty() && redis.score(SET, changes, TTL).await.is_err() {
            board = Board::default();
        }
    }
}

/// What was published last, of each channel.
#[derive(Default)]
struct Board(HashMap<ChannelId, f64>);

impl Board {
    /// What is to be published: the shares that are other than they were.
    fn changes<'a>(&mut self, channels: impl Iterator<Item = &'a Channel>, slot: Timestamp) -> Vec<(f64, String)> {
        let mut changes = Vec::new();
        for channel in channels {
            let share = share_taken(channel, slot);
            let before = self.0.insert(channel.id.clone(), share);
            if before.is_none_or(|before| before.total_cmp(&share).is_ne()) {
                changes.push((share, channel.id.to_string()));
            }
        }
        changes
    }
}

/// The share of a slot's capacity that is taken. A channel without capacity is full.
fn share_taken(channel: &Channel, slot: Timestamp) -> f64 {
    match channel.config.capacity_per_slot {
        0 => 1.0,
        limit => (f64::from(channel.ledger.used(slot)) / f64::from(limit)).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel_fixture::channel;

    const SLOT: Timestamp = Timestamp(900_000);

    #[test]
    fn the_share_is_of_the_slot_and_never_more_than_all() {
        for (capacity, taken, share) in [(4, 0, 0.0), (4, 1, 0.25), (4, 4, 1.0), (4, 5, 1.0), (0, 0, 1.0)] {
            let found = share_taken(&channel(capacity, &[(SLOT.0, taken)]), SLOT);
            assert!(found.total_cmp(&share).is_eq(), "{taken} of {capacity}: {found}");
        }
        assert!(
            share_taken(&channel(4, &[(SLOT.0, 1)]), Timestamp(0)).abs() < f64::EPSILON,
            "another slot"
        );
    }

    #[test]
    fn only_what_changed_is_published_again() {
        let mut board = Board::default();
        let mut looked = |taken, slot| board.changes(std::iter::once(&channel(4, &[(SLOT.0, taken)])), slot);
        assert_eq!(looked(1, SLOT), [(0.25, "k-1".to_owned())]);
        assert_eq!(looked(1, SLOT), []);
        assert_eq!(looked(2, SLOT), [(0.5, "k-1".to_owned())]);
        assert_eq!(
            looked(2, Timestamp(0)),
            [(0.0, "k-1".to_owned())],
            "the next slot is empty"
        );
    }
}
