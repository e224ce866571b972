//! Tells other nodes what is new of this node's channels: what an operator has set, and what has become scarce, within
//! [`LOOK_EVERY`]; how much else is taken, now and then. So what a node hears does not grow with the orders of all others.
//!
//! Each outline says from which version on it leads. Whoever knows less (one was lost on the way, or the node is new) reads
//! the channel from the store. So that one is noticed that was the last for a while, each channel is told of again now and then.

use super::{Cluster, Notice};
use crate::ask::Versioned;
use crate::node::Node;
use domain::channel::{Channel, Outline};
use domain::ids::{ChannelId, Seq};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often is looked for what has changed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a channel is told of that has changed in nothing that matters soon.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How often what a channel has shown of itself is told, if anything is.
const HISTORY_EVERY: Duration = Duration::from_secs(2);
/// After how long a channel is told of again that has not changed.
const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// What is new of a channel, for those that know it as it was at `after` or later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChannelNews {
    pub(crate) after: Seq,
    pub(crate) seq: Seq,
    pub(crate) outline: Outline,
}

/// Channels that have changed since they were last told of.
#[derive(Default)]
pub(crate) struct Outlines {
    changed: Mutex<HashMap<ChannelId, Changed>>,
}

struct Changed {
    now: Versioned<Channel>,
    /// It matters to others soon.
    soon: bool,
}

impl Outlines {
    /// A channel of this node is this now.
    pub(crate) fn changed(&self, now: &Versioned<Channel>, soon: bool) {
        let mut changed = self.lock();
        let id = &now.state.id;
        match changed.get_mut(id) {
            Some(known) if known.now.seq > now.seq => {}
            Some(known) => {
                known.now = now.clone();
                known.soon |= soon;
            }
            None => {
                let now = now.clone();
                changed.insert(id.clone(), Changed { now, soon });
            }
        }
    }

    /// What is to be told: what matters soon, and what was not told of for long enough.
    fn take(&self, may_wait: impl Fn(&ChannelId) -> bool) -> Vec<Versioned<Channel>> {
        let mut changed = self.lock();
        let due = changed.extract_if(|id, changed| changed.soon || !may_wait(id));
        due.map(|(_, changed)| changed.now).collect()
    }

    /// A panic elsewhere leaves nothing half done under this lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Changed>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel as the other nodes were told of it.
struct Told {
    seq: Seq,
    state: Channel,
    at: Instant,
    history_at: Instant,
}

/// What they were told of all.
#[derive(Default)]
struct Teller(HashMap<ChannelId, Told>);

impl Teller {
    fn may_wait(&self, id: &ChannelId, now: Instant) -> bool {
        self.0.get(id).is_some_and(|told| now < told.at + TELL_EVERY)
    }

    fn news(&mut self, channel: &Versioned<Channel>, at: Instant) -> ChannelNews {
        let id = &channel.state.id;
        let told = self.0.get(id);
        let recent = told.filter(|told| at < told.history_at + HISTORY_EVERY);
        let (state, history_at) = match recent {
            Some(told) => (channel.state.with_history_of(&told.state), told.history_at),
            None => ((*channel.state).clone(), at),
        };
        let news = ChannelNews {
            after: told.map_or(Seq(0), |told| told.seq),
            seq: channel.seq,
            outline: Outline::between(told.map(|told| &told.state), &state),
        };
        let seq = channel.seq;
        let told = Told {
            seq,
            state,
            at,
            history_at,
        };
        self.0.insert(id.clone(), told);
        news
    }

    /// What is to be told again, of channels that are still this node's.
    fn repeated(&mut self, is_here: impl Fn(&ChannelId) -> bool, now: Instant) -> Vec<ChannelNews> {
        self.0.retain(|id, _| is_here(id));
        let due = self.0.values_mut().filter(|told| now >= told.at + REPEAT_AFTER);
        due.map(|told| {
            told.at = now;
            ChannelNews {
                after: told.seq,
                seq: told.seq,
                outline: Outline::between(Some(&told.state), &told.state),
            }
        })
        .collect()
    }
}

/// Tells the other nodes for as long as this one runs.
pub(crate) async fn tell(node: Arc<Node>, cluster: Arc<Cluster>) {
    let mut teller = Teller::default();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut repeated_at = Instant::now();
    while !node.is_stopped() {
        look.tick().await;
        let now = Instant::now();
        for channel in cluster.outlines.take(|id| teller.may_wait(id, now)) {
            // Whose it is by now tells of it.
            if node.is_here(channel.state.id.stream()) {
                cluster.tell_all(&Notice::Channel(Box::new(teller.news(&channel, now))));
            }
        }
        if now > repeated_at + HISTORY_EVERY {
            repeated_at = now;
            for news in teller.repeated(|id| node.is_here(id.stream()), now) {
                cluster.tell_all(&Notice::Channel(Box::new(news)));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use domain::channel::{ChannelConfig, ChannelKind, Command};
    use domain::entity::{Context, Entity, fold};
    use domain::geo::Location;
    use domain::ids::{HashSlot, OrderId};
    use domain::policy::Policy;
    use domain::saga::{CapacityRequest, Direction, EffectKey, Step};
    use domain::time::{Millis, Timestamp};

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    fn told(before: Option<&Versioned<Channel>>, command: Command) -> Versioned<Channel> {
        let policy = Policy::default();
        let context = Context {
            now: T0,
            policy: &policy,
        };
        let state = before.map(|before| &*before.state);
        let decision = Channel::decide(state, command, &context).expect("it is allowed");
        let next = fold(state.cloned(), &decision.events, T0).expect("it follows");
        Versioned {
            seq: before.map_or(Seq(1), |before| before.seq.next()),
            state: Arc::new(next.expect("it exists")),
        }
    }

    pub(in crate::cluster) fn kitchen() -> Versioned<Channel> {
        let config = ChannelConfig {
            name: "Kitchen".into(),
            kind: ChannelKind::Kitchen,
            serves: vec!["diner".parse().expect("a name")],
            location: Location {
                lat: 41.88,
                lng: -87.63,
            },
            zone: "centre".parse().expect("a name"),
            currency: "USD".parse().expect("a currency"),
            hours: Vec::new(),
            utc_offset_min: 0,
            prep_ms: Millis(600_000),
            capacity_per_slot: 100,
            cost_minor: 0,
            radius_m: 5_000,
        };
        let id = "kitchen-1".parse().expect("a name");
        let config = Box::new(config);
        told(None, Command::Configure { id, config })
    }

    /// The same after another order is confirmed.
    pub(in crate::cluster) fn asked(before: &Versioned<Channel>) -> Versioned<Channel> {
        let key = EffectKey {
            order: OrderId::mint(T0, HashSlot::of(&[b"outlines"]), before.seq.0),
            step: Step::HoldCapacity,
            round: 0,
            direction: Direction::Forward,
        };
        let request = CapacityRequest::Hold {
            key,
            slot: T0,
            slots_ahead_max: 0,
            units: 1,
            expires_at: T0 + Millis::from_mins(5),
            asked_before: false,
        };
        let held = told(Some(before), Command::Capacity(request));
        told(Some(&held), Command::Capacity(CapacityRequest::Confirm { key }))
    }

    #[test]
    fn what_does_not_matter_soon_waits_for_more() {
        let (outlines, first) = (Outlines::default(), kitchen());
        let taken = |may_wait| {
            outlines
                .take(|_| may_wait)
                .into_iter()
                .map(|channel| channel.seq)
                .collect::<Vec<_>>()
        };
        outlines.changed(&first, false);
        assert_eq!(taken(true), []);
        let second = asked(&first);
        outlines.changed(&second, false);
        outlines.changed(&first, false);
        assert_eq!(taken(false), [second.seq], "once, as it is now");
        assert_eq!(taken(false), []);
        outlines.changed(&second, true);
        outlines.changed(&asked(&second), false);
        assert_eq!(taken(true), [Seq(5)], "what matters soon still does when more has come");
    }

    #[test]
    fn each_outline_leads_on_from_the_one_before() {
        let mut teller = Teller::default();
        let (mut channel, mut now) = (kitchen(), Instant::now());
        assert!(!teller.may_wait(&channel.state.id, now), "nobody knows of it");
        let news = teller.news(&channel, now);
        assert_eq!((news.after, news.seq), (Seq(0), Seq(1)));
        let mut copy = news.outline.onto(None).expect("it says everything");
        assert!(teller.may_wait(&channel.state.id, now));
        for (pause, with_history) in [
            (TELL_EVERY, false),
            (TELL_EVERY, false),
            (HISTORY_EVERY, true),
            (TELL_EVERY, false),
        ] {
            now += pause;
            assert!(!teller.may_wait(&channel.state.id, now));
            let before = channel.seq;
            channel = asked(&channel);
            let news = teller.news(&channel, now);
            assert_eq!((news.after, news.seq), (before, channel.seq));
            assert_eq!(news.outline.demand.is_some(), with_history);
            assert!(news.outline.config.is_none());
            copy = news.outline.onto(Some(&copy)).expect("the rest is known");
            assert_eq!(copy.ledger.used(T0), channel.state.ledger.used(T0));
            assert_eq!(copy.demand == channel.state.demand, with_history);
        }
    }

    #[test]
    fn who_has_missed_the_last_outline_hears_that_there_was_one() {
        let mut teller = Teller::default();
        let (channel, now) = (kitchen(), Instant::now());
        teller.news(&channel, now);
        let again = now + REPEAT_AFTER;
        assert!(teller.repeated(|_| true, now).is_empty());
        let news = teller.repeated(|_| true, again);
        assert_eq!(
            news.iter().map(|news| (news.after, news.seq)).collect::<Vec<_>>(),
            [(Seq(1), Seq(1))]
        );
        assert!(news[0].outline.config.is_none(), "whoever knows it needs no more");
        assert!(teller.repeated(|_| true, again).is_empty());
        assert!(
            teller.repeated(|_| false, again + REPEAT_AFTER).is_empty(),
            "it is another node's to tell"
        );
    }
}
