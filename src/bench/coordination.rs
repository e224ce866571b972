//! What it costs that servers are several: the nodes' shares, and what crosses between them.

use super::numbers::{float, known, rounded, thousandths};
use super::session::Measured;
use serde::Serialize;

const MIB: f64 = 1_048_576.0;
const FORWARDED: &str = "uoop_calls_forwarded_total";
const REQUESTS: &str = "uoop_peer_requests_total";
const FRAMES: &str = "uoop_peer_batches_total";
const BYTES: &str = "uoop_peer_bytes_total";
const LOST: &str = "uoop_peer_lost_total";

/// One server's share in a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeShare {
    /// `bench-1` and so on, `server` when it is the only one, or the address that was given.
    pub node: String,
    /// Orders that it confirmed within the window, as the owner of their shards.
    pub completed: Option<u64>,
    /// Its part in the processor time for each completed order of all servers, in milliseconds.
    pub cpu_ms_per_order: Option<f64>,
    /// The most memory that it held within the window, in MiB.
    pub rss_mb: Option<f64>,
}

/// What nodes of a cluster have to do with each other, for each completed order. Null but for the commits when there is no
/// cluster. More than the truth when the servers fall behind: what orders took that were not completed meanwhile counts too.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coordination {
    /// Commits of all servers.
    pub commits_per_order: Option<f64>,
    /// Commands for actors that were sent to another node, each attempt counted.
    pub forwarded_per_order: Option<f64>,
    /// Frames that nodes sent each other; with what they tell each other unasked, such as a channel's outline, so there are some
    /// even when nothing is forwarded.
    pub frames_per_order: Option<f64>,
    /// Bytes of all frames that nodes sent each other.
    pub link_bytes_per_order: Option<f64>,
    /// Questions in a frame, on average over all frames; those that hold only answers count too.
    pub requests_per_frame: Option<f64>,
    /// Ends of links between nodes that broke within the window: when there are any, the rest is no ordinary operation.
    pub links_lost: Option<u64>,
}

impl Coordination {
    pub(super) fn of(measured: &Measured, is_cluster: bool) -> Self {
        let orders = measured.completed();
        let each = |count: Option<f64>| thousandths(count? / orders?);
        let sent = |name| measured.counted(|figures| figures.count_where(name, "direction", "out"));
        let (requests, frames) = (sent(REQUESTS), sent(FRAMES));
        let commits = measured.counted(|figures| figures.count("uoop_journal_commit_seconds_count"));
        let between = if is_cluster {
            Self {
                commits_per_order: None,
                forwarded_per_order: each(measured.counted(|figures| figures.count(FORWARDED))),
                frames_per_order: each(frames),
                link_bytes_per_order: each(sent(BYTES)),
                requests_per_frame: requests
                    .zip(frames)
                    .and_then(|(requests, frames)| known(requests / frames)),
                links_lost: measured.counted(|figures| figures.count(LOST)).map(whole),
            }
        } else {
            Self::default()
        };
        Self {
            commits_per_order: each(commits),
            ..between
        }
    }

    /// What to show of it, and of the nodes.
    pub(super) fn rows(&self, nodes: &[NodeShare]) -> Vec<[String; 2]> {
        let shown = |value: Option<f64>, places: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
        };
        let mut rows = vec![["commits an order".to_owned(), shown(self.commits_per_order, 3)]];
        if self.forwarded_per_order.is_some() {
            rows.push([
                "calls forwarded an order".to_owned(),
                shown(self.forwarded_per_order, 3),
            ]);
            rows.push(["frames an order".to_owned(), shown(self.frames_per_order, 3)]);
            rows.push([
                "bytes between nodes an order".to_owned(),
                shown(self.link_bytes_per_order, 0),
            ]);
            rows.push(["requests in a frame".to_owned(), shown(self.requests_per_frame, 2)]);
        }
        if let Some(lost) = self.links_lost.filter(|lost| *lost > 0) {
            rows.push(["links between nodes that broke".to_owned(), lost.to_string()]);
        }
        if nodes.len() > 1 {
            for node in nodes {
                let completed = node.completed.map_or_else(|| "-".to_owned(), |count| count.to_string());
                let (cpu, rss) = (shown(node.cpu_ms_per_order, 3), shown(node.rss_mb, 0));
                rows.push([
                    format!("  {}: completed, CPU an order, memory", node.node),
                    format!("{completed}, {cpu} ms, {rss} MiB"),
                ]);
            }
        }
        rows
    }
}

impl Measured {
    /// By how much a sum of the servers' figures grew between the readings.
    fn counted(&self, count: impl Fn(&super::figures::Figures) -> f64) -> Option<f64> {
        let (before, after) = (self.before.figures.as_ref()?, self.after.figures.as_ref()?);
        Some((count(after) - count(before)).max(0.0))
    }

    /// What each of the servers did, by these names.
    pub(super) fn shares<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<NodeShare> {
        let orders = self.completed();
        let share = |(n, name): (usize, &str)| {
            let confirmed = |reading: &super::reading::Reading| reading.confirmed_by_server.get(n).copied().flatten();
            let cpu_ms = |reading: &super::reading::Reading| reading.cpu.by_server.get(n).copied().flatten();
            let used = || Some(cpu_ms(&self.after)?.saturating_sub(cpu_ms(&self.before)?));
            let completed = || Some((confirmed(&self.after)? - confirmed(&self.before)?).max(0.0));
            let peak = self.node_peaks_bytes.get(n).copied().flatten();
            NodeShare {
                node: name.to_owned(),
                completed: completed().map(whole),
                cpu_ms_per_order: used()
                    .zip(orders)
                    .and_then(|(ms, orders)| thousandths(float(ms) / orders)),
                rss_mb: peak.map(|bytes| rounded(float(bytes) / MIB)),
            }
        };
        names.enumerate().map(share).collect()
    }
}

/// A count that came as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count, far below 2^53"
)]
fn whole(count: f64) -> u64 {
    count.max(0.0).round() as u64
}
