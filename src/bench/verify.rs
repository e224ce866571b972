//! Looks for every acknowledged order: it must exist, and be over or move.

use super::connection::{Line, Target};
use super::orders::text_of;
use hyper::body::Bytes;
use hyper::{Method, Uri};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Connections over which orders are asked for.
const CONNECTIONS: usize = 32;
/// How often an order is asked for before it counts as missing, unless the server says that it is.
const ATTEMPTS_MAX: u32 = 5;
/// The pause between two attempts.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often orders that are still PENDING are looked at again, a second apart: they must get on.
const LOOKS_MAX: u32 = 30;
const PENDING: &str = "PENDING";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Orders that were looked for.
    pub(super) checked: u64,
    /// Orders that are not there.
    pub(super) missing: u64,
    /// Orders that neither are over nor got on.
    pub(super) stalled: u64,
    /// The others, by status.
    pub(super) by_status: BTreeMap<String, u64>,
}

/// Looks for a share of the orders, from 0 to 1, at the servers in turn: any of them knows all orders.
pub(super) async fn verify(targets: &[Target], acknowledged: &[Uuid], share: f64, seed: u64) -> Found {
    let mut draws = SmallRng::seed_from_u64(seed);
    let share = share.clamp(0.0, 1.0);
    let mut left: Vec<Uuid> = acknowledged
        .iter()
        .copied()
        .filter(|_| draws.random_bool(share))
        .collect();
    let mut found = Found {
        checked: u64::try_from(left.len()).unwrap_or(u64::MAX),
        ..Found::default()
    };
    for look in 0..=LOOKS_MAX {
        if look > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        let mut pending = Vec::new();
        for (id, status) in statuses(targets, left).await {
            match status {
                None => found.missing += 1,
                Some(status) if status == PENDING => pending.push(id),
                Some(status) => *found.by_status.entry(status).or_default() += 1,
            }
        }
        left = pending;
        if left.is_empty() {
            break;
        }
    }
    found.stalled = u64::try_from(left.len()).unwrap_or(u64::MAX);
    found
}

/// The statuses of orders; `None` of those that are not there.
async fn statuses(targets: &[Target], ids: Vec<Uuid>) -> Vec<(Uuid, Option<String>)> {
    let connections = ids.len().min(CONNECTIONS);
    let queue = Arc::new(Mutex::new(ids));
    let mut asking = JoinSet::new();
    for target in targets.iter().cycle().take(connections) {
        let (target, queue) = (target.clone(), Arc::clone(&queue));
        asking.spawn(async move {
            let (mut line, mut answers) = (None, Vec::new());
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(id) = next else { return answers };
                answers.push((id, status(&target, &mut line, id).await));
            }
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}

async fn status(target: &Target, line: &mut Option<Line>, id: Uuid) -> Option<String> {
    let uri: Uri = format!("/v1/orders/{id}/status").parse().ok()?;
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            sleep(AGAIN).await;
        }
        let asked = async {
            let kept = match &mut *line {
                Some(line) => line,
                None => line.insert(Line::open(target).await?),
            };
            kept.send(target.request(Method::GET, uri.clone(), Bytes::new())).await
        };
        match timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok(reply)) if reply.status == 200 => {
                return Some(text_of(&reply.body, "status").unwrap_or(PENDING).to_owned());
            }
            Ok(Ok(reply)) if reply.status == 404 => return None,
            // Busy, or stopping: it may say more later.
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => *line = None,
        }
    }
    None
}
