use super::{AMPLE, TestNode, introduce, join, options, stop, until};
use crate::transport::AskError;
use crate::transport::wire::Versions;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

fn links(node: &TestNode) -> Vec<(String, bool)> {
    node.echo.links.lock().expect("no panic under the lock").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_is_noticed_and_its_successor_found() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let (transport, to) = (Arc::clone(&a.transport), b.name.clone());
    let pending = tokio::spawn(async move { transport.ask(&to, b"wait".to_vec(), Duration::MAX).await });
    until("it is being answered", || b.echo.waiting.load(Ordering::SeqCst) == 1).await;
    let address = b.transport.address();
    b.transport.stop().await;
    let outcome = tokio::time::timeout(AMPLE, pending)
        .await
        .expect("long before its own time is up");
    assert_eq!(outcome.expect("no panic"), Err(AskError::Lost));
    until("the loss is told", || {
        links(&a) == [(b.name.clone(), true), (b.name.clone(), false)]
    })
    .await;
    assert_eq!(links(&b).last(), Some(&(a.name.clone(), false)));

    let mut options = options("b");
    options.listen = address;
    let successor = TestNode::start_with(options).await.expect("the port is free again");
    join(&[&a, &successor]).await;
    a.ask(&successor, b"hello").await.expect("it is answered");
    assert!(!a.is_linked(&b.name));
    stop(&[&a, &successor]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_at_its_address_is_dialled_until_it_is_there() {
    // Both ways round: only one of the two dials at once.
    for names in [("a", "b"), ("b", "a")] {
        let (early, mut late) = (TestNode::start(names.0).await, options(names.1));
        let listener = TcpListener::bind(late.listen).await.expect("there is a port");
        late.listen = listener.local_addr().expect("it is bound");
        drop(listener);
        let member = (late.name.clone(), late.listen.to_string());
        early.transport.set_members(&[early.member(), member]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!early.is_linked(&late.name));
        let late = TestNode::start_with(late).await.expect("the port is free");
        late.transport.set_members(&[early.member()]);
        early.linked(&late.name).await;
        late.linked(&early.name).await;
        stop(&[&early, &late]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_reached_itself_is_linked() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    // Each in turn has no way to the other but is known to it.
    for (blind, seeing) in [(&a, &b), (&b, &a)] {
        let nowhere = (seeing.name.clone(), "127.0.0.1:1".to_owned());
        blind.transport.set_members(&[nowhere]);
        seeing.transport.set_members(&[blind.member()]);
        seeing.linked(&blind.name).await;
        blind.linked(&seeing.name).await;
        blind.transport.set_members(&[]);
        seeing.transport.set_members(&[]);
        until("both have let go", || {
            !blind.is_linked(&seeing.name) && !seeing.is_linked(&blind.name)
        })
        .await;
    }
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_made_at_the_same_time_end_as_one_link() {
    for _ in 0..10 {
        let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
        introduce(&[&a, &b]);
        // As if both had dialled at once, and one of them twice.
        for (one, other) in [(&a, &b), (&b, &a), (&a, &b)] {
            let label = super::super::connections::label(&one.transport.hub, "twice");
            let address = other.transport.address().to_string();
            super::super::connections::dial(&one.transport.hub, other.name.clone(), address, label);
        }
        a.linked(&b.name).await;
        b.linked(&a.name).await;
        // Whatever the elections cost, in the end it holds.
        let answered = async { while a.ask(&b, b"hello").await.is_err() || b.ask(&a, b"hello").await.is_err() {} };
        tokio::time::timeout(AMPLE, answered)
            .await
            .expect("both are answered in the end");
        stop(&[&a, &b]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_kept_with_members_only() {
    let (a, b, c) = (
        TestNode::start("a").await,
        TestNode::start("b").await,
        TestNode::start("c").await,
    );
    // B knows of nobody yet: that it is known does not make a link.
    a.transport.set_members(&[b.member()]);
    c.transport.set_members(&[b.member(), a.member()]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(links(&b).is_empty() && !a.is_linked(&b.name) && !c.is_linked(&a.name));
    join(&[&a, &b, &c]).await;
    // C leaves, as far as A is concerned.
    a.transport.set_members(&[b.member()]);
    until("C is told", || links(&c).contains(&(a.name.clone(), false))).await;
    until("A has let go", || !a.is_linked(&c.name)).await;
    assert_eq!(a.transport.links().len(), 1);
    assert_eq!(a.ask(&c, b"hello").await, Err(AskError::Unreachable));
    b.ask(&c, b"hello").await.expect("others are not concerned");
    join(&[&a, &b, &c]).await;
    stop(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cookie_makes_no_link() {
    let mut other = options("b");
    other.cookie = "another cookie of that length".to_owned();
    let (a, b) = (
        TestNode::start("a").await,
        TestNode::start_with(other).await.expect("it starts"),
    );
    let c = TestNode::start("c").await;
    introduce(&[&a, &b, &c]);
    a.linked(&c.name).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(links(&b).is_empty() && !a.is_linked(&b.name) && !c.is_linked(&b.name));
    stop(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_meet_are_spoken_and_others_refused() {
    let older = Versions { min: 1, max: 1 };
    let newer = Versions { min: 1, max: 2 };
    let newest = Versions { min: 2, max: 3 };
    let a = TestNode::start_speaking(options("a"), older).await.expect("it starts");
    let b = TestNode::start_speaking(options("b"), newer).await.expect("it starts");
    let c = TestNode::start_speaking(options("c"), newest).await.expect("it starts");
    introduce(&[&a, &b, &c]);
    let spoken = |one: &TestNode, other: &TestNode| {
        let links = one.transport.links();
        links
            .iter()
            .find(|link| link.node == other.name)
            .and_then(|link| link.wire_version)
    };
    until("neighbours are linked", || {
        spoken(&a, &b) == Some(1) && spoken(&b, &a) == Some(1) && spoken(&b, &c) == Some(2) && spoken(&c, &b) == Some(2)
    })
    .await;
    // Whoever answers is told in which version, and it is the one that whoever asks believes in.
    for (one, other, version) in [(&a, &b, 1), (&b, &a, 1), (&b, &c, 2), (&c, &b, 2)] {
        assert_eq!(one.transport.version(&other.name), Some(version));
        let answer = one.ask(other, b"version").await.expect("it is answered");
        assert_eq!(answer, version.to_string().into_bytes());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((spoken(&a, &c), spoken(&c, &a)), (None, None));
    assert_eq!(a.transport.version(&c.name), None);
    assert_eq!(links(&a), [(b.name.clone(), true)]);
    stop(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_on_an_open_connection_is_a_lost_link() {
    let quick = |name| {
        let mut options = options(name);
        options.heartbeat = Duration::from_millis(100);
        options.misses_max = 5;
        options
    };
    let a = TestNode::start_with(quick("a")).await.expect("it starts");
    let b = TestNode::start_with(quick("b")).await.expect("it starts");
    let to_a = Proxy::start(a.transport.address()).await;
    let to_b = Proxy::start(b.transport.address()).await;
    a.transport.set_members(&[(b.name.clone(), to_b.address.to_string())]);
    b.transport.set_members(&[(a.name.clone(), to_a.address.to_string())]);
    a.linked(&b.name).await;
    b.linked(&a.name).await;
    let (transport, to) = (Arc::clone(&a.transport), b.name.clone());
    let pending = tokio::spawn(async move { transport.ask(&to, b"wait".to_vec(), Duration::MAX).await });
    until("it is being answered", || b.echo.waiting.load(Ordering::SeqCst) > 0).await;
    to_a.forward(false);
    to_b.forward(false);
    let outcome = tokio::time::timeout(AMPLE, pending).await.expect("it is noticed");
    assert_eq!(outcome.expect("no panic"), Err(AskError::Lost));
    until("both notice", || {
        links(&a).contains(&(b.name.clone(), false)) && links(&b).contains(&(a.name.clone(), false))
    })
    .await;
    to_a.forward(true);
    to_b.forward(true);
    a.linked(&b.name).await;
    let answered = async { while a.ask(&b, b"hello").await.is_err() {} };
    tokio::time::timeout(AMPLE, answered).await.expect("it is there again");
    stop(&[&a, &b]).await;
}

/// Passes bytes on, or keeps its connections open and passes nothing on.
struct Proxy {
    address: SocketAddr,
    forward_tx: watch::Sender<bool>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let (forward_tx, forward_rx) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let forward_rx = forward_rx.clone();
                tokio::spawn(async move {
                    let Ok(onward) = TcpStream::connect(to).await else {
                        return;
                    };
                    let (near_read, near_write) = stream.into_split();
                    let (far_read, far_write) = onward.into_split();
                    tokio::join!(
                        pass(near_read, far_write, forward_rx.clone()),
                        pass(far_read, near_write, forward_rx)
                    );
                });
            }
        });
        Self { address, forward_tx }
    }

    fn forward(&self, forward: bool) {
        self.forward_tx.send_replace(forward);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut forward_rx: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if forward_rx.wait_for(|forward| *forward).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
