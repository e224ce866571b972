use super::{AMPLE, TestNode, join, stop, until};
use crate::transport::gateway::GatewayMessage;
use crate::transport::hub::Pair;
use crate::transport::wire::{self, Head, Taken, VERSIONS};
use std::sync::atomic::Ordering;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

fn losses(node: &TestNode, of: &TestNode) -> usize {
    let links = node.echo.links.lock().expect("no panic under the lock");
    links.iter().filter(|link| **link == (of.name.clone(), false)).count()
}

fn pair(node: &TestNode) -> Pair {
    node.transport.hub.pair().expect("it is started")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_ends_is_started_again_and_the_links_come_back() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    pair(&b).gateway.stop(None);
    until("both lose the link", || losses(&a, &b) == 1 && losses(&b, &a) == 1).await;
    join(&[&a, &b]).await;
    a.ask(&b, b"hello").await.expect("it is answered");
    pair(&a).node_server.stop(None);
    until("both lose it again", || losses(&a, &b) == 2 && losses(&b, &a) == 2).await;
    join(&[&a, &b]).await;
    a.ask(&b, b"hello").await.expect("it is answered");
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let a = TestNode::start("a").await;
    let mut silent = TcpStream::connect(a.transport.address()).await.expect("it is accepted");
    let read = tokio::time::timeout(AMPLE, silent.read(&mut [0; 64]))
        .await
        .expect("not kept for ever");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    stop(&[&a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_costs_at_most_the_link() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let to_b = pair(&b).gateway;
    // Nobody is to blame for this one.
    to_b.cast(GatewayMessage::Frame(b"what is this".to_vec()))
        .expect("it is there");
    // As if from a stranger, and then from A.
    let mut head = Head {
        versions: VERSIONS,
        link: 1,
        taken: Taken::default(),
        from: "a stranger".to_owned(),
    };
    let junk = |head: &Head| [wire::encode(head, &[]), b"junk".to_vec()].concat();
    to_b.cast(GatewayMessage::Frame(junk(&head))).expect("it is there");
    a.ask(&b, b"hello").await.expect("the link is as it was");
    assert_eq!(losses(&b, &a), 0);
    head.from.clone_from(&a.name);
    head.link = a.transport.hub.links_made.load(Ordering::Relaxed);
    to_b.cast(GatewayMessage::Frame(junk(&head))).expect("it is there");
    until("both lose the link", || losses(&a, &b) == 1 && losses(&b, &a) == 1).await;
    join(&[&a, &b]).await;
    a.ask(&b, b"hello").await.expect("it is answered");
    stop(&[&a, &b]).await;
}
