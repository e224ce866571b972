//! The run second by second, and a picture of it.

use super::faults::Struck;
use super::load::{Ask, History, Said};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// A second of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Second {
    /// Orders that were acknowledged.
    pub(super) acknowledged: u32,
    /// Requests that failed.
    pub(super) failed: u32,
    /// From a client's first attempt until its order was acknowledged, in milliseconds: what 99 of a hundred of those that
    /// were acknowledged in this second did not exceed.
    pub(super) p99_ms: Option<u64>,
}

/// What of a hundred do not exceed, by nearest rank.
pub(super) fn rank(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted
        .get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
        .copied()
}

/// A length in whole milliseconds.
pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// The seconds from `since` on.
pub(super) fn seconds(history: &History, since: Instant) -> Vec<Second> {
    let place = |moment: Instant| usize::try_from((moment - since).as_secs()).unwrap_or(usize::MAX);
    let last = history.attempts.iter().map(|attempt| place(attempt.ended)).max();
    let Some(last) = last else { return Vec::new() };
    let mut seconds = vec![Second::default(); last + 1];
    let mut waits: Vec<Vec<u64>> = vec![Vec::new(); last + 1];
    for attempt in history.attempts.iter().filter(|attempt| attempt.said != Said::Good) {
        seconds[place(attempt.ended)].failed += 1;
    }
    for attempt in history
        .attempts
        .iter()
        .filter(|attempt| attempt.ask == Ask::Submit && attempt.said == Said::Good)
    {
        seconds[place(attempt.ended)].acknowledged += 1;
    }
    for told in &history.orders {
        if let Some(acknowledged) = told.acknowledged.filter(|moment| place(*moment) <= last) {
            waits[place(acknowledged)].push(millis(acknowledged - told.begun));
        }
    }
    for (second, waits) in seconds.iter_mut().zip(&mut waits) {
        waits.sort_unstable();
        second.p99_ms = rank(waits, 99);
    }
    seconds
}

const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 70.0;
const PANEL: f64 = 220.0;
const TOP: f64 = 50.0;
const GAP: f64 = 60.0;

/// The picture: orders acknowledged and requests failed in each second above, how long clients waited below (its scale is
/// logarithmic), and faults as vertical lines, from when they began until everything was back.
pub(super) fn picture(seconds: &[Second], struck: &[Struck], since: Instant, title: &str) -> String {
    let length = f64::from(u32::try_from(seconds.len().max(1)).unwrap_or(u32::MAX));
    let x = |at: f64| LEFT + at / length * (WIDTH - LEFT - 20.0);
    let most = seconds
        .iter()
        .map(|second| second.acknowledged.max(second.failed))
        .max()
        .unwrap_or(0)
        .max(1);
    let high = TOP + PANEL;
    let low = high + GAP + PANEL;
    let count_y = |count: u32| high - f64::from(count) / f64::from(most) * PANEL;
    // From 1 ms to 100 s.
    let wait_y = |ms: u64| low - f64::from(u32::try_from(ms.max(1)).unwrap_or(u32::MAX)).log10() / 5.0 * PANEL;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n",
        height = low + 40.0
    );
    frame(
        &mut svg,
        high,
        "each second: orders acknowledged (blue), requests failed (red)",
    );
    frame(&mut svg, low, "p99 of the wait for an acknowledgement, ms");
    for part in 0..=4_u32 {
        let count = most * part / 4;
        label(&mut svg, count_y(count), &count.to_string());
    }
    for power in 0..=5 {
        let ms = 10_u64.pow(power);
        label(&mut svg, wait_y(ms), &ms.to_string());
    }
    for (n, struck) in struck.iter().enumerate() {
        let of_run = |moment: Instant| x((moment - since).as_secs_f64());
        mark(&mut svg, n, struck, (of_run(struck.at), of_run(struck.until)), low);
    }
    let at = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) + 0.5;
    let counts = |of: fn(&Second) -> u32| -> Vec<(f64, f64)> {
        seconds
            .iter()
            .enumerate()
            .map(|(n, second)| (x(at(n)), count_y(of(second))))
            .collect()
    };
    line(&mut svg, &counts(|second| second.acknowledged), "steelblue");
    line(&mut svg, &counts(|second| second.failed), "crimson");
    let waits = seconds
        .iter()
        .enumerate()
        .filter_map(|(n, second)| Some((x(at(n)), wait_y(second.p99_ms?))));
    line(&mut svg, &waits.collect::<Vec<_>>(), "seagreen");
    let step = (seconds.len() / 12).max(1);
    for n in (0..=seconds.len()).step_by(step) {
        let left = x(at(n) - 0.5);
        let _ = writeln!(
            svg,
            "<text x=\"{left:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{n} s</text>",
            low + 18.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A fault, from when it began until everything was back.
fn mark(svg: &mut String, n: usize, struck: &Struck, (left, right): (f64, f64), low: f64) {
    let width = (right - left).max(1.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"orange\" opacity=\"0.15\"/>\n\
         <line x1=\"{left:.1}\" y1=\"{TOP}\" x2=\"{left:.1}\" y2=\"{low}\" stroke=\"darkorange\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"darkorange\" font-size=\"10\">{} {}</text>",
        low - TOP,
        left + 2.0,
        TOP - 16.0 + if n.is_multiple_of(2) { 0.0 } else { 11.0 },
        struck.fault,
        struck.whom.split('-').next().unwrap_or_default(),
    );
}

fn frame(svg: &mut String, bottom: f64, title: &str) {
    let top = bottom - PANEL;
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {top} V{bottom} H{:.1}\" fill=\"none\" stroke=\"gray\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"end\" fill=\"gray\">{title}</text>",
        WIDTH - 20.0,
        WIDTH - 24.0,
        top + 14.0,
    );
}

fn label(svg: &mut String, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
        LEFT - 6.0,
        y + 4.0
    );
}

fn line(svg: &mut String, points: &[(f64, f64)], colour: &str) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        points.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::super::load::{Attempt, Told};
    use super::*;
    use crate::evidence::Submitted;

    #[test]
    fn answers_fall_into_their_seconds_and_the_picture_has_every_fault() {
        let since = Instant::now();
        let at = |ms| since + Duration::from_millis(ms);
        let attempt = |begun, ended, said| Attempt {
            n: 1,
            ask: Ask::Submit,
            node: 0,
            begun: at(begun),
            ended: at(ended),
            said,
        };
        let history = History {
            attempts: vec![attempt(100, 900, Said::TimedOut), attempt(900, 2_100, Said::Good)],
            orders: vec![Told {
                key: "load-1".to_owned(),
                begun: at(100),
                acknowledged: Some(at(2_100)),
                submitted: Submitted {
                    order: "load-1".to_owned(),
                    key: "load-1".to_owned(),
                    id: None,
                    repeated: None,
                    cancel_granted: None,
                },
                unanswered: Vec::new(),
            }],
        };
        let seconds = seconds(&history, since);
        let of = |acknowledged, failed, p99_ms| Second {
            acknowledged,
            failed,
            p99_ms,
        };
        assert_eq!(seconds, [of(0, 1, None), of(0, 0, None), of(1, 0, Some(2_000))]);
        let svg = picture(&seconds, &[Struck::at(Fault::Kill, at(500))], since, "a run");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">kill "), "{svg}");
    }
}
