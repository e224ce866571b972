//! The ledger: a file of JSON lines with everything that was carried out, on disk before any answer says so.
//!
//! One thread writes: it takes what waits, writes it, calls fsync once, and only then tells those who wait. A last line that a
//! crash cut off was never answered for, and is removed at the next start.

use crate::participants::ask::{Ask, Verb};
use crate::participants::books::Outcome;
use domain::ids::OrderId;
use domain::money::Money;
use domain::saga::{EffectKey, Refused};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Most lines that wait for the writer.
const WAITING_MAX: usize = 4_096;

/// One thing that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// When, wall time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// By whom: `payments` or `kitchens/{channel}`.
    pub participant: String,
    /// What was asked; a kitchen's own drop is a `place` with the outcome `dropped`.
    pub action: Verb,
    /// The effect's key.
    pub key: EffectKey,
    /// The effect it builds on or undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<EffectKey>,
    /// The order.
    pub order: OrderId,
    /// How much, with payments.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// How long a ticket's cooking takes, business time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prep_ms: Option<Millis>,
    /// When a ticket is wanted, business time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// What was done.
    pub outcome: Outcome,
    /// Why not, with refusals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl LedgerLine {
    /// What was asked.
    pub const fn ask(&self) -> Ask {
        Ask {
            key: self.key,
            verb: self.action,
            of: self.of,
        }
    }
}

/// An amount as the ledger's columns have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Minor units.
    pub amount_minor: i64,
    /// Of which currency.
    pub currency: String,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self {
            amount_minor: money.minor,
            currency: money.currency.to_string(),
        }
    }
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("ledger {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// Another sandbox uses it.
    #[error("ledger {0} is in use by another sandbox")]
    InUse(PathBuf),
    /// A line in it is not one of ours.
    #[error("ledger {path}, line {line}: {detail}")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The writer has stopped, because of an earlier error or at the end.
    #[error("the ledger is closed")]
    Closed,
}

/// A place in the writer's queue: taken before the books are changed, so that lines lie in the books' order.
pub(super) struct Slot<'a>(mpsc::Permit<'a, Waiting>);

struct Waiting {
    line: Option<Vec<u8>>,
    written: oneshot::Sender<()>,
}

impl Slot<'_> {
    /// Writes a line, or none: either way the answer comes once everything before it is on disk. Dropping the answer
    /// does not take the line back.
    pub(super) fn put(self, line: Option<&LedgerLine>) -> Result<oneshot::Receiver<()>, LedgerError> {
        let line = line.map(encode).transpose()?;
        let (written_tx, written_rx) = oneshot::channel();
        self.0.send(Waiting {
            line,
            written: written_tx,
        });
        Ok(written_rx)
    }
}

fn encode(line: &LedgerLine) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = serde_json::to_vec(line).map_err(|_| LedgerError::Closed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// An open ledger.
pub(super) struct Ledger {
    queue: mpsc::Sender<Waiting>,
    durable: Arc<AtomicU64>,
    path: PathBuf,
}

/// The thread that writes. It ends when the ledger is dropped, or with an error.
pub(super) type Writer = JoinHandle<Result<(), LedgerError>>;

impl Ledger {
    /// Opens a ledger for this process alone, making it if need be, and reads what it says.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<LedgerLine>, Writer), LedgerError> {
        let io = |source| LedgerError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(io)?;
            bytes.truncate(whole);
        }
        let lines = parse(&bytes).map_err(|(line, detail)| LedgerError::Corrupt {
            path: path.to_owned(),
            line,
            detail,
        })?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let durable = Arc::new(AtomicU64::new(whole as u64));
        let (queue_tx, queue_rx) = mpsc::channel(WAITING_MAX);
        let written = Arc::clone(&durable);
        let at = path.to_owned();
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write(file, queue_rx, &written).map_err(|source| LedgerError::Io { path: at, source }))
            .map_err(io)?;
        Ok((
            Self {
                queue: queue_tx,
                durable,
                path: path.to_owned(),
            },
            lines,
            writer,
        ))
    }

    /// Waits for a place in the queue.
    pub(super) async fn slot(&self) -> Result<Slot<'_>, LedgerError> {
        self.queue.reserve().await.map(Slot).map_err(|_| LedgerError::Closed)
    }

    /// The file, and how many bytes of it are whole lines on disk.
    pub(super) fn durable(&self) -> (&Path, u64) {
        (&self.path, self.durable.load(Ordering::Acquire))
    }
}

/// The lines of a ledger.
///
/// # Errors
/// A line, counted from 1, is not one, and why.
pub fn parse(bytes: &[u8]) -> Result<Vec<LedgerLine>, (usize, String)> {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    lines
        .map(|(n, line)| serde_json::from_slice(line).map_err(|e| (n + 1, e.to_string())))
        .collect()
}

fn write(mut file: File, mut queue: mpsc::Receiver<Waiting>, durable: &AtomicU64) -> std::io::Result<()> {
    let mut batch = Vec::new();
    let mut told = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(Waiting { line, written }) = next {
            batch.extend(line.into_iter().flatten());
            told.push(written);
            next = if told.len() < WAITING_MAX {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if !batch.is_empty() {
            file.write_all(&batch)?;
            file.sync_data()?;
            durable.fetch_add(batch.len() as u64, Ordering::Release);
            batch.clear();
        }
        for written in told.drain(..) {
            // Who does not wait any more does not need to know.
            let _ = written.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::key;
    use domain::saga::Step;

    fn line(n: u64) -> LedgerLine {
        let key = key(n, Step::Authorize, 0);
        LedgerLine {
            at_ms: 7,
            participant: "payments".to_owned(),
            action: Verb::Authorize,
            key,
            of: None,
            order: key.order,
            amount: Some(Amount {
                amount_minor: 5,
                currency: "USD".to_owned(),
            }),
            prep_ms: None,
            ready_at: None,
            outcome: Outcome::Done,
            refused: None,
        }
    }

    async fn put(ledger: &Ledger, line: Option<&LedgerLine>) {
        let written = ledger.slot().await.expect("open").put(line).expect("a line");
        written.await.expect("written");
    }

    fn close(ledger: Ledger, writer: Writer) {
        drop(ledger);
        writer.join().expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn what_is_answered_for_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.jsonl");
        let (ledger, lines, writer) = Ledger::open(&path).expect("new");
        assert!(lines.is_empty());
        put(&ledger, Some(&line(1))).await;
        let on_disk = std::fs::read(&path).expect("a file");
        assert_eq!(parse(&on_disk), Ok(vec![line(1)]));
        assert_eq!(ledger.durable().1, on_disk.len() as u64);
        put(&ledger, None).await;
        assert!(matches!(Ledger::open(&path), Err(LedgerError::InUse(_))));
        close(ledger, writer);
        let (ledger, lines, writer) = Ledger::open(&path).expect("again");
        assert_eq!(lines, [line(1)]);
        put(&ledger, Some(&line(2))).await;
        close(ledger, writer);
        assert_eq!(
            parse(&std::fs::read(&path).expect("a file")),
            Ok(vec![line(1), line(2)])
        );
    }

    #[tokio::test]
    async fn a_line_cut_off_by_a_crash_is_removed_and_a_strange_one_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.jsonl");
        let whole = encode(&line(1)).expect("a line");
        let torn = [whole.as_slice(), &whole[..whole.len() / 2]].concat();
        std::fs::write(&path, torn).expect("written");
        let (ledger, lines, writer) = Ledger::open(&path).expect("mended");
        assert_eq!(lines, [line(1)]);
        put(&ledger, Some(&line(2))).await;
        close(ledger, writer);
        assert_eq!(
            parse(&std::fs::read(&path).expect("a file")),
            Ok(vec![line(1), line(2)])
        );

        std::fs::write(&path, [whole.as_slice(), b"{}\n", &whole].concat()).expect("written");
        let error = Ledger::open(&path).err().expect("corrupt").to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn the_format_is_what_readers_know() {
        let text = serde_json::to_string(&line(1)).expect("serializable");
        let key = line(1).key;
        assert_eq!(
            text,
            format!(
                "{{\"at_ms\":7,\"participant\":\"payments\",\"action\":\"authorize\",\"key\":\"{key}\",\"order\":\"{}\",\
                 \"amount_minor\":5,\"currency\":\"USD\",\"outcome\":\"done\"}}",
                key.order
            )
        );
    }
}
