//! Creates a day's restaurants and couriers through the HTTP interface.

use super::{Day, Options, ReplayError, Schedule, TimeLine};
use crate::client::{Client, ClientError};
use domain::time::Timestamp;
use futures::{StreamExt, TryStreamExt, stream};
use routing::mdrp::Instance;
use std::time::Duration;
use tokio::time::Instant;

/// Requests under way at once.
const CONCURRENCY: usize = 32;
/// How often the clock is read: the quickest answer is the most exact.
const CLOCK_READINGS: usize = 5;
/// The least time between the creation of the couriers and the first order.
const LEAD_MIN: Duration = Duration::from_millis(500);

/// Creates everything the day needs and says when it begins.
///
/// Shifts are moments of the day, so its begin must be fixed before the couriers exist: as far ahead as twice the time
/// that creating them should take, by how long the channels took.
pub(super) async fn create(
    client: &Client,
    instance: &Instance,
    schedule: &Schedule,
    options: &Options,
) -> Result<(Day, TimeLine), ReplayError> {
    let (_, now) = read_clock(client, options.speed).await?;
    let day = Day::new(instance, run_name(now), options.origin);
    let began = Instant::now();
    create_channels(client, instance, &day).await?;
    let channels = u32::try_from(instance.restaurants.len()).unwrap_or(u32::MAX).max(1);
    let couriers = u32::try_from(instance.couriers.len()).unwrap_or(u32::MAX);
    let lead = LEAD_MIN + began.elapsed() * 2 * couriers / channels;
    let (wall, now) = read_clock(client, options.speed).await?;
    let line = TimeLine::new(wall, now, options.speed, lead, schedule.first_minute);
    create_couriers(client, instance, &day, &line).await?;
    Ok((day, line))
}

/// A name no other replay has: the server's time, and this process.
fn run_name(now: Timestamp) -> String {
    format!("replay-{:x}-{:x}", now.as_ms(), std::process::id())
}

/// A wall moment and what the server's clock showed then.
async fn read_clock(client: &Client, speed: u64) -> Result<(Instant, Timestamp), ReplayError> {
    let mut best: Option<(Duration, Instant, Timestamp)> = None;
    for _ in 0..CLOCK_READINGS {
        let asked = Instant::now();
        let clock = client
            .clock()
            .await
            .map_err(ReplayError::server("read the server's clock"))?;
        let took = asked.elapsed();
        if clock.time_scale != speed {
            return Err(ReplayError::Pace {
                url: client.url().to_owned(),
                server: clock.time_scale,
                replay: speed,
            });
        }
        if best.is_none_or(|(least, ..)| took < least) {
            best = Some((took, asked + took / 2, Timestamp(clock.now)));
        }
    }
    let (_, wall, now) = best.unwrap_or((Duration::ZERO, Instant::now(), Timestamp(0)));
    Ok((wall, now))
}

async fn create_channels(client: &Client, instance: &Instance, day: &Day) -> Result<(), ReplayError> {
    let created = instance.restaurants.iter().map(|restaurant| async move {
        let id = day.name(&restaurant.id);
        client.put_channel(&id, &day.channel(restaurant)).await?;
        match day.menu(restaurant) {
            Some(menu) => client.put_menu(&id, &menu).await,
            None => Ok(()),
        }
    });
    all(created)
        .await
        .map_err(ReplayError::server("create the day's restaurants"))
}

async fn create_couriers(client: &Client, instance: &Instance, day: &Day, line: &TimeLine) -> Result<(), ReplayError> {
    let created = instance.couriers.iter().map(|courier| async move {
        client
            .put_courier(&day.name(&courier.id), &day.courier(courier, line))
            .await
    });
    all(created)
        .await
        .map_err(ReplayError::server("create the day's couriers"))
}

/// Does all of it, some at a time, until one fails.
async fn all(requests: impl Iterator<Item = impl Future<Output = Result<(), ClientError>>>) -> Result<(), ClientError> {
    stream::iter(requests)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await
}
