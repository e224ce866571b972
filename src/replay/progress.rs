//! How far a replay is: a bar on a terminal, a line now and then elsewhere.

use super::TimeLine;
use super::outcome::{End, Outcome};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval};

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts of a replay under way.
#[derive(Debug)]
pub(super) struct Tally {
    orders: usize,
    placed: AtomicUsize,
    delivered: AtomicUsize,
    failed: AtomicUsize,
    cancelled: AtomicUsize,
    missing: AtomicUsize,
}

impl Tally {
    pub(super) const fn new(orders: usize) -> Self {
        Self {
            orders,
            placed: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            missing: AtomicUsize::new(0),
        }
    }

    pub(super) fn accepted(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        let count = match &outcome.end {
            End::Settled(view) => match view.status.as_str() {
                "DELIVERED" => &self.delivered,
                "CANCELLED" => &self.cancelled,
                _ => &self.failed,
            },
            _ => &self.missing,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn ends(&self) -> [usize; 4] {
        [&self.delivered, &self.failed, &self.cancelled, &self.missing].map(|count| count.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let placed = self.placed.load(Ordering::Relaxed);
        let [delivered, failed, cancelled, missing] = self.ends();
        let open = placed.saturating_sub(delivered + failed + cancelled);
        write!(
            f,
            "{placed} placed, {delivered} delivered, {failed} failed, {open} open"
        )?;
        for (count, what) in [(cancelled, "cancelled"), (missing, "missing")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Shows a tally on standard error until it is stopped.
pub(super) struct Ticker {
    task: AbortHandle,
    bar: Option<ProgressBar>,
}

impl Ticker {
    pub(super) fn start(tally: Arc<Tally>, line: TimeLine) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(tally.orders));
        let task = tokio::spawn(tick(tally, line, bar.clone())).abort_handle();
        Self { task, bar }
    }

    pub(super) fn stop(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(orders: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(orders as u64).with_style(style)
}

async fn tick(tally: Arc<Tally>, line: TimeLine, bar: Option<ProgressBar>) {
    let mut ticks = interval(if bar.is_some() { BAR_EVERY } else { LINE_EVERY });
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let minute = line.minute(Instant::now());
        let message = format!("{:02}:{:02} of the day: {tally}", minute / 60, minute % 60);
        match &bar {
            Some(bar) => {
                bar.set_position(tally.ends().iter().sum::<usize>() as u64);
                bar.set_message(message);
            }
            None => eprintln!("{message}"),
        }
    }
}
