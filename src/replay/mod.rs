//! The replay of a real day of orders through the HTTP interface, in scaled business time.
//!
//! An [`Instance`] is read from files, [`Schedule`] says what happens when, [`Day`] says it in the interface's terms,
//! `play` does it, and [`Summary`] tells what came of it. Only `play`, `setup` and `server` do I/O or know the time.

mod day;
mod outcome;
mod play;
mod polls;
mod progress;
mod schedule;
mod server;
mod setup;
mod summary;
#[cfg(test)]
mod tests;
mod time_line;

pub use day::Day;
pub use outcome::{End, Outcome, ReportLine};
pub use polls::Polls;
pub use schedule::{Planned, Schedule, Wishes};
pub use summary::{Duplicates, Overdue, Quantiles, Spread, Summary};
pub use time_line::TimeLine;

use crate::client::{Client, ClientError, RetryPolicy};
use domain::geo::Location;
use polls::Customers;
use routing::mdrp::Instance;
use server::OwnServer;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where the plane's origin lies unless told otherwise.
pub const ORIGIN: Location = Location {
    lat: 41.88,
    lng: -87.63,
};

/// Which server plays the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// One of its own, with its store in a temporary directory, or in the database with this URL.
    Own {
        /// The database's URL.
        store: Option<String>,
    },
    /// One that runs already.
    Running {
        /// Its address.
        url: String,
    },
}

/// How a day is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which server plays it.
    pub against: Against,
    /// How fast business time runs, as a multiple of wall time.
    pub speed: u64,
    /// Which orders, and what happens to them.
    pub wishes: Wishes,
    /// Where the plane's origin lies.
    pub origin: Location,
    /// Whether each customer looks at the status of its live order every ten seconds of business time.
    pub poll: bool,
}

/// A day that was played.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What came of each order, in order of placement.
    pub outcomes: Vec<Outcome>,
    /// The whole in figures.
    pub summary: Summary,
    /// Where the own server's data and log were kept because something is missing.
    pub kept: Option<PathBuf>,
}

/// Why a day cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The server cannot be asked, or says no.
    #[error("cannot {what}")]
    Server {
        /// What was to be done.
        what: String,
        /// Why it cannot.
        #[source]
        source: ClientError,
    },
    /// The server's business time has another pace.
    #[error(
        "the server at {url} runs business time at {server} times wall time and the replay at {replay}: \
         pass --speed {server}, or start the server with --time-scale {replay}"
    )]
    Pace {
        /// The server.
        url: String,
        /// Its pace.
        server: u64,
        /// The replay's.
        replay: u64,
    },
    /// The own server cannot be started.
    #[error("cannot start a server: {problem}")]
    Start {
        /// Why, with the end of its log.
        problem: String,
    },
}

impl ReplayError {
    fn server(what: impl Into<String>) -> impl FnOnce(ClientError) -> Self {
        let what = what.into();
        |source| Self::Server { what, source }
    }
}

/// Plays a day and waits until every order of it is settled, or its time is over.
///
/// # Errors
/// [`ReplayError`] when the day cannot begin. What happens to single orders is told by their outcomes.
pub async fn replay(instance: &Instance, options: &Options) -> Result<Replay, ReplayError> {
    let began = Instant::now();
    let server = match &options.against {
        Against::Own { store } => Some(OwnServer::start(options.speed, store.as_deref()).await?),
        Against::Running { .. } => None,
    };
    let url = match (&server, &options.against) {
        (Some(server), _) => server.url(),
        (None, Against::Running { url }) => url,
        (None, Against::Own { .. }) => "",
    };
    let client = Client::new(url, RetryPolicy::PATIENT).map_err(ReplayError::server("talk to the server"))?;
    let (outcomes, run, polls) = play_on(&client, instance, options).await?;
    let summary = Summary::new(
        &outcomes,
        summary::Frame {
            run,
            target_min: instance.parameters.click_to_door_target_min,
            retries: client.retries(),
            wall: began.elapsed(),
            polls,
        },
    );
    let keep = !summary.is_complete();
    let kept = match server {
        Some(server) => server.stop(keep).await,
        None => None,
    };
    Ok(Replay {
        outcomes,
        summary,
        kept,
    })
}

async fn play_on(
    client: &Client,
    instance: &Instance,
    options: &Options,
) -> Result<(Vec<Outcome>, String, Option<Polls>), ReplayError> {
    // A server that is not there at the beginning is a mistake; one that goes away later is part of the exercise.
    let brief = RetryPolicy {
        give_up: Duration::from_secs(10),
        ..RetryPolicy::PATIENT
    };
    client
        .with_retry(brief)
        .ready()
        .await
        .map_err(ReplayError::server("play the day"))?;
    let schedule = Schedule::new(instance, &options.wishes);
    let (day, line) = setup::create(client, instance, &schedule, options).await?;
    let run = day.run().to_owned();
    if !options.poll {
        return Ok((play::play(client, day, line, schedule, None).await, run, None));
    }
    let customers = Arc::new(Customers::new(client, &line).await);
    let outcomes = play::play(client, day, line, schedule, Some(Arc::clone(&customers))).await;
    Ok((outcomes, run, Some(customers.polls().await)))
}
