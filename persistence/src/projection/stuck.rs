//! What of an order is stuck, told from its events alone, without its state.

use domain::ids::OrderId;
use domain::order::Event;
use domain::saga::{Direction, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The steps and compensations of an order that wait for an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck(BTreeSet<(Step, u32, Direction)>);

/// The orders that are stuck; all others are not.
pub type StuckOrders = BTreeMap<OrderId, Stuck>;

impl Stuck {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what happened next; events that change nothing about it do nothing. As `domain`'s `evolve` has it.
    pub fn take_in(&mut self, event: &Event) {
        let mut over = |step: &Step, round: &u32, direction| {
            self.0.remove(&(*step, *round, direction));
        };
        match event {
            Event::StepStuck { step, round, .. } => {
                self.0.insert((*step, *round, Direction::Forward));
            }
            Event::UndoStuck { step, round, .. } => {
                self.0.insert((*step, *round, Direction::Backward));
            }
            Event::StepStarted { step, round, .. }
            | Event::StepUnknown { step, round, .. }
            | Event::UndoWanted { step, round } => over(step, round, Direction::Forward),
            Event::CourierLost { round, .. } => over(&Step::Dispatch, round, Direction::Forward),
            Event::UndoStarted { step, round, .. } => over(step, round, Direction::Backward),
            Event::Resolved { step, round, .. } => {
                over(step, round, Direction::Forward);
                over(step, round, Direction::Backward);
            }
            // Whatever waited to be done is to be undone.
            Event::UnwindingStarted { .. } => self.0.retain(|(_, _, direction)| *direction == Direction::Backward),
            _ => {}
        }
    }
}

impl fmt::Display for Stuck {
    /// `place_ticket:1:undo,capture:0:do`; part of the storage format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (step, round, direction)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let direction = match direction {
                Direction::Forward => "do",
                Direction::Backward => "undo",
            };
            write!(f, "{comma}{}:{round}:{direction}", step.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Stuck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let mut parts = text.split(':');
            let step = parts
                .next()
                .and_then(|name| Step::ALL.into_iter().find(|step| step.as_str() == name))?;
            let round = parts.next()?.parse().ok()?;
            let direction = match parts.next()? {
                "do" => Direction::Forward,
                "undo" => Direction::Backward,
                _ => return None,
            };
            parts.next().is_none().then_some((step, round, direction))
        };
        let read = |part: &str| one(part).ok_or_else(|| format!("'{part}' is nothing that can be stuck"));
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut stuck = Stuck::default();
        for text in ["", "capture:0:do", "place_ticket:1:undo,capture:0:do"] {
            stuck = text.parse().expect("ours");
            assert_eq!(stuck.to_string(), text);
        }
        assert!(!stuck.is_empty());
        for text in [
            "capture",
            "capture:x:do",
            "capture:0:done",
            "sleep:0:do",
            "capture:0:do:0",
        ] {
            assert!(text.parse::<Stuck>().is_err(), "{text}");
        }
    }
}
