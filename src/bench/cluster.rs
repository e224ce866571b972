//! A cluster that is about to be put under load: it must have settled first, or the load measures how it does.

use super::BenchError;
use crate::client::Client;
use actors::ClusterStatus;
use domain::cluster::owner_of;
use domain::shard::ShardId;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it may take: nodes of an earlier run keep their shards for a lease.
const SETTLE_MAX: Duration = Duration::from_mins(1);
/// How often the nodes are asked.
const LOOK: Duration = Duration::from_millis(200);

/// Waits until each of these nodes sees a cluster of just them that is settled: linked with each other, with every shard
/// where it belongs.
///
/// # Errors
/// [`BenchError::Unsettled`] when that takes more than a minute; a failure of a node to answer.
pub(super) async fn settled(nodes: &[Client]) -> Result<(), BenchError> {
    let deadline = Instant::now() + SETTLE_MAX;
    for node in nodes {
        loop {
            let status = node
                .cluster()
                .await
                .map_err(BenchError::server("look at the cluster"))?;
            let Some(problem) = problem(&status, nodes.len()) else {
                break;
            };
            if Instant::now() > deadline {
                return Err(BenchError::Unsettled { problem });
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// What keeps a cluster of so many nodes from being settled.
fn problem(status: &ClusterStatus, nodes: usize) -> Option<String> {
    let node = &status.node;
    if !status.lease_holds {
        return Some(format!("{node} has no lease"));
    }
    let names = || status.members.iter().map(|member| member.name.as_str());
    if status.members.len() != nodes {
        let names: Vec<&str> = names().collect();
        return Some(format!(
            "{node} sees {} of {nodes} nodes: {}",
            names.len(),
            names.join(", ")
        ));
    }
    let up = status.links.iter().filter(|link| link.up).count();
    if up + 1 < nodes {
        return Some(format!("{node} has {up} links with {} others", nodes - 1));
    }
    let belongs = |shard: u16| owner_of(ShardId(shard), names());
    let astray = status
        .shards
        .iter()
        .filter(|shard| belongs(shard.shard) != Some(&*shard.owner));
    match astray.count() {
        0 if status.shards.is_empty() => Some(format!("{node} sees no shards")),
        0 => None,
        astray => Some(format!(
            "{astray} of {} shards are not where they belong",
            status.shards.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Two nodes, linked, with every shard where it belongs.
    fn cluster() -> Value {
        let names = ["bench-1-7", "bench-2-7"];
        let member =
            |name| json!({"name": name, "address": "", "lease_left_ms": 3_000, "draining": false, "shards": 128});
        let shard = |shard| json!({"shard": shard, "epoch": 3, "owner": owner_of(ShardId(shard), names)});
        json!({
            "node": names[0],
            "lease_holds": true,
            "members": names.map(member),
            "shards": (0..256).map(shard).collect::<Vec<_>>(),
            "links": [{
                "node": names[1], "address": "", "up": true, "since_ms": 1, "outstanding": 0, "requests": 0, "batches": 0
            }],
        })
    }

    /// What is wrong with it once something in it is so.
    fn problem_with(pointer: &str, value: Value) -> Option<String> {
        let mut cluster = cluster();
        *cluster.pointer_mut(pointer).expect("a place in it") = value;
        problem(&serde_json::from_value(cluster).expect("a cluster"), 2)
    }

    #[test]
    fn a_cluster_is_settled_when_nothing_is_left_to_do() {
        assert_eq!(problem_with("/node", json!("bench-1-7")), None);
        let third = json!([{"name": "x-1", "address": "", "lease_left_ms": 1, "draining": false, "shards": 0}]);
        for (pointer, value, expected) in [
            ("/lease_holds", json!(false), "bench-1-7 has no lease"),
            ("/members", third, "bench-1-7 sees 1 of 2 nodes: x-1"),
            ("/links/0/up", json!(false), "bench-1-7 has 0 links with 1 others"),
            (
                "/shards/9/owner",
                json!(""),
                "1 of 256 shards are not where they belong",
            ),
            ("/shards", json!([]), "bench-1-7 sees no shards"),
        ] {
            assert_eq!(problem_with(pointer, value).as_deref(), Some(expected));
        }
    }
}
