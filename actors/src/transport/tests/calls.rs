use super::{AMPLE, TestNode, join, stop, until};
use crate::transport::AskError;
use crate::transport::wire::VERSIONS;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_ask_and_answer() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let expected = [a.name.as_bytes(), b":hello"].concat();
    assert_eq!(a.ask(&b, b"hello").await, Ok(expected));
    let expected = [b.name.as_bytes(), b":"].concat();
    assert_eq!(b.ask(&a, b"").await, Ok(expected));
    let nobody = a.transport.ask("nobody", b"hello".to_vec(), AMPLE).await;
    assert_eq!(nobody, Err(AskError::Unreachable));
    let link = &a.transport.links()[0];
    let newest = Some(VERSIONS.max);
    assert_eq!((link.requests, link.outstanding, link.wire_version), (1, 0, newest));
    stop(&[&a, &b]).await;
    assert_eq!(a.ask(&b, b"hello").await, Err(AskError::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_at_once_are_answered_each_with_its_own() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10_000_u32 {
        // Half of them each way.
        let (one, other) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let (transport, from, to) = (Arc::clone(&one.transport), one.name.clone(), other.name.clone());
        tasks.spawn(async move {
            let request = n.to_string().into_bytes();
            let expected = [from.as_bytes(), b":", &request].concat();
            loop {
                match transport.ask(&to, request.clone(), AMPLE).await {
                    Ok(answer) => break assert_eq!(answer, expected),
                    // More than may be outstanding: later, as callers do.
                    Err(error) => assert_eq!(error, AskError::Overloaded),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.expect("each is answered");
    }
    let link = &a.transport.links()[0];
    assert_eq!(link.requests, 5_000);
    assert!(link.batches < link.requests, "they travelled in batches");
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_holds_up_no_other() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let (transport, to) = (Arc::clone(&a.transport), b.name.clone());
    let slow = tokio::spawn(async move { transport.ask(&to, b"wait".to_vec(), AMPLE).await });
    until("the slow one is being answered", || {
        b.echo.waiting.load(Ordering::SeqCst) == 1
    })
    .await;
    for _ in 0..100 {
        a.ask(&b, b"quick").await.expect("it is answered");
    }
    assert!(!slow.is_finished());
    assert_eq!(a.transport.links()[0].outstanding, 1);
    b.echo.released.add_permits(1);
    slow.await.expect("no panic").expect("it is answered");
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_come_in_order_and_to_all() {
    let (a, b, c) = (
        TestNode::start("a").await,
        TestNode::start("b").await,
        TestNode::start("c").await,
    );
    join(&[&a, &b, &c]).await;
    for n in 0..1_000_u32 {
        a.transport.tell_all(&n.to_be_bytes());
    }
    let heard = |node: &TestNode| node.echo.heard.lock().expect("no panic under the lock").clone();
    until("all are heard", || heard(&b).len() == 1_000 && heard(&c).len() == 1_000).await;
    let expected: Vec<_> = (0..1_000_u32)
        .map(|n| (a.name.clone(), n.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(heard(&b), expected);
    assert_eq!(heard(&c), expected);
    stop(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_waiting_leaves_nothing_behind() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    let lost = a
        .transport
        .ask(&b.name, b"wait".to_vec(), Duration::from_millis(100))
        .await;
    // It may not even have been sent when its time was up.
    assert!(matches!(lost, Err(AskError::Lost | AskError::Overloaded)));
    let ask = a.transport.ask(&b.name, b"wait".to_vec(), AMPLE);
    assert!(tokio::time::timeout(Duration::from_millis(100), ask).await.is_err());
    assert_eq!(a.transport.links()[0].outstanding, 0);
    // Late answers find nobody and disturb nobody.
    b.echo.released.add_permits(2);
    a.ask(&b, b"still there").await.expect("it is answered");
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_an_answer_and_nothing_else() {
    let (a, b) = (TestNode::start("a").await, TestNode::start("b").await);
    join(&[&a, &b]).await;
    assert_eq!(a.ask(&b, b"panic").await, Err(AskError::Lost));
    a.transport.tell_all(b"panic");
    a.ask(&b, b"still there").await.expect("it is answered");
    assert_eq!(b.echo.links.lock().expect("no panic under the lock").len(), 1);
    stop(&[&a, &b]).await;
}
