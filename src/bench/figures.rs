//! A server's figures, read from Prometheus' text format: pure.

use std::collections::BTreeMap;

/// All samples of one reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Figures {
    /// Reads the text. Lines that are no samples are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self {
            samples: lines.filter_map(sample).collect(),
        }
    }

    /// Several servers' figures, as if one had counted everything.
    pub(super) fn merged(all: Vec<Self>) -> Self {
        Self {
            samples: all.into_iter().flat_map(|figures| figures.samples).collect(),
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over all labels; `None` when there is no such figure.
    pub(super) fn total(&self, name: &str) -> Option<f64> {
        let mut values = self.named(name).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The same, 0 when nothing was counted yet.
    pub(super) fn count(&self, name: &str) -> f64 {
        self.total(name).unwrap_or(0.0)
    }

    /// The sum over those whose label is so; 0 when nothing was counted yet.
    pub(super) fn count_where(&self, name: &str, label: &str, value: &str) -> f64 {
        let labelled = |sample: &&Sample| sample.labels.get(label).is_some_and(|is| is == value);
        // From 0: the sum of no floats is -0.
        self.named(name)
            .filter(labelled)
            .fold(0.0, |sum, sample| sum + sample.value)
    }

    /// How many observations a histogram or summary got between an earlier reading and this one, and their mean; `None`
    /// when there were none.
    pub(super) fn observed_since(&self, before: &Self, name: &str) -> Option<(f64, f64)> {
        let [count, sum] = ["_count", "_sum"].map(|part| {
            let name = format!("{name}{part}");
            self.count(&name) - before.count(&name)
        });
        (count > 0.0).then(|| (count, sum / count))
    }

    /// What a share `q` of a histogram's observations between an earlier reading and this one do not exceed, interpolated
    /// within its bucket; the last finite bound when it lies beyond; `None` when there were none.
    pub(super) fn quantile_since(&self, before: &Self, name: &str, q: f64) -> Option<f64> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let (now, then) = (self.buckets(name), before.buckets(name));
        for (bound, count) in now {
            let earlier = then.iter().find(|(known, _)| known.total_cmp(&bound).is_eq());
            buckets.push((bound, count - earlier.map_or(0.0, |(_, count)| *count)));
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (_, total) = *buckets.last()?;
        if total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let (mut below_bound, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                let part = if count > below {
                    (rank - below) / (count - below)
                } else {
                    1.0
                };
                return Some(if bound.is_finite() {
                    below_bound + part * (bound - below_bound)
                } else {
                    below_bound
                });
            }
            (below_bound, below) = (bound, count);
        }
        None
    }

    /// A histogram's buckets, summed over all other labels: upper bounds and cumulative counts.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.named(&format!("{name}_bucket")) {
            let Some(bound) = sample.labels.get("le").and_then(|bound| number(bound)) else {
                continue;
            };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

/// `name{label="value",…} number`, perhaps with a time behind.
fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: number(rest.split_whitespace().next()?)?,
    })
}

/// The labels after the opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = quoted_text(quoted)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
# HELP order_processing_duration seconds from an order's acceptance to its confirmation
# TYPE order_processing_duration histogram
order_processing_duration_bucket{le="0.5"} 10
order_processing_duration_bucket{le="1"} 10
order_processing_duration_bucket{le="+Inf"} 10
order_processing_duration_sum 2.5
order_processing_duration_count 10
"#;
    const AFTER: &str = r#"
order_processing_duration_bucket{le="0.5"} 60
order_processing_duration_bucket{le="1"} 110
order_processing_duration_bucket{le="+Inf"} 111
order_processing_duration_sum 103.5
order_processing_duration_count 111
order_processing_errors_total{code="NO_AVAILABLE_CHANNEL"} 3
order_processing_errors_total{code="PAYMENT_DECLINED"} 4 1700000000000
http_requests_total{route="/v1/orders",note="a \"quoted\", \\ and } one"} 7
nonsense
"#;

    #[test]
    fn samples_are_read_with_their_labels() {
        let figures = Figures::parse(AFTER);
        assert_eq!(figures.total("order_processing_errors_total"), Some(7.0));
        assert_eq!(figures.total("order_processing_duration_count"), Some(111.0));
        let sample = figures.named("http_requests_total").next().expect("a sample");
        assert_eq!(sample.labels["note"], "a \"quoted\", \\ and } one");
        assert_eq!((sample.labels["route"].as_str(), sample.value), ("/v1/orders", 7.0));
        assert_eq!((figures.total("nonsense"), figures.total("absent")), (None, None));
        assert_eq!(figures.count("absent").to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn only_what_came_between_two_readings_counts() {
        let (before, after) = (Figures::parse(BEFORE), Figures::parse(AFTER));
        assert_eq!(
            after.observed_since(&before, "order_processing_duration"),
            Some((101.0, 1.0))
        );
        assert_eq!(after.observed_since(&after, "order_processing_duration"), None);
        assert_eq!(after.observed_since(&before, "absent"), None);
    }

    #[test]
    fn several_servers_count_together() {
        let one =
            Figures::parse("uoop_peer_batches_total{direction=\"out\"} 3\nuoop_peer_batches_total{direction=\"in\"} 9");
        let other = Figures::parse("uoop_peer_batches_total{direction=\"out\"} 4");
        let both = Figures::merged(vec![one, other]);
        let of = |direction| both.count_where("uoop_peer_batches_total", "direction", direction);
        assert_eq!(
            [of("out"), of("in"), of("up")].map(f64::to_bits),
            [7.0, 9.0, 0.0].map(f64::to_bits)
        );
        let (before, after) = (Figures::parse(BEFORE), Figures::parse(AFTER));
        let [before, after] = [&before, &after].map(|figures| Figures::merged(vec![figures.clone(), figures.clone()]));
        assert_eq!(
            after.observed_since(&before, "order_processing_duration"),
            Some((202.0, 1.0))
        );
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let (before, after) = (Figures::parse(BEFORE), Figures::parse(AFTER));
        let at = |q| after.quantile_since(&before, "order_processing_duration", q);
        // 50 up to 0.5 s, 50 more up to 1 s, 1 beyond.
        for (q, expected) in [(0.25, 0.2525), (50.0 / 101.0, 0.5), (75.0 / 101.0, 0.75), (1.0, 1.0)] {
            let value = at(q).expect("observations");
            assert!((value - expected).abs() < 1e-9, "{q}: {value}");
        }
        assert_eq!(after.quantile_since(&after, "order_processing_duration", 0.99), None);
        assert_eq!(after.quantile_since(&before, "absent", 0.99), None);
    }
}
