//! Who should own which shard, and what a node has to do about it.
//!
//! Nobody leads. Each node reads the same rows, computes the same owners, and acts only on what is its own: it takes
//! what nobody else can be using, and gives away what is another's. What two nodes do at once is decided by the store,
//! which takes an ownership only under the epoch that the taker saw.

use crate::ids::Epoch;
use crate::ports::{ClusterView, Member};
use crate::shard::ShardId;
use siphasher::sip::SipHasher24;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::Hasher;

#[cfg(test)]
mod tests;

/// A member's name taken apart: `<node>-<incarnation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    whole: &'a str,
    /// What stays the same when the node is started again.
    node: &'a str,
    /// Decimal digits without leading zeros; empty: none.
    incarnation: &'a str,
}

impl<'a> Name<'a> {
    fn of(whole: &'a str) -> Self {
        match whole.rsplit_once('-') {
            Some((node, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => Self {
                whole,
                node,
                incarnation: digits.trim_start_matches('0'),
            },
            _ => Self {
                whole,
                node: whole,
                incarnation: "",
            },
        }
    }

    /// The order of incarnations: as numbers, of whatever length.
    fn cmp_age(self, other: Self) -> Ordering {
        let digits = |name: Self| (name.incarnation.len(), name.incarnation);
        digits(self).cmp(&digits(other)).then(self.whole.cmp(other.whole))
    }

    /// How much this node wants the shard. The key is fixed: nodes of different versions must agree on owners.
    fn weight(self, shard: ShardId) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(0x756f_6f70_2d6f_776e, 0x6572_2d6b_6579_0001);
        hasher.write(&shard.0.to_be_bytes());
        hasher.write(self.node.as_bytes());
        hasher.finish()
    }
}

/// Who should own a shard: the member of the highest weight (rendezvous hashing, Thaler and Ravishankar 1998), ties by
/// name. `None` when there is no member.
///
/// Names are `<node>-<incarnation>`. Only the node counts for the weight, so a node that was started again under its name
/// gets the same shards back; of several incarnations of a node the newest is meant.
pub fn owner_of<'a>(shard: ShardId, members: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    right_owner(shard, members.into_iter().map(Name::of)).map(|name| name.whole)
}

fn right_owner<'a>(shard: ShardId, members: impl IntoIterator<Item = Name<'a>>) -> Option<Name<'a>> {
    members
        .into_iter()
        .map(|name| (name.weight(shard), name))
        .max_by(|(a_weight, a), (b_weight, b)| (a_weight, a.node).cmp(&(b_weight, b.node)).then_with(|| a.cmp_age(*b)))
        .map(|(_, name)| name)
}

/// How a cluster moves shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most shards that a node gives away in one round.
    pub moves_max: usize,
}

/// What a node has to do about the shards in one round. No shard is in two of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Take these, if their epochs are still the ones given.
    pub take: Vec<(ShardId, Epoch)>,
    /// Drain these, as far as they are held, and make them nobody's.
    pub release: Vec<ShardId>,
    /// These are another's already: stop what runs of them.
    pub lost: Vec<ShardId>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.release.is_empty() && self.lost.is_empty()
    }
}

/// The members that should own shards: of each node the newest whose lease runs, unless it drains.
fn eligible(members: &[Member]) -> Vec<Name<'_>> {
    let mut newest: BTreeMap<&str, (Name<'_>, bool)> = BTreeMap::new();
    for member in members.iter().filter(|member| member.lease_left_ms > 0) {
        let name = Name::of(&member.name);
        let entry = newest.entry(name.node).or_insert((name, member.draining));
        if name.cmp_age(entry.0).is_gt() {
            *entry = (name, member.draining);
        }
    }
    newest
        .into_values()
        .filter_map(|(name, draining)| (!draining).then_some(name))
        .collect()
}

/// What the node `me`, which holds the shards `held` under these epochs, has to do by what the store says. Read `held`
/// after `view`: a view older than what is held is noticed by its lower epoch and passed over, the reverse looks like a loss.
///
/// Taken is what should be the node's and what nobody can be using: the owner is nobody, no member, a member whose
/// lease lapsed, or the node itself although it does not hold the shard (an answer was lost). A shard is never taken
/// from a member whose lease runs. A node that is not in the view, or whose lease lapsed, takes and releases nothing.
///
/// At most [`Rules::moves_max`] shards that it holds are released, the lowest first, and none when there is nobody to have
/// them. A shard that stands under its name although it does not hold it (an answer was lost), and that should be another's,
/// is released beside that. Neither these nor what is taken is bounded: nobody serves those shards.
///
/// Not to be called while a take or release of this node is under way.
pub fn plan(view: &ClusterView, me: &str, held: &BTreeMap<ShardId, Epoch>, rules: &Rules) -> Plan {
    let live = |name: &str| view.members.iter().any(|m| m.name == name && m.lease_left_ms > 0);
    let in_cluster = live(me);
    let eligible = eligible(&view.members);
    let mut plan = Plan::default();
    let mut moves = 0;
    for row in &view.shards {
        let mine = row.owner == me;
        let held = held.get(&row.shard);
        match held {
            Some(epoch) if *epoch > row.epoch => continue,
            Some(epoch) if !mine || *epoch != row.epoch => {
                plan.lost.push(row.shard);
                continue;
            }
            _ if !in_cluster => continue,
            _ => {}
        }
        let Some(right) = right_owner(row.shard, eligible.iter().copied()) else {
            continue;
        };
        match (held.is_some(), right.whole == me) {
            (true, false) if moves < rules.moves_max => {
                moves += 1;
                plan.release.push(row.shard);
            }
            // Nobody else may take it as long as this node lives and its name stands there.
            (false, false) if mine => plan.release.push(row.shard),
            (false, true) if mine || row.owner.is_empty() || !live(&row.owner) => {
                plan.take.push((row.shard, row.epoch));
            }
            _ => {}
        }
    }
    plan
}
