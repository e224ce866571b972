//! The one actor of a node that others can send to, and the node's own events that bear on its links. All of them come
//! through one mailbox, so what becomes of links is decided in one order.

use super::hub::Hub;
use super::switchboard::Switchboard;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeSessionMessage};
use std::sync::Arc;

/// What frames are called on the wire.
const FRAME: &str = "frame";

/// The name of a node's gateway. A session announces the actors of its far end by name, and the gateway is looked up
/// among those of its own session: a process group would answer the same, but is shared by all sessions of a process,
/// and has to be asked for the right one of them.
pub(super) fn gateway_name(node: &str) -> String {
    format!("uoop.gateway.{node}")
}

pub(super) enum GatewayMessage {
    /// A peer says something. The only one of these that travels.
    Frame(Vec<u8>),
    /// A session began; its far end is not known yet.
    Opened(NodeServerSessionInformation),
    /// A session is authenticated, and chosen if there were several.
    Ready(NodeServerSessionInformation),
    /// A session ended.
    Ended(NodeServerSessionInformation),
    /// The members changed.
    Members,
    /// It is time to dial a member, if it is still wanted.
    Dial { node: String },
    /// It could not be reached.
    DialFailed { node: String },
    /// The gateway at the far end of a link is gone.
    Broken { node: String, number: u64 },
    /// A heartbeat's time has passed.
    Tick,
}

// Written out, because derived it would have to be able to send all of them.
impl ractor::Message for GatewayMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            Self::Frame(args) => Ok(SerializedMessage::Cast {
                variant: FRAME.to_owned(),
                args,
                metadata: None,
            }),
            _ => Err(BoxedDowncastErr),
        }
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { variant, args, .. } if variant == FRAME => Ok(Self::Frame(args)),
            _ => Err(BoxedDowncastErr),
        }
    }
}

pub(super) struct Gateway;

impl Actor for Gateway {
    type Msg = GatewayMessage;
    type State = Switchboard;
    type Arguments = Arc<Hub>;

    async fn pre_start(
        &self,
        myself: ActorRef<GatewayMessage>,
        hub: Arc<Hub>,
    ) -> Result<Switchboard, ActorProcessingErr> {
        myself.cast(GatewayMessage::Members)?;
        myself.cast(GatewayMessage::Tick)?;
        Ok(Switchboard::new(hub, myself))
    }

    async fn handle(
        &self,
        _: ActorRef<GatewayMessage>,
        message: GatewayMessage,
        switchboard: &mut Switchboard,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GatewayMessage::Frame(frame) => switchboard.frame(&frame),
            GatewayMessage::Opened(session) => switchboard.opened(session.actor),
            GatewayMessage::Ready(session) => {
                let name = session.peer_name.as_ref().map(|name| name.name.as_str());
                // The name is followed by the host, which is the name again: see `pair`.
                let node = name.and_then(|name| name.split('@').next()).unwrap_or_default();
                switchboard.ready(node, &session.actor);
            }
            GatewayMessage::Ended(session) => switchboard.ended(&session.actor, &session.peer_addr),
            GatewayMessage::Members => switchboard.members(),
            GatewayMessage::Dial { node } => switchboard.dial(&node),
            GatewayMessage::DialFailed { node } => switchboard.dial_failed(&node),
            GatewayMessage::Broken { node, number } => switchboard.broken(&node, number),
            GatewayMessage::Tick => switchboard.tick(),
        }
        Ok(())
    }
}

/// The far end's gateway, as its session knows it.
pub(super) fn gateway_of(session: &ActorRef<NodeSessionMessage>, node: &str) -> Option<ActorRef<GatewayMessage>> {
    let name = gateway_name(node);
    let mut children = session.get_children().into_iter();
    children
        .find(|child| child.get_name().as_deref() == Some(&name))
        .map(ActorRef::from)
}

/// Brings the node server's events to the gateway.
pub(super) struct Events(pub(super) ActorRef<GatewayMessage>);

impl NodeEventSubscription for Events {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(GatewayMessage::Opened(session));
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(GatewayMessage::Ended(session));
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(GatewayMessage::Ready(session));
    }
}
