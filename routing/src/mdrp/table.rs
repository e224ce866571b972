//! Tab-separated tables with a header line, and what can be wrong with them.

use std::str::FromStr;

/// Why texts are no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// The header lacks a column.
    #[error("{file}:1: the header has no column '{column}'; it has {found}")]
    Column {
        /// Which file.
        file: &'static str,
        /// The column.
        column: &'static str,
        /// The columns there are.
        found: String,
    },
    /// A line has more or fewer columns than the header.
    #[error("{file}:{line}: has {found} columns, and the header has {expected}")]
    Width {
        /// Which file.
        file: &'static str,
        /// Which line, from 1.
        line: usize,
        /// How many columns it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A value is not what it should be.
    #[error("{file}:{line}: column '{column}': {problem}")]
    Value {
        /// Which file.
        file: &'static str,
        /// Which line, from 1.
        line: usize,
        /// Which column.
        column: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// There is nothing but the header.
    #[error("{file}: has no lines after its header")]
    Empty {
        /// Which file.
        file: &'static str,
    },
}

/// A table as text.
pub(super) struct Table<'a> {
    file: &'static str,
    header: Vec<&'a str>,
    lines: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> Table<'a> {
    /// Splits a file's text. Empty lines are skipped.
    ///
    /// # Errors
    /// When a line does not fit the header, or none follows it.
    pub(super) fn parse(file: &'static str, text: &'a str) -> Result<Self, InstanceError> {
        let split = |line: &'a str| line.split('\t').map(str::trim).collect::<Vec<_>>();
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map(|(_, line)| split(line)).unwrap_or_default();
        let mut rows = Vec::new();
        for (line, text) in lines {
            let cells = split(text);
            if cells.len() != header.len() {
                return Err(InstanceError::Width {
                    file,
                    line,
                    found: cells.len(),
                    expected: header.len(),
                });
            }
            rows.push((line, cells));
        }
        if rows.is_empty() {
            return Err(InstanceError::Empty { file });
        }
        Ok(Self {
            file,
            header,
            lines: rows,
        })
    }

    /// The column with this name.
    ///
    /// # Errors
    /// When the header has none.
    pub(super) fn column(&self, name: &'static str) -> Result<Column, InstanceError> {
        let place = self.header.iter().position(|found| *found == name);
        place
            .map(|place| Column { name, place })
            .ok_or_else(|| InstanceError::Column {
                file: self.file,
                column: name,
                found: self.header.join(", "),
            })
    }

    /// The lines behind the header.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.lines.iter().map(|(line, cells)| Row {
            file: self.file,
            line: *line,
            cells,
        })
    }
}

/// A column that the header has.
#[derive(Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    place: usize,
}

/// A line.
pub(super) struct Row<'a> {
    file: &'static str,
    /// Which one, from 1.
    pub(super) line: usize,
    cells: &'a [&'a str],
}

impl<'a> Row<'a> {
    /// The text in a column.
    pub(super) fn text(&self, column: Column) -> &'a str {
        self.cells.get(column.place).copied().unwrap_or_default()
    }

    /// The whole number in a column.
    ///
    /// # Errors
    /// When it is not one, or does not fit.
    pub(super) fn number<T: FromStr<Err = std::num::ParseIntError>>(&self, column: Column) -> Result<T, InstanceError> {
        let text = self.text(column);
        let number = text.parse::<T>();
        number.map_err(|error| self.wrong(column, format!("'{text}' is not a whole number in range: {error}")))
    }

    /// What is wrong with the value in a column.
    pub(super) fn wrong(&self, column: Column, problem: String) -> InstanceError {
        InstanceError::Value {
            file: self.file,
            line: self.line,
            column: column.name,
            problem,
        }
    }
}
