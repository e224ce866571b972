//! What rendezvous hashing promises, and nodes that follow their plans against a model of the store.

use super::{Plan, Rules, owner_of, plan};
use crate::ids::Epoch;
use crate::ports::{ClusterView, Member, ShardOwner};
use crate::shard::ShardId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SHARDS: u16 = 256;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("node{n}-1700000000{n}")).collect()
}

fn owners(members: &[String]) -> Vec<Option<&str>> {
    (0..SHARDS)
        .map(|shard| owner_of(ShardId(shard), members.iter().map(String::as_str)))
        .collect()
}

fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        lease_left_ms: 3_000,
        draining: false,
    }
}

fn row(shard: u16, epoch: u64, owner: &str) -> ShardOwner {
    ShardOwner {
        shard: ShardId(shard),
        epoch: Epoch(epoch),
        owner: owner.to_owned(),
    }
}

fn view(members: &[Member], shards: Vec<ShardOwner>) -> ClusterView {
    ClusterView {
        members: members.to_vec(),
        shards,
        now_ms: 0,
    }
}

const RULES: Rules = Rules { moves_max: 4 };

#[test]
fn nobody_owns_anything_in_an_empty_cluster() {
    assert_eq!(owner_of(ShardId(3), []), None);
}

#[test]
fn owners_never_change_between_versions_of_the_program() {
    // Nodes of two versions share a cluster: if they disagreed on owners, shards would be thrown to and fro.
    let three = ["a-1", "b-1", "c-1"];
    let owners: String = (0..32)
        .filter_map(|shard| owner_of(ShardId(shard), three))
        .map(|name| &name[..1])
        .collect();
    assert_eq!(owners, "bbccbbccbabccacacaaccabbbaabcabc");
}

#[test]
fn the_newest_incarnation_is_the_one_with_the_greatest_number() {
    for shard in 0..SHARDS {
        assert_eq!(owner_of(ShardId(shard), ["a-9", "a-10", "a-8"]), Some("a-10"));
    }
    assert_eq!(owner_of(ShardId(0), ["a-12", "a-012"]), Some("a-12"));
}

#[test]
fn nodes_without_a_number_are_nodes_of_their_own() {
    let found: BTreeSet<_> = (0..SHARDS)
        .filter_map(|shard| owner_of(ShardId(shard), ["node-a", "node-b", "node"]))
        .collect();
    assert_eq!(found, BTreeSet::from(["node-a", "node-b", "node"]));
}

#[test]
fn a_shard_is_never_taken_from_a_member_whose_lease_runs() {
    let mut lapsed = member("b-1");
    lapsed.lease_left_ms = 0;
    let mut draining = member("c-1");
    draining.draining = true;
    let members = [member("a-1"), lapsed, draining];
    let shards = vec![
        row(0, 1, ""),
        row(1, 2, "b-1"),
        row(2, 3, "c-1"),
        row(3, 4, "gone-1"),
        row(4, 5, "a-1"),
    ];
    let plan = plan(&view(&members, shards), "a-1", &BTreeMap::new(), &RULES);
    let taken = [(0, 1), (1, 2), (3, 4), (4, 5)].map(|(shard, epoch)| (ShardId(shard), Epoch(epoch)));
    assert_eq!(plan.take, taken, "all but the one whose owner lives");
    assert!(plan.release.is_empty() && plan.lost.is_empty());
}

#[test]
fn an_old_incarnation_gets_nothing_while_a_newer_lives_even_if_that_drains() {
    let mut newer = member("a-2");
    newer.draining = true;
    let seen = view(&[member("a-1"), newer], vec![row(0, 1, "")]);
    assert!(plan(&seen, "a-1", &BTreeMap::new(), &RULES).is_empty());
    assert!(plan(&seen, "a-2", &BTreeMap::new(), &RULES).is_empty());
}

#[test]
fn what_the_store_gave_to_another_is_lost() {
    let held = (0..5).map(|shard| (ShardId(shard), Epoch(7))).collect();
    let shards = vec![
        row(0, 8, "b-1"),
        row(1, 7, ""),
        row(2, 8, "a-1"),
        row(3, 6, "b-1"),
        row(4, 7, "a-1"),
    ];
    let plan = plan(&view(&[member("a-1")], shards), "a-1", &held, &RULES);
    assert_eq!(plan.lost, [ShardId(0), ShardId(1), ShardId(2)]);
    assert!(
        plan.take.is_empty(),
        "not in the round in which it still runs: {plan:?}"
    );
    assert!(
        plan.release.is_empty(),
        "the view is older than shard 3's ownership: {plan:?}"
    );
}

#[test]
fn who_is_not_in_the_cluster_moves_nothing() {
    let mut lapsed = member("a-1");
    lapsed.lease_left_ms = -1;
    let held = BTreeMap::from([(ShardId(0), Epoch(1)), (ShardId(1), Epoch(1))]);
    for members in [vec![member("b-1")], vec![lapsed, member("b-1")]] {
        let seen = view(&members, vec![row(0, 1, "a-1"), row(1, 2, "b-1"), row(2, 0, "")]);
        let plan = plan(&seen, "a-1", &held, &RULES);
        assert_eq!(plan.lost, [ShardId(1)], "it still hears what it lost");
        assert!(plan.take.is_empty() && plan.release.is_empty(), "{plan:?}");
    }
}

#[test]
fn what_it_took_unknowingly_and_should_not_have_it_gives_back() {
    let members = [member("a-1"), member("b-1")];
    let other = (0..SHARDS).find(|shard| owner_of(ShardId(*shard), ["a-1", "b-1"]) == Some("b-1"));
    let shard = other.expect("b has some");
    let seen = view(&members, vec![row(shard, 1, "a-1")]);
    assert_eq!(plan(&seen, "a-1", &BTreeMap::new(), &RULES).release, [ShardId(shard)]);
    assert!(
        plan(&seen, "b-1", &BTreeMap::new(), &RULES).is_empty(),
        "a's lease runs"
    );
}

#[test]
fn when_all_drain_nobody_lets_go() {
    let mut alone = member("a-1");
    alone.draining = true;
    let held = BTreeMap::from([(ShardId(0), Epoch(1))]);
    let seen = view(&[alone.clone()], vec![row(0, 1, "a-1"), row(1, 0, "")]);
    assert!(plan(&seen, "a-1", &held, &RULES).is_empty());
    let seen = view(&[alone, member("b-1")], vec![row(0, 1, "a-1"), row(1, 0, "")]);
    assert_eq!(plan(&seen, "a-1", &held, &RULES).release, [ShardId(0)]);
}

/// The store, exactly: who owns what, whose lease runs; and the nodes, by what they hold.
#[derive(Default)]
struct Cluster {
    members: BTreeMap<String, Member>,
    rows: Vec<(Epoch, String)>,
    held: BTreeMap<String, BTreeMap<ShardId, Epoch>>,
    /// Every ownership that there ever was.
    owned: BTreeMap<(ShardId, Epoch), String>,
}

impl Cluster {
    fn new() -> Self {
        Self {
            rows: vec![(Epoch(0), String::new()); usize::from(SHARDS)],
            ..Self::default()
        }
    }

    fn start(&mut self, name: &str) {
        self.members.insert(name.to_owned(), member(name));
        self.held.insert(name.to_owned(), BTreeMap::new());
    }

    /// The process is gone; its lease runs on until `lapse`.
    fn kill(&mut self, name: &str) {
        self.held.remove(name);
    }

    fn lapse(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            member.lease_left_ms = 0;
        }
    }

    fn view(&self) -> ClusterView {
        let members: Vec<Member> = self.members.values().cloned().collect();
        let rows = self
            .rows
            .iter()
            .zip(0..)
            .map(|((epoch, owner), n)| row(n, epoch.0, owner));
        view(&members, rows.collect())
    }

    fn carry_out(&mut self, me: &str, plan: &Plan, answer_lost: bool) {
        for (shard, epoch) in &plan.take {
            let row = &mut self.rows[usize::from(shard.0)];
            if row.0 != *epoch {
                continue;
            }
            *row = (Epoch(epoch.0 + 1), me.to_owned());
            assert_eq!(
                self.owned.insert((*shard, row.0), me.to_owned()),
                None,
                "two owners of {shard} in one epoch"
            );
            if !answer_lost {
                self.held.entry(me.to_owned()).or_default().insert(*shard, row.0);
            }
        }
        let held = self.held.entry(me.to_owned()).or_default();
        for shard in &plan.lost {
            held.remove(shard);
        }
        for shard in &plan.release {
            held.remove(shard);
            let row = &mut self.rows[usize::from(shard.0)];
            if row.1 == me {
                row.1.clear();
            }
        }
    }

    /// Each node once, in the order given; the view of each is as old as `stale` says: from before the round or fresh.
    fn round(&mut self, order: &[String], stale: &[bool], answers_lost: &[bool]) -> bool {
        let before = self.view();
        let mut moved = false;
        for (n, me) in order.iter().enumerate() {
            let view = if stale[n % stale.len()] {
                before.clone()
            } else {
                self.view()
            };
            let made = plan(&view, me, &self.held[me], &RULES);
            let served = made.release.iter().filter(|shard| self.held[me].contains_key(shard));
            assert!(served.count() <= RULES.moves_max, "{made:?}");
            moved |= !made.is_empty();
            self.carry_out(me, &made, answers_lost[n % answers_lost.len()]);
        }
        moved
    }

    /// Rounds without faults until nothing moves; how many there were.
    fn settle(&mut self) -> usize {
        let order: Vec<String> = self.held.keys().cloned().collect();
        let mut rounds = 0;
        while self.round(&order, &[false], &[false]) {
            rounds += 1;
            assert!(rounds < 1_000, "it does not come to rest");
        }
        rounds
    }

    fn assert_right(&self) {
        let live: Vec<&str> = self.held.keys().map(String::as_str).collect();
        for shard in (0..SHARDS).map(ShardId) {
            let right = owner_of(shard, live.iter().copied()).expect("somebody lives");
            let (epoch, owner) = &self.rows[usize::from(shard.0)];
            assert_eq!(owner, right, "shard {shard}");
            assert_eq!(self.held[right].get(&shard), Some(epoch), "shard {shard}");
        }
        let held: usize = self.held.values().map(BTreeMap::len).sum();
        assert_eq!(held, usize::from(SHARDS), "no shard has two holders");
    }
}

#[test]
fn a_node_that_joins_gets_its_share_in_rounds_of_moves_max() {
    let mut cluster = Cluster::new();
    cluster.start("a-1");
    assert_eq!(cluster.settle(), 1, "what nobody has is taken at once");
    cluster.start("b-1");
    let rounds = cluster.settle();
    cluster.assert_right();
    let moved = cluster.held["b-1"].len();
    assert!((90..170).contains(&moved), "{moved}");
    assert!(rounds >= moved.div_ceil(RULES.moves_max), "{rounds} rounds for {moved}");
}

#[test]
fn a_node_started_again_under_its_name_gets_its_shards_back() {
    let mut cluster = Cluster::new();
    for name in ["a-1", "b-1", "c-1"] {
        cluster.start(name);
    }
    cluster.settle();
    let before: Vec<ShardId> = cluster.held["b-1"].keys().copied().collect();
    cluster.kill("b-1");
    cluster.start("b-22");
    assert_eq!(
        cluster.settle(),
        0,
        "the old incarnation's lease runs, and the others have no claim"
    );
    cluster.lapse("b-1");
    assert_eq!(cluster.settle(), 1);
    cluster.assert_right();
    assert_eq!(cluster.held["b-22"].keys().copied().collect::<Vec<_>>(), before);
}

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Happening {
    Start(u8),
    Kill(u8),
    Lapse,
    Remove,
    Drain(u8),
    Round(Vec<bool>, Vec<bool>),
}

fn happening() -> impl Strategy<Value = Happening> {
    let flags = || proptest::collection::vec(any::<bool>(), 1..4);
    prop_oneof![
        2 => (0..5_u8).prop_map(Happening::Start),
        1 => (0..5_u8).prop_map(Happening::Kill),
        1 => Just(Happening::Lapse),
        1 => Just(Happening::Remove),
        1 => (0..5_u8).prop_map(Happening::Drain),
        6 => (flags(), flags()).prop_map(|(stale, lost)| Happening::Round(stale, lost)),
    ]
}

impl Cluster {
    fn happen(&mut self, happening: &Happening, incarnation: usize) {
        let of = |cluster: &Self, node: u8| {
            let prefix = format!("n{node}-");
            cluster.held.keys().find(|name| name.starts_with(&prefix)).cloned()
        };
        let gone: Vec<String> = self
            .members
            .keys()
            .filter(|name| !self.held.contains_key(*name))
            .cloned()
            .collect();
        match happening {
            Happening::Start(node) if of(self, *node).is_none() => self.start(&format!("n{node}-{incarnation}")),
            Happening::Kill(node) => {
                if let Some(name) = of(self, *node) {
                    self.kill(&name);
                }
            }
            Happening::Lapse => gone.iter().for_each(|name| self.lapse(name)),
            Happening::Remove => self.members.retain(|name, _| !gone.contains(name)),
            Happening::Drain(node) => {
                if let Some(member) = of(self, *node).and_then(|name| self.members.get_mut(&name)) {
                    member.draining = true;
                }
            }
            Happening::Round(stale, lost) => {
                let order: Vec<String> = self.held.keys().cloned().collect();
                self.round(&order, stale, lost);
            }
            Happening::Start(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is asked, and in whatever order the members come, the answer is the same member.
    #[test]
    fn every_shard_has_one_right_owner(count in 1..12_usize, turn in 0..12_usize) {
        let members = names(count);
        let mut turned = members.clone();
        turned.rotate_left(turn % count);
        turned.reverse();
        prop_assert!(owners(&members).iter().all(Option::is_some));
        prop_assert_eq!(owners(&members), owners(&turned));
    }

    /// A member that comes or goes moves only its own shards.
    #[test]
    fn a_change_moves_only_what_must_move(count in 2..12_usize, which in 0..12_usize) {
        let all = names(count);
        let changed = all[which % count].clone();
        let without: Vec<String> = all.iter().filter(|name| **name != changed).cloned().collect();
        for (with, without) in owners(&all).iter().zip(owners(&without)) {
            prop_assert!(*with == without || *with == Some(changed.as_str()));
        }
    }

    /// Nobody has much more than a share: within five standard deviations of a fair draw.
    #[test]
    fn shards_are_spread_evenly(count in 1..=10_usize, prefix in "[a-z]{1,12}") {
        let members: Vec<String> = (0..count).map(|n| format!("{prefix}{n}-1")).collect();
        let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
        for owner in owners(&members).into_iter().flatten() {
            *shares.entry(owner).or_default() += 1;
        }
        let (count, shards) = (f64::from(u32::try_from(count).unwrap_or(1)), f64::from(SHARDS));
        let mean = shards / count;
        let slack = 5.0 * (mean * (1.0 - 1.0 / count)).sqrt();
        for share in shares.values() {
            prop_assert!((f64::from(*share) - mean).abs() <= slack, "{shares:?}");
        }
    }

    /// Whatever happens, no two nodes ever own a shard in one epoch (the model asserts it); and once nothing happens any
    /// more, the shards come to rest with whom they should be, and nobody gave away too many at once.
    #[test]
    fn plans_converge(happenings in proptest::collection::vec(happening(), 0..60)) {
        let mut cluster = Cluster::new();
        cluster.start("z-1");
        for (n, happening) in happenings.iter().enumerate() {
            cluster.happen(happening, n + 1);
        }
        cluster.members.retain(|name, _| cluster.held.contains_key(name));
        for member in cluster.members.values_mut() {
            member.draining = false;
        }
        cluster.settle();
        cluster.assert_right();
    }
}
