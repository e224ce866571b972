use super::{AMPLE, TestNode, join, options, stop, until};
use crate::transport::wire::PAYLOAD_BYTES_MAX;
use crate::transport::{AskError, TransportError, TransportOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_at_the_start() {
    type Change = fn(&mut TransportOptions);
    let wrong: [(&str, Change); 6] = [
        ("listen", |options| {
            options.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        }),
        ("cookie", |options| options.cookie = "fifteen letters".to_owned()),
        ("cookie", |options| options.cookie = String::new()),
        ("name", |options| options.name = "a@b".to_owned()),
        ("heartbeat, redial", |options| options.heartbeat = Duration::ZERO),
        ("batch_bytes_max", |options| options.batch_bytes_max = usize::MAX),
    ];
    for (expected, change) in wrong {
        let mut options = options("a");
        change(&mut options);
        match TestNode::start_with(options).await.map(|_| ()) {
            Err(TransportError::Option { option, .. }) => assert_eq!(option, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said() {
    let a = TestNode::start("a").await;
    let mut options = options("b");
    options.listen = a.transport.address();
    let result = TestNode::start_with(options).await.map(|_| ());
    assert!(matches!(result, Err(TransportError::Listen { .. })), "{result:?}");
    stop(&[&a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_up_to_the_bound_travel_and_longer_ones_do_not() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let room = PAYLOAD_BYTES_MAX - a.name.len() - 1;
    let answer = a.ask(&b, &vec![7; room]).await.expect("it is answered");
    assert_eq!(answer.len(), PAYLOAD_BYTES_MAX);
    assert_eq!(
        a.ask(&b, &vec![7; PAYLOAD_BYTES_MAX + 1]).await,
        Err(AskError::Overloaded)
    );
    // Carried out, but what it says cannot be brought.
    assert_eq!(a.ask(&b, b"long").await, Err(AskError::Lost));
    a.transport.tell_all(&vec![7; PAYLOAD_BYTES_MAX + 1]);
    a.transport.tell_all(&vec![8; PAYLOAD_BYTES_MAX]);
    let heard = || b.echo.heard.lock().expect("no panic under the lock").clone();
    until("the one that is not too long is heard", || !heard().is_empty()).await;
    assert_eq!((heard().len(), heard()[0].1[0]), (1, 8));
    assert_eq!(
        b.echo.links.lock().expect("no panic under the lock").len(),
        1,
        "the link never broke"
    );
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_refused_at_once() {
    let mut few = options("a");
    few.requests_max = 2;
    let (a, b) = (
        TestNode::start_with(few).await.expect("it starts"),
        TestNode::start("b").await,
    );
    join(&[&a, &b]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (transport, to) = (Arc::clone(&a.transport), b.name.clone());
        tasks.spawn(async move { transport.ask(&to, b"wait".to_vec(), AMPLE).await });
    }
    until("both are being answered", || b.echo.waiting.load(Ordering::SeqCst) == 2).await;
    assert_eq!(a.ask(&b, b"one more").await, Err(AskError::Overloaded));
    b.echo.released.add_permits(2);
    while let Some(result) = tasks.join_next().await {
        result.expect("no panic").expect("it is answered");
    }
    a.ask(&b, b"one more").await.expect("it is answered");
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_so_many_of_a_peers_requests_at_a_time() {
    let mut few = options("b");
    few.requests_max = 2;
    let (a, b) = (
        TestNode::start("a").await,
        TestNode::start_with(few).await.expect("it starts"),
    );
    join(&[&a, &b]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (transport, to) = (Arc::clone(&a.transport), b.name.clone());
        tasks.spawn(async move { transport.ask(&to, b"wait".to_vec(), AMPLE).await });
    }
    until("four are being answered", || b.echo.waiting.load(Ordering::SeqCst) == 4).await;
    assert_eq!(a.ask(&b, b"wait").await, Err(AskError::Overloaded));
    assert_eq!(b.echo.waiting.load(Ordering::SeqCst), 4, "it was not carried out");
    b.echo.released.add_permits(4);
    while let Some(result) = tasks.join_next().await {
        result.expect("no panic").expect("it is answered");
    }
    stop(&[&a, &b]).await;
}
