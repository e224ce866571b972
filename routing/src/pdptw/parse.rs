//! Li and Lim's text format: a line with vehicles, capacity and speed, then a line per task: number, x, y, demand,
//! earliest, latest, service, pickup partner, delivery partner (0: none).

use super::problem::{Fault, PdptwError, Problem, Role, Task};
use std::str::FromStr;

/// Fields of the first line; the last one, the speed, is 1 by definition and not used.
const HEAD: usize = 3;
/// Fields of a task's line.
const FIELDS: usize = 9;

/// One line's fields, each with the column at which it begins.
struct Line<'a> {
    number: usize,
    fields: Vec<(usize, &'a str)>,
    /// The column after the last character.
    end: usize,
}

impl FromStr for Problem {
    type Err = PdptwError;

    /// Reads an instance; empty lines are passed over.
    fn from_str(text: &str) -> Result<Self, PdptwError> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter_map(|(index, line)| Line::new(index + 1, line));
        let end = PdptwError::Text {
            line: text.lines().count() + 1,
            column: 1,
            fault: Fault::Missing,
        };
        let head = lines.next().ok_or_else(|| end.clone())?.with(HEAD)?;
        let (vehicles, capacity) = (head.whole(0, 0)?, head.whole(1, 0)?);
        let lines = lines.map(|line| line.with(FIELDS)).collect::<Result<Vec<_>, _>>()?;
        let tasks = lines
            .iter()
            .enumerate()
            .map(|(index, line)| line.task(index))
            .collect::<Result<Vec<_>, _>>()?;
        if tasks.is_empty() {
            return Err(end);
        }
        Self::new(vehicles, capacity, &tasks).map_err(|error| match error {
            PdptwError::Task { task, fault } => lines[task].wrong(fault.field(), fault),
            other => other,
        })
    }
}

impl<'a> Line<'a> {
    fn new(number: usize, line: &'a str) -> Option<Self> {
        let mut fields = Vec::new();
        let mut column = 1;
        for piece in line.split_inclusive(char::is_whitespace) {
            let field = piece.trim_end();
            if !field.is_empty() {
                fields.push((column, field));
            }
            column += piece.chars().count();
        }
        let end = column;
        (!fields.is_empty()).then_some(Self { number, fields, end })
    }

    fn with(self, fields: usize) -> Result<Self, PdptwError> {
        match self.fields.len() {
            found if found < fields => Err(self.wrong(found, Fault::Missing)),
            found if found > fields => Err(self.wrong(fields, Fault::Surplus)),
            _ => Ok(self),
        }
    }

    fn wrong(&self, field: usize, fault: Fault) -> PdptwError {
        PdptwError::Text {
            line: self.number,
            column: self.fields.get(field).map_or(self.end, |(column, _)| *column),
            fault,
        }
    }

    fn number(&self, field: usize) -> Result<f64, PdptwError> {
        let number = self.fields[field]
            .1
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong(field, Fault::NotANumber))
    }

    fn whole<T: Copy + FromStr + PartialOrd>(&self, field: usize, least: T) -> Result<T, PdptwError> {
        let number = self.fields[field].1.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| self.wrong(field, Fault::OutOfRange))
    }

    fn task(&self, index: usize) -> Result<Task, PdptwError> {
        if self.whole(0, 0)? != index {
            return Err(self.wrong(0, Fault::Number));
        }
        let role = match (self.whole(7, 0)?, self.whole(8, 0)?) {
            (0, 0) if index == 0 => Role::Depot,
            (0, 0) => return Err(self.wrong(7, Fault::Partner)),
            (0, to) => Role::Pickup { to },
            (from, 0) => Role::Delivery { from },
            _ => return Err(self.wrong(8, Fault::Partner)),
        };
        Ok(Task {
            x: self.number(1)?,
            y: self.number(2)?,
            demand: self.whole(3, i32::MIN)?,
            earliest: self.number(4)?,
            latest: self.number(5)?,
            service: self.number(6)?,
            role,
        })
    }
}
