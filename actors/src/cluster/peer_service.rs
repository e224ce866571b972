//! What this node does with what other nodes ask and say.

use super::watch::WATCH_MAX;
use super::{Notice, Request, Response, Word, wire};
use crate::ask::Versioned;
use crate::call::Asked;
use crate::error::CallError;
use crate::node::Node;
use crate::transport::Serve;
use async_trait::async_trait;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use std::sync::Arc;
use tokio::time::timeout;

pub(crate) struct PeerService(pub(crate) Arc<Node>);

#[async_trait]
impl Serve for PeerService {
    async fn answer(&self, _from: &str, _version: u16, request: Vec<u8>) -> Vec<u8> {
        let response = match wire::decode(&request) {
            Some(Request::Order(call)) => Response::Order(self.ask(call).await),
            Some(Request::Channel(call)) => Response::Channel(self.ask(call).await),
            Some(Request::Zone(call)) => Response::Zone(self.ask(call).await),
            Some(Request::Submit(submission)) => Response::Submitted(self.ask(submission).await),
            Some(Request::UnderWay { key }) => Response::UnderWay(self.0.keys_in_flight.contains(&key)),
            Some(Request::Watch { order, after }) => self.watched(order, after).await,
            Some(Request::Introspect { path }) => Response::Actors(self.0.actors(path.as_deref())),
            None => Response::NotUnderstood,
        };
        wire::encode(&response)
    }

    fn hear(&self, _from: &str, _version: u16, notice: &[u8]) {
        let Some(cluster) = self.0.cluster.get() else { return };
        match wire::decode(notice) {
            Some(Notice::Owners(owners)) => {
                cluster.owners.learn(&owners);
                if owners.iter().any(|owner| owner.owner.is_empty()) {
                    cluster.word(Word::Look);
                }
            }
            Some(Notice::Row(row)) => self.0.replicate(&row),
            Some(Notice::Channel(news)) => self.0.outlined(*news),
            None => {}
        }
    }

    fn link(&self, node: &str, up: bool) {
        if let Some(cluster) = self.0.cluster.get() {
            cluster.word(Word::Link {
                node: node.to_owned(),
                up,
            });
        }
    }
}

impl PeerService {
    async fn ask<A: Asked>(&self, asked: A) -> Result<A::Answer, CallError> {
        if !self.0.holds(self.0.map.shard_of(asked.stream())) {
            return Err(CallError::Fenced);
        }
        let answer = timeout(self.0.options.call_timeout, asked.here(&self.0)).await;
        answer.unwrap_or(Err(CallError::TimedOut))
    }

    async fn watched(&self, id: OrderId, after: Seq) -> Response {
        let holds = || self.0.holds(self.0.map.shard_of(id.stream()));
        if !holds() {
            return Response::NotOwner;
        }
        let mut changes = self.0.watch(id);
        let news = |state: &Option<Versioned<Order>>| {
            state
                .as_ref()
                .filter(|state| state.seq > after)
                .map(|state| (state.seq, Arc::clone(&state.state)))
        };
        if let Some(state) = self.0.live_order(id)
            && let Some(state) = news(&Some(state))
        {
            return Response::Watched(Some(state));
        }
        match timeout(WATCH_MAX, changes.wait_for(|state| news(state).is_some())).await {
            Ok(Ok(state)) => Response::Watched(news(&state)),
            _ if holds() => Response::Watched(None),
            _ => Response::NotOwner,
        }
    }
}
