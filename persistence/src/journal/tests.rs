//! What only the inside of the journal can show.

use super::*;
use crate::MemoryStore;
use domain::ids::{Epoch, Position, Seq, StreamId};
use domain::ports::StreamKind;
use domain::shard::ShardMap;
use domain::time::Timestamp;
use uuid::Uuid;

const SHARD: ShardId = ShardId(0);

fn append() -> Append {
    Append {
        shard: SHARD,
        epoch: Epoch(0),
        position: Position(0),
        stream: StreamId(Uuid::from_u128(1)),
        kind: StreamKind::Order,
        seq: Seq(1),
        at: Timestamp(1),
        events: "[]".into(),
        snapshot: None,
        claim: None,
    }
}

/// Between the moment in which a row is let in and the one in which it is queued its shard may go and come back.
#[tokio::test]
async fn a_row_from_before_a_shard_went_and_came_back_is_fenced() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(ShardMap::new(1).expect("a power of two")));
    let owned = store.acquire("node", &[SHARD]).await.expect("acquired");
    let handle = GroupJournal::start(&store, &owned, "node", &JournalOptions::default());
    let journal = handle.journal();
    let before = journal.owned.generation(SHARD).expect("held");
    journal.release(&[SHARD]).await;
    assert_eq!(journal.owned.generation(SHARD), None);
    journal
        .adopt(&store.acquire("node", &[SHARD]).await.expect("acquired"))
        .await;
    let (reply_tx, reply_rx) = oneshot::channel();
    let late = Task::Append(Pending {
        append: append(),
        generation: before,
        on_appended: Box::new(move |result| drop(reply_tx.send(result))),
    });
    let queue_tx = journal.queue(SHARD).expect("a writer");
    assert!(queue_tx.send(late).await.is_ok());
    assert_eq!(reply_rx.await.expect("an answer"), Err(AppendError::Fenced));
    assert_eq!(journal.append(append()).await, Ok(()), "the shard itself is held");
    handle.close().await;
}
