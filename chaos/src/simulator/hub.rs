//! Everything between and around the processes: time, chance, the network, the store, and those outside.

use super::Broken;
use super::actor::Outcome;
use super::checker::Checker;
use super::event::{Event, What};
use super::kinds::Command;
use super::life::Life;
use super::network::Network;
use super::participants::Participants;
use super::queue::{Queue, Time};
use super::random::Random;
use super::scenario::Scenario;
use super::store::{Append, CommitError, Reply, Request, Store};
use super::trace::Trace;
use super::world;
use domain::ids::{Epoch, StreamId};
use domain::order::Details;
use domain::policy::Policy;
use domain::ports::{Refusal, RowOutcome};
use domain::shard::{ShardId, ShardMap};
use std::sync::Arc;

/// How many shards the simulated store has: few enough that several streams share one.
const SHARDS: u16 = 8;

/// Something that somebody outside wants, and asks for until it is answered.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    Place { key: String, details: Arc<Details> },
    Tell(StreamId, Command),
}

#[derive(Debug)]
pub(super) struct Outside {
    pub(super) what: Errand,
    pub(super) attempt: u32,
    pub(super) is_done: bool,
}

/// Until when something is wrong, beside the links.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) store_away: Time,
    pub(super) answers_lost: Time,
    pub(super) slow_participants: Time,
    /// For each node.
    pub(super) overloaded: Vec<Time>,
    pub(super) panics: Vec<Time>,
}

/// What happened how often: a run in which nothing went wrong proves nothing (NV-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Orders that were delivered.
    pub delivered: u64,
    /// Orders that were cancelled.
    pub cancelled: u64,
    /// Orders that failed, and were undone.
    pub failed: u64,
    /// Rows that were committed.
    pub rows: u64,
    /// Rows that the fence kept out.
    pub fenced: u64,
    /// Commits whose answer was lost, although they were made.
    pub answers_lost: u64,
    /// Times that a shard changed its epoch.
    pub epochs: u64,
    /// Processes that died, by themselves or not.
    pub deaths: u64,
    /// Submissions under a key that was used already.
    pub keys_used: u64,
    /// Effects that reached a participant after they had been undone.
    pub late_effects: u64,
    /// Calls that found no room.
    pub full: u64,
    /// Of those, calls an earlier attempt of which may have been carried out.
    pub full_again: u64,
    /// Commands that waited for longer than a link without an answer is believed in.
    pub late_commands: u64,
    /// Actors that crashed in a process that went on.
    pub actor_crashes: u64,
    /// Rows that were committed for an actor that had crashed meanwhile.
    pub orphans: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.rows += other.rows;
        self.fenced += other.fenced;
        self.answers_lost += other.answers_lost;
        self.epochs += other.epochs;
        self.deaths += other.deaths;
        self.keys_used += other.keys_used;
        self.late_effects += other.late_effects;
        self.full += other.full;
        self.full_again += other.full_again;
        self.late_commands += other.late_commands;
        self.actor_crashes += other.actor_crashes;
        self.orphans += other.orphans;
    }
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) now: Time,
    pub(super) queue: Queue<Event>,
    pub(super) random: Random,
    /// What decides when actors panic: of its own, so that a run without that is the same as ever.
    pub(super) panics: Random,
    pub(super) policy: Policy,
    pub(super) broken: Option<Broken>,
    pub(super) scenario: Arc<Scenario>,
    pub(super) network: Network,
    pub(super) troubles: Troubles,
    pub(super) store: Store,
    pub(super) checker: Checker,
    pub(super) trace: Trace,
    pub(super) errands: Vec<Outside>,
    /// How many of them are not done.
    pub(super) errands_open: usize,
    pub(super) participants: Participants,
    pub(super) life: Life,
    pub(super) figures: Figures,
    /// The incarnation of each node's process; `None`: it is down.
    pub(super) up: Vec<Option<u32>>,
    numbers: u64,
}

impl Hub {
    pub(super) fn new(scenario: Arc<Scenario>, broken: Option<Broken>, reads: bool) -> Self {
        let nodes = scenario.size.nodes;
        let map = ShardMap::new(SHARDS).expect("a power of two");
        Self {
            now: 0,
            queue: Queue::new(),
            random: Random::new(scenario.seed, 2),
            panics: Random::new(scenario.seed, 5),
            policy: Policy::default(),
            broken,
            network: Network::new(nodes),
            troubles: Troubles {
                overloaded: vec![0; nodes],
                panics: vec![0; nodes],
                ..Troubles::default()
            },
            store: Store::new(map, super::event::times::LEASE, broken),
            checker: Checker::new(map, scenario.mood.capacity),
            trace: Trace::new(reads),
            errands: Vec::new(),
            errands_open: 0,
            participants: Participants::new(broken),
            life: Life::default(),
            figures: Figures::default(),
            up: vec![None; nodes],
            numbers: 0,
            scenario,
        }
    }

    /// Numbers for calls, activations and so on; each is given out once.
    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn name_of(node: usize, incarnation: u32) -> Arc<str> {
        format!("n{node}-{incarnation}").into()
    }

    pub(super) fn place_of(name: &str) -> Option<(usize, u32)> {
        let (node, incarnation) = name.strip_prefix('n')?.split_once('-')?;
        Some((node.parse().ok()?, incarnation.parse().ok()?))
    }

    /// A stream that does not matter.
    pub(super) fn nowhere() -> StreamId {
        world::zone_id().stream()
    }

    /// Whether faults still happen.
    pub(super) fn is_rough(&self) -> bool {
        self.now < self.scenario.quiet_at
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.is_rough() && self.random.chance(per_mille)
    }

    pub(super) fn put_process(&mut self, at: Time, node: usize, incarnation: u32, what: What) {
        self.queue.put(
            at,
            Event::Process {
                node,
                incarnation,
                what,
            },
        );
    }

    /// From a process to another, by its name.
    pub(super) fn message(&mut self, from: usize, to: &str, what: What) {
        let Some((node, incarnation)) = Self::place_of(to) else {
            return;
        };
        let mood = self.scenario.mood;
        if from != node && self.chance(mood.lost) {
            return;
        }
        let Some(at) = self.network.carry(&mut self.random, self.now, from, node) else {
            return;
        };
        // A link brings each request once: one that found no room here cannot have been taken there. Asked again, it is
        // another attempt.
        let is_request = matches!(what, What::Ask(..));
        if from != node
            && !is_request
            && self.chance(mood.doubled)
            && let Some(again) = self.network.carry(&mut self.random, self.now, from, node)
        {
            self.put_process(again, node, incarnation, what.clone());
        }
        self.put_process(at, node, incarnation, what);
    }

    /// A process tells all others who owns what now.
    pub(super) fn tell_all(&mut self, from: usize, owners: &[(ShardId, Epoch, Arc<str>)]) {
        for node in 0..self.up.len() {
            if let Some(incarnation) = self.up[node].filter(|_| node != from) {
                self.message(from, &Self::name_of(node, incarnation), What::Owners(owners.to_vec()));
            }
        }
    }

    /// A request leaves for the store. Whoever hears nothing for long gives the connection up.
    pub(super) fn ask_store(&mut self, node: usize, from: &Arc<str>, rpc: u64, request: Request) {
        let (store, given_up_at) = (self.network.store(), self.now + super::event::times::RPC);
        let Some(at) = self.network.carry(&mut self.random, self.now, node, store) else {
            return self.give_up(from, rpc, given_up_at);
        };
        let from = from.clone();
        self.queue.put(
            at,
            Event::Store {
                node,
                from,
                rpc,
                request,
                given_up_at,
            },
        );
    }

    /// Most answers come, so the time-out of a request is an event only if it passes.
    fn give_up(&mut self, from: &str, rpc: u64, at: Time) {
        if let Some((node, incarnation)) = Self::place_of(from) {
            self.put_process(at.max(self.now), node, incarnation, What::Heard(rpc, Reply::Lost));
        }
    }

    /// A request is at the store: what it answers, and whether that is heard.
    pub(super) fn serve_store(&mut self, node: usize, from: &Arc<str>, rpc: u64, request: Request, given_up_at: Time) {
        let Some((_, incarnation)) = Self::place_of(from) else {
            return;
        };
        let mood = self.scenario.mood;
        let is_away = self.now < self.troubles.store_away;
        if is_away && self.random.chance(500) {
            return self.give_up(from, rpc, given_up_at);
        }
        let is_commit = matches!(request, Request::Commit(_));
        let reply = if is_away || (is_commit && self.chance(mood.commits_failed)) {
            Reply::Unavailable
        } else {
            self.carry_out(from, request)
        };
        let lost = if self.now < self.troubles.answers_lost {
            300
        } else {
            mood.answers_lost
        };
        let lost = self.chance(lost);
        let is_made = matches!(reply, Reply::Committed(Ok(_)));
        self.figures.answers_lost += u64::from(lost && is_made);
        let store = self.network.store();
        let back = self.network.carry(&mut self.random, self.now, store, node);
        match back.filter(|at| *at < given_up_at) {
            Some(at) if !lost => self.put_process(at, node, incarnation, What::Heard(rpc, reply)),
            // A connection that breaks is noticed at once, or when nothing comes.
            Some(at) if self.random.chance(500) => self.give_up(from, rpc, at),
            _ => self.give_up(from, rpc, given_up_at),
        }
    }

    fn carry_out(&mut self, from: &Arc<str>, request: Request) -> Reply {
        match request {
            Request::Commit(batch) => Reply::Committed(self.commit(from, &batch)),
            request => {
                let owns = matches!(request, Request::Take(_) | Request::Reacquire(_));
                if let Request::Load(stream, activation) = request {
                    self.checker.begun(from, stream, activation);
                }
                let reply = self.store.serve(self.now, from, request);
                if let (true, Reply::Owned(owned)) = (owns, &reply) {
                    self.trace.say(self.now, || {
                        let owned: Vec<_> = owned.iter().map(|line| (line.shard.0, line.epoch.0)).collect();
                        format!("the store gives {from} (shard, epoch) {owned:?}")
                    });
                    self.figures.epochs += owned.len() as u64;
                    self.checker.owned(from, owned);
                }
                if let Reply::Loaded(loaded) = &reply {
                    self.checker.loaded(loaded.as_ref());
                }
                reply
            }
        }
    }

    fn commit(&mut self, from: &Arc<str>, batch: &[Append]) -> Result<Vec<RowOutcome>, CommitError> {
        let outcomes = self.store.admit(batch).inspect_err(|error| {
            let is_used = *error == CommitError::Refused(Refusal::DuplicateKey);
            self.figures.keys_used += u64::from(is_used);
            self.trace.say(self.now, || {
                format!("the store does not take rows of {from}: {error:?}")
            });
        })?;
        for (row, outcome) in batch.iter().zip(&outcomes) {
            self.trace
                .mix(row.stream.0.as_u64_pair().1 ^ row.seq.0 ^ (row.epoch.0 << 32));
            self.trace.say(self.now, || {
                let verdict = if *outcome == RowOutcome::Committed {
                    "commits"
                } else {
                    "is fenced with"
                };
                let (shard, epoch, position) = (row.shard.0, row.epoch.0, row.position.0);
                let (stream, seq) = (short(row.stream), row.seq.0);
                format!(
                    "{from} {verdict} {stream}/{seq} at {shard}:{position} in epoch {epoch}: {}",
                    row.facts.names()
                )
            });
            if *outcome == RowOutcome::Fenced {
                self.figures.fenced += 1;
            } else {
                self.figures.rows += 1;
                let epoch = self.store.owners[usize::from(row.shard.0)].epoch;
                let end = self.store.lines[usize::from(row.shard.0)].len() as u64;
                let state = self.checker.row(from, row, epoch, end);
                self.store.write(row);
                if let Some(state) = state {
                    self.observe(&state);
                }
            }
        }
        Ok(outcomes)
    }
}

/// A stream's name in the trace.
pub(super) fn short(stream: StreamId) -> String {
    let text = stream.to_string();
    text[text.len() - 6..].to_owned()
}

/// Those outside.
impl Hub {
    /// Somebody wants something, from then on.
    pub(super) fn want(&mut self, at: Time, what: Errand) {
        self.errands.push(Outside {
            what,
            attempt: 0,
            is_done: false,
        });
        self.errands_open += 1;
        self.queue.put(at, Event::Errand(self.errands.len() - 1));
    }

    /// An attempt, at some node.
    pub(super) fn ask_errand(&mut self, errand: usize) {
        let node = self.random.index(self.up.len());
        let outside = &mut self.errands[errand];
        if outside.is_done {
            return;
        }
        outside.attempt += 1;
        let attempt = outside.attempt;
        let Some(incarnation) = self.up[node] else {
            // The connection is refused.
            let at = self.now + self.random.between(100, 500);
            self.queue.put(at, Event::Errand(errand));
            return;
        };
        if !self.chance(self.scenario.mood.lost) {
            let at = self.now + self.random.between(1, 30);
            self.put_process(at, node, incarnation, What::Errand { errand, attempt });
        }
        let at = self.now + super::event::times::ERRAND;
        self.queue.put(at, Event::ErrandLost { errand, attempt });
    }

    pub(super) fn answer_errand(
        &mut self,
        _node: usize,
        errand: usize,
        attempt: u32,
        stream: StreamId,
        outcome: Outcome,
    ) {
        if self.chance(self.scenario.mood.lost) {
            return;
        }
        let at = self.now + self.random.between(1, 30);
        self.queue.put(
            at,
            Event::ErrandAnswered {
                errand,
                attempt,
                stream,
                outcome,
            },
        );
    }
}
