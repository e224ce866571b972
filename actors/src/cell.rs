//! What can be seen of an actor without asking it: counters and the last committed state.

use crate::ask::{Envelope, Versioned};
use crate::error::CallError;
use crate::life::Inbox;
use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use domain::channel::Channel;
use domain::ids::StreamId;
use domain::order::Order;
use domain::ports::StreamKind;
use domain::shard::ShardId;
use domain::zone::Zone;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The last committed state of an entity.
#[derive(Clone, Debug)]
pub(crate) enum Latest {
    Order(Versioned<Order>),
    Channel(Versioned<Channel>),
    Zone(Versioned<Zone>),
}

/// What an actor is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Starting,
    Running,
    Passivating,
    Restarting,
    Parked,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Passivating => "passivating",
            Self::Restarting => "restarting",
            Self::Parked => "parked",
        }
    }
}

/// One actor's vital signs. Written by the actor and its shard, read by anybody, never locked for long.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) kind: StreamKind,
    pub(crate) stream: StreamId,
    pub(crate) shard: ShardId,
    pub(crate) depth: AtomicU64,
    pub(crate) handled: AtomicU64,
    pub(crate) restarts: AtomicU32,
    pub(crate) started: Instant,
    last_active_ms: AtomicU64,
    status: AtomicU8,
    trouble: Mutex<Option<String>>,
    pub(crate) wake_at: AtomicU64,
    pub(crate) latest: ArcSwapOption<Latest>,
    /// Whether nothing is under way: the actor may go until somebody has something to say, or a timer is due.
    pub(crate) resting: AtomicBool,
    /// The version of the last stored snapshot.
    pub(crate) snapshot_seq: AtomicU64,
    /// Whether an append of the stream is under way: nobody can say yet what becomes of it. It outlives an actor that crashes.
    pub(crate) is_appending: AtomicBool,
    /// Where the actor takes its messages, while there is one.
    pub(crate) inbox: ArcSwapOption<Inbox>,
}

impl Cell {
    pub(crate) fn new(kind: StreamKind, stream: StreamId, shard: ShardId) -> Self {
        Self {
            kind,
            stream,
            shard,
            depth: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            started: Instant::now(),
            last_active_ms: AtomicU64::new(0),
            status: AtomicU8::new(Status::Starting as u8),
            trouble: Mutex::new(None),
            wake_at: AtomicU64::new(0),
            latest: ArcSwapOption::empty(),
            resting: AtomicBool::new(false),
            snapshot_seq: AtomicU64::new(0),
            is_appending: AtomicBool::new(false),
            inbox: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let all = [
            Status::Starting,
            Status::Running,
            Status::Passivating,
            Status::Restarting,
            Status::Parked,
        ];
        all[usize::from(self.status.load(Ordering::Relaxed)).min(all.len() - 1)]
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::Relaxed);
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn touch(&self) {
        self.last_active_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn idle_ms(&self) -> u64 {
        self.age_ms()
            .saturating_sub(self.last_active_ms.load(Ordering::Relaxed))
    }

    /// Puts a command into the actor's mailbox, or refuses it when that is full. Back: there is no actor of its kind that
    /// would take it now.
    pub(crate) fn hand_over(&self, envelope: Envelope, mailbox_max: u64) -> Option<Envelope> {
        match self.inbox.load().as_deref() {
            Some(inbox) if envelope.kind() == self.kind => self.put(inbox, envelope, mailbox_max),
            _ => Some(envelope),
        }
    }

    /// As [`Cell::hand_over`], but to this actor only: back if another has taken its place.
    pub(crate) fn hand_over_to(&self, actor: &Arc<Inbox>, envelope: Envelope, mailbox_max: u64) -> Option<Envelope> {
        if self
            .inbox
            .load()
            .as_ref()
            .is_some_and(|inbox| Arc::ptr_eq(inbox, actor))
        {
            // Into its own mailbox, so that nobody else hears it whatever becomes of it meanwhile.
            self.put(actor, envelope, mailbox_max)
        } else {
            Some(envelope)
        }
    }

    fn put(&self, inbox: &Inbox, envelope: Envelope, mailbox_max: u64) -> Option<Envelope> {
        // A timer is let in always: there is one for a stream, and the wheel has forgotten it.
        if self.depth.load(Ordering::Relaxed) >= mailbox_max && !envelope.is_wake() {
            metrics::counter!("uoop_commands_refused_total", "bound" => "mailbox").increment(1);
            envelope.refuse(CallError::Overloaded { what: self.name() });
            return None;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        let back = inbox.send(envelope);
        if back.is_some() {
            self.left(1);
        }
        back
    }

    /// Commands taken out of the mailbox.
    pub(crate) fn took(&self, commands: u64) {
        self.handled.fetch_add(commands, Ordering::Relaxed);
        self.left(commands);
        self.touch();
    }

    /// Commands wait no more. An actor that is started anew counts from zero, whatever was on its way to the one before.
    pub(crate) fn left(&self, commands: u64) {
        let less = |depth: u64| Some(depth.saturating_sub(commands));
        let _ = self.depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What it is, for people.
    pub(crate) fn name(&self) -> String {
        match self.kind {
            StreamKind::Order => format!("order {}", self.stream),
            StreamKind::Channel => format!("channel {}", self.stream),
            StreamKind::Zone => format!("zone {}", self.stream),
        }
    }
}

/// All actors that live here, by their stream.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    cells: DashMap<StreamId, Arc<Cell>>,
}

impl Registry {
    pub(crate) fn enter(&self, cell: &Arc<Cell>) {
        self.cells.insert(cell.stream, Arc::clone(cell));
    }

    pub(crate) fn leave(&self, stream: StreamId) {
        self.cells.remove(&stream);
    }

    /// All actors of a shard are gone.
    pub(crate) fn clear(&self, shard: ShardId) {
        self.cells.retain(|_, cell| cell.shard != shard);
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<Arc<Cell>> {
        self.cells.get(&stream).map(|cell| Arc::clone(&cell))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells.iter().map(|cell| Arc::clone(&cell)).collect()
    }
}
