//! Capacity ahead of time: `uoop plan`.
//!
//! Days are read, each to be planned is forecast from the others, and the [`PlanReport`] tells what that suggests and, of days
//! that are over, how good it was. `routing::forecast` computes; here are files and threads.

mod files;
mod report;
mod table;

pub use files::write_day;
pub use report::{DayPlan, MeanScores, PlanReport, SlotPlan};

use crate::dispatch::{self, DispatchError, Named};
use crate::mdrp::{self, ReadError};
use routing::dispatch::Day;
use routing::forecast::{
    Forecast, ForecastError, Judged, Labour, PastDay, ShiftLengths, Span, Staffing, cover, distinct, forecast, judge,
    place_couriers,
};
use routing::mdrp::{Courier, Instance};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How days are planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanOptions {
    /// How much more demand is to be planned for than the history shows: 0.2 for a fifth more.
    pub growth_rate: f64,
    /// The share of slots in which a kitchen's suggested capacity is to suffice.
    pub service_level: f64,
    /// The share of their time that couriers are to be at work.
    pub utilisation: f64,
    /// Plan couriers for the orders of a slot that are exceeded with a probability of 1 less this, instead of the mean.
    pub courier_level: Option<f64>,
    /// How long shifts may be.
    pub lengths: ShiftLengths,
    /// What the draws of places start from.
    pub seed: u64,
    /// How many days are worked on at once.
    pub threads: usize,
}

/// Why days cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The days cannot be read, or a file cannot be written.
    #[error(transparent)]
    Days(#[from] DispatchError),
    /// The day to plan cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A day cannot be planned.
    #[error("cannot plan {day}")]
    Forecast {
        /// Which.
        day: String,
        /// Why.
        #[source]
        source: ForecastError,
    },
    /// What is written would replace what was read.
    #[error("{} is a day that was read: --out must lead elsewhere", directory.display())]
    OntoItself {
        /// Where it would be written.
        directory: PathBuf,
    },
}

/// A day to plan, with what is known of others.
pub struct Days {
    known: Vec<Named>,
    directories: Vec<PathBuf>,
    ahead: Option<(PathBuf, Named)>,
}

/// A day that was planned.
pub struct Planned<'a> {
    /// Where it was read.
    pub directory: &'a Path,
    /// The day.
    pub named: &'a Named,
    /// The days it was learned from.
    pub from: Vec<&'a str>,
    /// What is expected.
    pub forecast: Forecast,
    /// How good that is, if the day is over.
    pub judged: Option<Judged>,
    /// Units for each restaurant and slot.
    pub capacity: Vec<Vec<u32>>,
    /// The time that orders take.
    pub labour: Labour,
    /// Couriers needed in each slot.
    pub needed: Vec<u32>,
    /// The shifts that cover them.
    pub shifts: Vec<Span>,
    /// The couriers of the shifts, in their sequence.
    pub couriers: Vec<Courier>,
}

impl Days {
    /// Reads the days to learn from, and the one to plan if it is not all of them.
    ///
    /// # Errors
    /// [`PlanError`] when one cannot be read, or two have one name.
    pub fn read(directories: &[PathBuf], ahead: Option<&Path>) -> Result<Self, PlanError> {
        let read_ahead = |directory: &Path| -> Result<_, PlanError> {
            let instance = mdrp::read_ahead(directory)?;
            let (name, day) = (dispatch::name(directory), Day::from(&instance));
            Ok((directory.to_owned(), Named { name, instance, day }))
        };
        Ok(Self {
            known: dispatch::read(directories)?,
            directories: mdrp::find(directories).map_err(DispatchError::Read)?,
            ahead: ahead.map(read_ahead).transpose()?,
        })
    }

    /// Plans each day from the others, or only the one ahead; in the sequence in which they were given.
    ///
    /// # Errors
    /// [`PlanError::Forecast`] when a day cannot be planned.
    pub fn plan(&self, options: &PlanOptions) -> Result<Vec<Planned<'_>>, PlanError> {
        let past: Vec<PastDay> = self.known.iter().map(|named| PastDay::new(&named.instance)).collect();
        let instances: Vec<&Instance> = self.known.iter().map(|named| &named.instance).collect();
        let jobs = self.jobs(&instances);
        let labour = self.labour(&jobs, options.threads);
        let mut planned = Vec::with_capacity(jobs.len());
        for job in &jobs {
            let done = job.plan(&self.known, &past, &labour, options);
            planned.push(done.map_err(|source| PlanError::Forecast {
                day: job.named.name.clone(),
                source,
            })?);
        }
        Ok(planned)
    }

    fn jobs(&self, instances: &[&Instance]) -> Vec<Job<'_>> {
        let places = self.directories.iter().map(PathBuf::as_path);
        let mut wanted: Vec<(&Path, &Named)> = places.zip(&self.known).collect();
        if let Some((directory, named)) = &self.ahead {
            wanted = vec![(directory, named)];
        }
        let mut jobs = Vec::with_capacity(wanted.len());
        for (directory, named) in wanted {
            let history = distinct(instances, &named.instance);
            jobs.push(Job {
                directory,
                named,
                history,
            });
        }
        jobs
    }

    /// The labour of each day that somebody learns from, several at once.
    fn labour(&self, jobs: &[Job<'_>], threads: usize) -> Vec<OnceLock<Labour>> {
        let learned_from = |day: &usize| jobs.iter().any(|job| job.history.contains(day));
        let days: Vec<usize> = (0..self.known.len()).filter(learned_from).collect();
        let (next, labour) = (AtomicUsize::new(0), vec![OnceLock::new(); self.known.len()]);
        let work = || {
            while let Some(day) = days.get(next.fetch_add(1, Ordering::Relaxed)) {
                labour[*day].get_or_init(|| Labour::of(&self.known[*day].day));
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads.clamp(1, days.len().max(1)) {
                scope.spawn(work);
            }
        });
        labour
    }
}

/// A day to plan, and which days it is learned from.
struct Job<'a> {
    directory: &'a Path,
    named: &'a Named,
    history: Vec<usize>,
}

impl<'a> Job<'a> {
    fn plan(
        &self,
        known: &'a [Named],
        past: &[PastDay],
        labour: &[OnceLock<Labour>],
        options: &PlanOptions,
    ) -> Result<Planned<'a>, ForecastError> {
        let (instance, history) = (&self.named.instance, &self.history);
        let days: Vec<&PastDay> = history.iter().map(|day| &past[*day]).collect();
        let forecast = forecast(&days, &instance.restaurants, options.growth_rate)?;
        let is_over = !instance.orders.is_empty();
        let judged = is_over.then(|| judge(&days, &PastDay::new(instance), options.service_level));
        let worked = history
            .iter()
            .map(|day| labour[*day].get_or_init(|| Labour::of(&known[*day].day)));
        let labour = Labour::mean(worked.zip(forecast.weights.iter().copied()))?;
        let staffing = Staffing {
            utilisation: options.utilisation,
        };
        let needed = staffing.needed(&labour.load(&forecast.orders(options.courier_level)?))?;
        let shifts = cover(&needed, options.lengths)?;
        Ok(Planned {
            directory: self.directory,
            named: self.named,
            from: history.iter().map(|day| known[*day].name.as_str()).collect(),
            capacity: forecast.capacity(options.service_level)?,
            couriers: place_couriers(&shifts, &instance.restaurants, &forecast, options.seed),
            judged: judged.transpose()?,
            forecast,
            labour,
            needed,
            shifts,
        })
    }
}
