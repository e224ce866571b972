//! The report as a table for people: a row a figure, a column a policy.

use super::Report;
use super::published::TABLE_4_INSTANCES;
use super::report::{Figures, PolicyFigures};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use routing::dispatch::{Description, Metrics, Policy};
use std::fmt;

/// Up to so many instances are listed one by one.
const LISTED_MAX: usize = 24;

type Figure = fn(&Figures) -> Option<f64>;

/// What is shown of means: the row's name, its unit, its decimal places, and the figure.
const MEANS: [(&str, &str, usize, Figure); 6] = [
    ("click-to-door", " min", 2, |mean| mean.click_to_door),
    ("undelivered", " %", 3, |mean| mean.undelivered_pct),
    ("over the target by", " min", 2, |mean| mean.overdue),
    ("ready-to-pickup", " min", 2, |mean| mean.ready_to_pickup),
    ("cost per order", "", 2, |mean| mean.cost_per_order),
    ("orders per bundle", "", 3, |mean| mean.orders_per_bundle),
];

type Series = fn(&Metrics) -> &Description;

/// What is shown of a single day beside its means.
const SPREADS: [(&str, Series); 11] = [
    ("click-to-door, min", |metrics| &metrics.click_to_door),
    ("ready-to-door, min", |metrics| &metrics.ready_to_door),
    ("ready-to-pickup, min", |metrics| &metrics.ready_to_pickup),
    ("over the target, min", |metrics| &metrics.overage),
    ("orders per hour", |metrics| &metrics.orders_per_hour),
    ("bundles per hour", |metrics| &metrics.bundles_per_hour),
    ("utilization", |metrics| &metrics.utilization),
    ("guaranteed earnings", |metrics| &metrics.guaranteed_earnings),
    ("order earnings", |metrics| &metrics.order_earnings),
    ("payment", |metrics| &metrics.payment),
    ("orders per bundle", |metrics| &metrics.orders_per_bundle),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.runs[..] {
            [first, ..] if self.instances == 1 => {
                writeln!(f, "{}", first.instance)?;
                writeln!(f, "{}\n", self.spreads())?;
            }
            _ if self.instances <= LISTED_MAX => writeln!(f, "{}\n", self.listed())?,
            _ => {}
        }
        write!(f, "{}", self.means())?;
        if let Some(published) = &self.published {
            f.write_str("\npublished: Reyes et al. 2018, means over all 240 instances of the library")?;
            if let Some(least) = published.table_4_clairvoyant {
                write!(f, "; table 4 if the day were known beforehand: {least:.2} min")?;
            }
        }
        if let Some(improvement) = self.improvement_pct {
            let (word, size) = if improvement < 0.0 {
                ("later", -improvement)
            } else {
                ("sooner", improvement)
            };
            write!(f, "\nanneal delivers {size:.1} % {word} than nearest")?;
        }
        Ok(())
    }
}

impl Report {
    /// A column a policy, then how anneal differs from nearest, then what is published.
    fn means(&self) -> Table {
        let mut header = vec![format!("mean of {} {}", self.instances, plural(self.instances))];
        header.extend(self.policies.iter().map(|figures| figures.name().to_owned()));
        let compared = self.of(Policy::Nearest).zip(self.of(Policy::Anneal));
        header.extend(compared.map(|_| "anneal against nearest".to_owned()));
        header.extend(self.published.map(|_| "published".to_owned()));
        let mut table = table(header);
        for (name, unit, places, figure) in MEANS {
            let mut row = vec![name.to_owned()];
            row.extend(
                self.policies
                    .iter()
                    .map(|figures| number(figure(&figures.mean), unit, places)),
            );
            row.extend(compared.map(|(nearest, anneal)| change(figure(&nearest.mean), figure(&anneal.mean))));
            row.extend(
                self.published
                    .map(|published| number(figure(&published.mean), unit, places)),
            );
            table.add_row(row);
        }
        self.add_table_4(&mut table);
        for (name, cell) in COUNTED {
            let mut row = vec![name.to_owned()];
            row.extend(self.policies.iter().map(|figures| cell(self, figures)));
            table.add_row(row);
        }
        for (name, cell) in THOUGHT {
            let mut row = vec![name.to_owned()];
            row.extend(self.policies.iter().map(cell));
            table.add_row(row);
        }
        table
    }

    /// The instances of Reyes et al.'s table 4 by themselves, when there are some.
    fn add_table_4(&self, table: &mut Table) {
        let of = |figures: &PolicyFigures| figures.table_4.and_then(|table| table.mean.click_to_door);
        let Some(played) = self.policies.iter().find_map(|figures| figures.table_4) else {
            return;
        };
        let which = if played.instances == TABLE_4_INSTANCES {
            "click-to-door, table 4".to_owned()
        } else {
            format!("click-to-door, {} of table 4's {TABLE_4_INSTANCES}", played.instances)
        };
        let mut row = vec![which];
        row.extend(self.policies.iter().map(|figures| number(of(figures), " min", 2)));
        let compared = self.of(Policy::Nearest).zip(self.of(Policy::Anneal));
        row.extend(compared.map(|(nearest, anneal)| change(of(nearest), of(anneal))));
        row.extend(
            self.published
                .map(|published| number(published.table_4_click_to_door, " min", 2)),
        );
        table.add_row(row);
    }

    /// Everything that the library's evaluator tells of one day.
    fn spreads(&self) -> Table {
        let header = ["", "policy", "mean", "std", "min", "10 %", "50 %", "90 %", "max"];
        let mut table = table(header.map(str::to_owned).to_vec());
        for (name, series) in SPREADS {
            for (at, run) in self.runs.iter().enumerate() {
                let of = series(&run.metrics);
                let name = if at == 0 { name } else { "" };
                let mut row = vec![name.to_owned(), self.policies[at].name().to_owned()];
                let figures = [of.mean, of.std, of.min, of.p10, of.p50, of.p90, of.max];
                row.extend(figures.map(|value| number(value, "", 2)));
                table.add_row(row);
            }
        }
        table
    }

    /// The click-to-door of each day.
    fn listed(&self) -> Table {
        let mut header = vec!["click-to-door, min".to_owned()];
        header.extend(self.policies.iter().map(|figures| figures.name().to_owned()));
        let mut table = table(header);
        for runs in self.runs.chunks(self.policies.len().max(1)) {
            let mut row: Vec<String> = runs.iter().take(1).map(|run| run.instance.clone()).collect();
            row.extend(runs.iter().map(|run| number(run.metrics.click_to_door.mean, "", 2)));
            table.add_row(row);
        }
        table
    }

    fn of(&self, policy: Policy) -> Option<&PolicyFigures> {
        self.policies.iter().find(|figures| figures.policy == policy)
    }
}

type Counted = fn(&Report, &PolicyFigures) -> String;

/// What is counted or added up over all days.
const COUNTED: [(&str, Counted); 4] = [
    ("delivered", |_, figures| {
        format!("{} of {}", figures.delivered, figures.orders)
    }),
    ("total payment", |_, figures| format!("{:.2}", figures.total_payment)),
    ("couriers paid by the hour", |_, figures| {
        format!("{:.1} %", 100.0 * figures.guaranteed_share)
    }),
    ("feasible", |report, figures| {
        format!("{} of {}", figures.feasible, report.instances)
    }),
];

type Thought = fn(&PolicyFigures) -> String;

/// How long policies thought.
const THOUGHT: [(&str, Thought); 3] = [
    ("re-plan, p99 / max", |figures| {
        let [p99, max] = [figures.replan_ms.p99, figures.replan_ms.max].map(|ms| number(ms, "", 2));
        format!("{p99} / {max} ms")
    }),
    ("insertion, p99 / max", |figures| {
        let [p99, max] = [figures.insertion_us.p99, figures.insertion_us.max].map(|us| number(us, "", 1));
        format!("{p99} / {max} µs")
    }),
    ("most orders open at once", |figures| {
        figures.open_orders_max.to_string()
    }),
];

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let columns = header.len();
    table.set_header(header);
    for at in 1..columns {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "day" } else { "days" }
}

fn number(value: Option<f64>, unit: &str, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}{unit}"))
}

/// How much the second differs from the first.
fn change(from: Option<f64>, to: Option<f64>) -> String {
    match from.zip(to) {
        Some((from, to)) if from > 0.0 => format!("{:+.1} %", 100.0 * (to - from) / from),
        _ => "-".to_owned(),
    }
}
