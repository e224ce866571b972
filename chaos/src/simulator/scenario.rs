//! What a seed stands for: the orders, the faults, and how the world is disposed. Drawn before the run, so that it can be
//! made smaller piece by piece.

use super::queue::Time;
use super::random::Random;
use std::fmt;

const MINUTE: Time = 60_000;
const HOUR: Time = 60 * MINUTE;
/// Orders begin when nodes have had time to share out the shards.
const OPENING: Time = 10_000;
/// The farthest that a node's clock is off, either way.
pub(super) const SKEW_MAX: i64 = 5 * 60_000;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many nodes there are.
    pub nodes: usize,
    /// For how many virtual hours orders come and faults happen.
    pub hours: u64,
    /// How many orders are placed.
    pub orders: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            nodes: 3,
            hours: 1,
            orders: 24,
        }
    }
}

/// An order, as its customer means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderPlan {
    /// Which one: its idempotency key, and what is drawn for it.
    pub(super) number: usize,
    pub(super) at: Time,
    pub(super) restaurant: usize,
    /// How long after its acceptance it is cancelled, if it is.
    pub(super) cancel_after: Option<Time>,
}

/// Which way a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    There,
    Back,
    Both,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process dies and is started again when the fault ends.
    Crash(usize),
    /// The process stands still (`SIGSTOP`) and goes on with what it believed.
    Pause(usize),
    /// Two nodes do not hear each other.
    Nodes(usize, usize, Cut),
    /// A node and the store do not hear each other.
    Store(usize, Cut),
    /// The store answers nobody.
    StoreAway,
    /// Many answers of the store are lost.
    LostAnswers,
    /// Participants take long, or do not answer.
    SlowParticipants,
    /// The node gives its shards away, ends, and is started again.
    Drain(usize),
    /// A courier drops out and comes back.
    CourierOff(usize),
    /// Others ask more of the node than it can take: what comes waits behind them, or finds no room.
    Overload(usize),
    /// Actors of the node panic now and then, over whatever they are at, and are begun anew.
    Panics(usize),
}

/// A fault, from when and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FaultPlan {
    pub(super) at: Time,
    pub(super) lasts: Time,
    pub(super) fault: Fault,
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} {:?} for {} ms", self.at, self.fault, self.lasts)
    }
}

/// How likely small things are, per mille; swarm testing (Groce and others 2012): each run has its own mixture, and many
/// have some of it not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mood {
    /// Messages between nodes and to participants that are lost.
    pub(super) lost: u64,
    /// Messages that come twice.
    pub(super) doubled: u64,
    /// Answers of the store that are lost, the store having done what it was asked.
    pub(super) answers_lost: u64,
    /// Commits that the store refuses for the moment.
    pub(super) commits_failed: u64,
    /// Authorizations that are declined, and tickets that are refused.
    pub(super) refused: u64,
    /// Tickets that are decided later.
    pub(super) pending: u64,
    /// Accepted tickets that the kitchen drops.
    pub(super) dropped: u64,
    /// How many units of each slot a kitchen has.
    pub(super) capacity: u32,
    /// Whether the nodes' clocks are off by minutes or by less than a second.
    pub(super) skewed: bool,
    /// How many commands may wait for one stream.
    pub(super) mailbox: usize,
    /// Commands to an overloaded node that find no room.
    pub(super) full: u64,
    /// Moments of an actor, while such a fault lasts, in which it panics.
    pub(super) panics: u64,
}

/// Everything that a run follows from, beside the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) size: Size,
    pub(super) mood: Mood,
    pub(super) orders: Vec<OrderPlan>,
    pub(super) faults: Vec<FaultPlan>,
    /// From here on nothing goes wrong.
    pub(super) quiet_at: Time,
}

impl Scenario {
    pub(super) fn new(seed: u64, size: Size) -> Self {
        let mut random = Random::new(seed, 1);
        let quiet_at = size.hours.max(1) * HOUR;
        // Each of its own, so that older seeds stand for the same orders and faults as ever.
        let mut more = Random::new(seed, 3);
        let mut crashes = Random::new(seed, 4);
        let mood = Mood::draw(&mut random, &mut more, &mut crashes);
        let orders = (0..size.orders)
            .map(|number| OrderPlan {
                number,
                at: random.between(OPENING, quiet_at - 5 * MINUTE),
                restaurant: random.index(4),
                cancel_after: random.chance(120).then(|| random.between(100, 20 * MINUTE)),
            })
            .collect();
        let mut faults = draw_faults(&mut random, size, quiet_at);
        faults.extend(draw_spells(&mut more, size, quiet_at, Fault::Overload));
        faults.extend(draw_spells(&mut crashes, size, quiet_at, Fault::Panics));
        faults.sort_by_key(|fault| fault.at);
        Self {
            seed,
            size,
            mood,
            orders,
            faults,
            quiet_at,
        }
    }
}

impl Mood {
    fn draw(random: &mut Random, more: &mut Random, crashes: &mut Random) -> Self {
        Self {
            lost: random.pick(&[0, 0, 5, 30]),
            doubled: random.pick(&[0, 0, 10, 100]),
            answers_lost: random.pick(&[0, 1, 5, 30]),
            commits_failed: random.pick(&[0, 0, 5, 20]),
            refused: random.pick(&[0, 50, 150]),
            pending: random.pick(&[0, 200, 500]),
            dropped: random.pick(&[0, 20, 100]),
            capacity: random.pick(&[1, 3, 20]),
            skewed: random.chance(500),
            mailbox: more.pick(&[1, 4, 4_096, 4_096]),
            full: more.pick(&[100, 400, 700]),
            panics: crashes.pick(&[5, 30, 150]),
        }
    }
}

fn draw_faults(random: &mut Random, size: Size, quiet_at: Time) -> Vec<FaultPlan> {
    let kinds: Vec<u64> = (0..9).filter(|_| random.chance(600)).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let count = random.pick(&[4, 12, 30]) * size.hours.max(1);
    let node = |random: &mut Random| random.index(size.nodes);
    let cut = |random: &mut Random| random.pick(&[Cut::There, Cut::Back, Cut::Both]);
    let draw = |_| {
        let (fault, longest) = match random.pick(&kinds) {
            0 => (Fault::Crash(node(random)), 30_000),
            1 => (Fault::Pause(node(random)), 40_000),
            2 => (Fault::Nodes(node(random), node(random), cut(random)), 60_000),
            3 => (Fault::Store(node(random), cut(random)), 60_000),
            4 => (Fault::StoreAway, 20_000),
            5 => (Fault::LostAnswers, 60_000),
            6 => (Fault::SlowParticipants, 60_000),
            7 => (Fault::Drain(node(random)), 5_000),
            _ => (Fault::CourierOff(random.index(3)), 300_000),
        };
        // Short ones are as likely as long ones: it is the moments around a lease that matter.
        let longest = if random.chance(500) { 5_000 } else { longest };
        let lasts = random.between(50, longest);
        let at = random.between(0, quiet_at - lasts - 1);
        FaultPlan { at, lasts, fault }
    };
    (0..count).map(draw).collect()
}

/// Spells of something, on one node or another; half of the runs have none.
fn draw_spells(random: &mut Random, size: Size, quiet_at: Time, fault: fn(usize) -> Fault) -> Vec<FaultPlan> {
    let count = random.pick(&[0, 0, 4, 20]) * size.hours.max(1);
    let draw = |_| {
        let lasts = random.between(1_000, 4 * MINUTE);
        FaultPlan {
            at: random.between(0, quiet_at - lasts - 1),
            lasts,
            fault: fault(random.index(size.nodes)),
        }
    };
    (0..count).map(draw).collect()
}
