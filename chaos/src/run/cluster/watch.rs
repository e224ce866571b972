//! Who owns the shards, looked at all the time: for LS-1, and for how long shards stand still after a fault.

use super::database::Database;
use crate::checker::lines::{OwnerSeen, Owners};
use domain::cluster::owner_of;
use domain::invariants::Violation;
use domain::shard::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How often the owners are read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The owners at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The shards in order; empty until the database has them.
    pub(super) shards: Vec<OwnerSeen>,
    /// How often each node has taken a shard so far.
    pub(super) taken: BTreeMap<String, u64>,
}

impl View {
    /// The shards that a node owns.
    pub(super) fn of(&self, name: &str) -> BTreeSet<u16> {
        let owned = (0_u16..).zip(&self.shards).filter(|(_, shard)| shard.owner == name);
        owned.map(|(shard, _)| shard).collect()
    }

    /// Whether each shard is owned by the one of these nodes that should.
    fn is_level(&self, members: &[String]) -> bool {
        let is_right = |(shard, seen): (u16, &OwnerSeen)| {
            owner_of(ShardId(shard), members.iter().map(String::as_str)) == Some(seen.owner.as_str())
        };
        !self.shards.is_empty() && (0..).zip(&self.shards).all(is_right)
    }
}

/// Looks at the owners until the run is over.
pub(super) struct Watch {
    view_rx: watch::Receiver<Arc<View>>,
    owners: Arc<Mutex<Owners>>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(database: Arc<Database>, tasks: &mut JoinSet<()>) -> Self {
        let (view_tx, view_rx) = watch::channel(Arc::new(View::default()));
        let owners = Arc::new(Mutex::new(Owners::default()));
        let watching = Arc::clone(&owners);
        tasks.spawn(async move {
            loop {
                // Before the first node has made the tables, and while the database is away, there is nothing to see.
                if let Ok(shards) = database.owners().await {
                    let taken = {
                        let mut owners = watching.lock().unwrap_or_else(PoisonError::into_inner);
                        owners.see(&shards);
                        owners.taken.clone()
                    };
                    view_tx.send_replace(Arc::new(View { shards, taken }));
                }
                sleep(LOOK_EVERY).await;
            }
        });
        Self { view_rx, owners }
    }

    /// What is known now.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view_rx.borrow())
    }

    /// What did not hold.
    pub(super) fn findings(&self) -> Vec<Violation> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.findings.clone()
    }

    /// Waits for a view that is as wanted; when it was seen. `None`: it did not come in time.
    async fn until(&self, within: Duration, wanted: impl Fn(&View) -> bool) -> Option<(Instant, Arc<View>)> {
        let mut view_rx = self.view_rx.clone();
        let seen = timeout(within, view_rx.wait_for(|view| wanted(view))).await;
        let view = Arc::clone(&*seen.ok()?.ok()?);
        Some((Instant::now(), view))
    }

    /// Waits until these shards are owned, and not by that node any more. The view then.
    pub(super) async fn moved(&self, shards: &BTreeSet<u16>, from: &str, within: Duration) -> Option<Arc<View>> {
        let is_elsewhere = |view: &View| {
            let owner = |shard: &u16| view.shards.get(usize::from(*shard)).map(|seen| seen.owner.as_str());
            shards
                .iter()
                .all(|shard| owner(shard).is_some_and(|owner| !owner.is_empty() && owner != from))
        };
        self.until(within, is_elsewhere).await.map(|(_, view)| view)
    }

    /// Waits until each shard is owned by the one of these nodes that should; `false` when that takes longer.
    pub(super) async fn level(&self, members: &[String], within: Duration) -> bool {
        self.until(within, |view| view.is_level(members)).await.is_some()
    }
}
