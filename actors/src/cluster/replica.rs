//! Channels and zones of other nodes: every node keeps a copy of each. That of a zone is fed with the rows that its owner
//! commits, that of a channel with outlines (see `outlines`). Routing looks at the copies; nothing that must be right depends
//! on them.

use super::outlines::ChannelNews;
use crate::ask::Versioned;
use crate::hosted::Hosted;
use crate::node::Node;
use crate::restore::restore;
use domain::channel::Channel;
use domain::entity::{Entity, fold};
use domain::ids::{Seq, StreamId, ZoneId};
use domain::ports::{Recorded, StoreError, StreamKind};
use domain::time::Timestamp;
use domain::zone::Zone;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Whose rows other nodes are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Replica {
    Zone(ZoneId),
}

/// A committed row of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReplicaRow {
    pub(crate) of: Replica,
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    /// A JSON array.
    pub(crate) events: String,
}

/// The state after what was said, if that says something new and follows what is known.
enum Next<E> {
    State(Versioned<E>),
    Known,
    Gap,
}

fn next<E: Entity>(known: Option<Versioned<E>>, row: &ReplicaRow) -> Next<E> {
    let seq = known.as_ref().map_or(Seq(0), |known| known.seq);
    if row.seq <= seq {
        return Next::Known;
    }
    if row.seq != seq.next() {
        return Next::Gap;
    }
    let state = known.map(|known| (*known.state).clone());
    let events = serde_json::from_str::<Vec<E::Event>>(&row.events);
    match events
        .ok()
        .and_then(|events| fold(state, &events, row.at).ok().flatten())
    {
        Some(state) => Next::State(Versioned {
            seq: row.seq,
            state: Arc::new(state),
        }),
        None => Next::Gap,
    }
}

/// The state with what is new of it.
fn with_news(known: Option<&Versioned<Channel>>, news: ChannelNews) -> Next<Channel> {
    let seq = known.map_or(Seq(0), |known| known.seq);
    if news.seq <= seq {
        return Next::Known;
    }
    if news.after > seq {
        return Next::Gap;
    }
    match news.outline.onto(known.map(|known| &*known.state)) {
        Some(state) => Next::State(Versioned {
            seq: news.seq,
            state: Arc::new(state),
        }),
        None => Next::Gap,
    }
}

impl Node {
    /// Takes in a row of a zone of another node. What does not follow is read from the store instead.
    pub(crate) fn replicate(self: &Arc<Self>, row: &ReplicaRow) {
        let Replica::Zone(id) = &row.of;
        match next(self.directory.zone(id), row) {
            Next::State(state) => publish(self, Some(state)),
            Next::Known => {}
            Next::Gap => self.read_replica(StreamKind::Zone, id.stream()),
        }
    }

    /// Takes in what is new of a channel of another node, or reads the channel from the store if something was missed.
    pub(crate) fn outlined(self: &Arc<Self>, news: ChannelNews) {
        let id = news.outline.id.clone();
        match with_news(self.directory.channel(&id).as_ref(), news) {
            Next::State(state) => publish(self, Some(state)),
            Next::Known => {}
            Next::Gap => self.read_replica(StreamKind::Channel, id.stream()),
        }
    }

    fn read_replica(self: &Arc<Self>, kind: StreamKind, stream: StreamId) {
        if self.reading.insert(stream) {
            metrics::counter!("uoop_replica_gaps_total").increment(1);
            let node = Arc::clone(self);
            tokio::spawn(async move {
                let read = node.ports.store.load(stream).await;
                node.reading.remove(&stream);
                // A store that is away is read again at the next word of it.
                if let Ok(Some(recorded)) = read
                    && recorded.kind == kind
                {
                    node.refresh(&recorded);
                }
            });
        }
    }

    /// Reads all channels and zones anew: what was said while a link was down was not heard.
    pub(crate) async fn refresh_replicas(&self) -> Result<(), StoreError> {
        let shards: Vec<_> = self.map.all().filter(|shard| !self.holds(*shard)).collect();
        let kinds = [StreamKind::Channel, StreamKind::Zone];
        for recorded in self.ports.store.recover(&shards, &kinds).await? {
            self.refresh(&recorded);
        }
        Ok(())
    }

    fn refresh(&self, recorded: &Recorded) {
        let refreshed = match recorded.kind {
            StreamKind::Channel => restore::<Channel>(recorded).map(|state| publish(self, state)),
            StreamKind::Zone => restore::<Zone>(recorded).map(|state| publish(self, state)),
            StreamKind::Order => Ok(()),
        };
        if let Err(error) = refreshed {
            tracing::error!(stream = %recorded.stream, %error, "a stream of another node cannot be read");
        }
    }
}

fn publish<E: Hosted>(node: &Node, state: Option<Versioned<E>>) {
    if let Some(state) = state {
        E::publish(node, None, &state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::outlines::tests::{asked, kitchen};
    use domain::channel::Outline;

    fn news(after: u64, of: &Versioned<Channel>, since: Option<&Versioned<Channel>>) -> ChannelNews {
        ChannelNews {
            after: Seq(after),
            seq: of.seq,
            outline: Outline::between(since.map(|since| &*since.state), &of.state),
        }
    }

    #[test]
    fn news_is_taken_in_once_and_a_gap_is_noticed() {
        let first = kitchen();
        let second = asked(&first);
        let Next::State(copy) = with_news(None, news(0, &first, None)) else {
            panic!("everything is said");
        };
        assert!(copy.state.ledger.is_outline(), "though nothing is taken yet");
        assert!(matches!(with_news(Some(&copy), news(0, &first, None)), Next::Known));
        let Next::State(later) = with_news(Some(&copy), news(1, &second, Some(&first))) else {
            panic!("it follows");
        };
        assert_eq!(later.seq, second.seq);
        assert_eq!(
            later.state.ledger.slots().collect::<Vec<_>>(),
            second.state.ledger.slots().collect::<Vec<_>>()
        );
        // What is told again of a channel that has not changed: whoever has missed the change looks for it.
        let again = || news(second.seq.0, &second, Some(&second));
        assert!(matches!(with_news(Some(&later), again()), Next::Known));
        assert!(matches!(with_news(Some(&copy), again()), Next::Gap));
        assert!(matches!(with_news(None, again()), Next::Gap));
    }
}
