//! The timers of a shard's streams: one wheel, and one task that waits for the first of them.

use super::{ShardMessage, ShardState};
use crate::ask::Envelope;
use domain::ids::StreamId;
use domain::ports::StreamKind;
use domain::time::Timestamp;
use ractor::{ActorRef, MessagingErr};
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

/// Most timers that fire before the shard looks at its mailbox again.
const TIMERS_AT_ONCE: usize = 64;

/// The next tick: when, and the task that sends it.
pub(super) struct Alarm {
    pub(super) at: Timestamp,
    pub(super) task: JoinHandle<Result<(), MessagingErr<ShardMessage>>>,
}

impl ShardState {
    pub(super) fn show_timers(&mut self) {
        let next = self.wheel.next().map_or(0, |at| u64::try_from(at.0).unwrap_or(0));
        self.pulse().timers.store(self.wheel.len(), Ordering::Relaxed);
        self.pulse().next_timer.store(next, Ordering::Relaxed);
    }

    pub(super) fn schedule(
        &mut self,
        myself: &ActorRef<ShardMessage>,
        kind: StreamKind,
        stream: StreamId,
        wake_at: Option<Timestamp>,
    ) {
        if !self.fenced {
            self.wheel.set(kind, stream, wake_at);
            self.arm(myself);
        }
    }

    pub(super) fn tick(&mut self, myself: &ActorRef<ShardMessage>, at: Timestamp) {
        // An alarm that was replaced may have sent its tick already: answering it too would arm a second one for ever.
        if self.alarm.take_if(|alarm| alarm.at == at).is_none() {
            return;
        }
        let now = self.node.ports.clock.now();
        for _ in 0..TIMERS_AT_ONCE {
            let Some((kind, stream)) = self.wheel.pop(now) else {
                break;
            };
            self.deliver(myself, stream, Envelope::wake(kind), false);
        }
        self.arm(myself);
    }

    /// Sees to it that a tick comes when the first timer is due. There is never more than one alarm.
    pub(super) fn arm(&mut self, myself: &ActorRef<ShardMessage>) {
        let Some(next) = self.wheel.next() else { return };
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= next) {
            return;
        }
        let task = myself.send_after(self.node.wall_until(next), move || ShardMessage::Tick { at: next });
        if let Some(later) = self.alarm.replace(Alarm { at: next, task }) {
            later.task.abort();
        }
    }
}
