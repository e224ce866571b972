//! A drawing in the making, and frames with axes in it. Pixels grow to the right and downwards.

use std::fmt::{self, Write};

/// A point in pixels.
pub(super) type Point = (f64, f64);

/// A drawing.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn line(&mut self, (x1, y1): Point, (x2, y2): Point, class: &str) {
        self.add(format_args!(
            "<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' class='{class}'/>"
        ));
    }

    /// Begins a part that ends at the edges of a frame.
    pub(super) fn clip(&mut self, frame: &Frame) {
        let ((x, y), (width, height)) = (frame.corner, frame.size);
        self.add(format_args!(
            "<clipPath id='frame'><rect x='{x}' y='{y}' width='{width}' height='{height}'/></clipPath><g clip-path='url(#frame)'>"
        ));
    }

    /// Ends that part.
    pub(super) fn unclip(&mut self) {
        self.add(format_args!("</g>"));
    }

    /// A line through points; nothing for fewer than two.
    pub(super) fn path(&mut self, points: &[Point], class: &str) {
        if points.len() < 2 {
            return;
        }
        let mut text = String::new();
        for (x, y) in points {
            let _ = write!(text, "{x:.1},{y:.1} ");
        }
        self.add(format_args!("<polyline points='{}' class='{class}'/>", text.trim_end()));
    }

    /// A filled shape.
    pub(super) fn area(&mut self, points: &[Point], class: &str) {
        let mut text = String::new();
        for (x, y) in points {
            let _ = write!(text, "{x:.1},{y:.1} ");
        }
        self.add(format_args!("<polygon points='{}' class='{class}'/>", text.trim_end()));
    }

    pub(super) fn circle(&mut self, (x, y): Point, radius: f64, class: &str) {
        self.add(format_args!(
            "<circle cx='{x:.1}' cy='{y:.1}' r='{radius}' class='{class}'/>"
        ));
    }

    pub(super) fn square(&mut self, (x, y): Point, half: f64, class: &str) {
        self.area(
            &[
                (x - half, y - half),
                (x + half, y - half),
                (x + half, y + half),
                (x - half, y + half),
            ],
            class,
        );
    }

    pub(super) fn triangle(&mut self, (x, y): Point, size: f64, class: &str) {
        let base = y + size * 0.7;
        self.area(&[(x, y - size), (x + size, base), (x - size, base)], class);
    }

    /// A text whose `anchor` (`start`, `middle` or `end`) lies at the point.
    pub(super) fn text(&mut self, (x, y): Point, anchor: &str, class: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' class='{class}'>{text}</text>"
        ));
    }

    /// A text that runs upwards, its middle at the point.
    pub(super) fn upward(&mut self, (x, y): Point, class: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text transform='translate({x:.1} {y:.1}) rotate(-90)' text-anchor='middle' class='{class}'>{text}</text>"
        ));
    }

    fn add(&mut self, element: fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    /// The whole file.
    pub(super) fn finish(&self, (width, height): Point, style: &str, title: &str) -> String {
        let (title, body) = (escaped(title), &self.body);
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'>\n\
             <title>{title}</title>\n<style>{style}</style>\n\
             <rect width='{width}' height='{height}' class='paper'/>\n{body}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A part of the drawing with axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Its left upper corner.
    pub(super) corner: Point,
    /// How wide and how high it is.
    pub(super) size: Point,
    /// The values at its left and right edge.
    pub(super) x: (f64, f64),
    /// The values at its lower and upper edge.
    pub(super) y: (f64, f64),
}

/// A value of an axis and how it is written.
pub(super) type Tick = (f64, String);

impl Frame {
    /// Where values lie.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let share = |value: f64, (from, to): (f64, f64)| (value - from) / (to - from);
        (
            self.corner.0 + self.size.0 * share(x, self.x),
            self.corner.1 + self.size.1 * (1.0 - share(y, self.y)),
        )
    }

    /// Whether values lie inside.
    pub(super) fn holds(&self, x: f64, y: f64) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// Draws grid, ticks and names.
    pub(super) fn axes(&self, svg: &mut Svg, (x_ticks, x_name): (&[Tick], &str), (y_ticks, y_name): (&[Tick], &str)) {
        let ((left, top), (width, height)) = (self.corner, self.size);
        let (right, bottom) = (left + width, top + height);
        for (value, label) in x_ticks {
            let (x, _) = self.at(*value, self.y.0);
            svg.line((x, top), (x, bottom), "grid");
            svg.text((x, bottom + 17.0), "middle", "tick", label);
        }
        for (value, label) in y_ticks {
            let (_, y) = self.at(self.x.0, *value);
            svg.line((left, y), (right, y), "grid");
            svg.text((left - 7.0, y + 4.0), "end", "tick", label);
        }
        svg.path(&[(left, top), (left, bottom), (right, bottom)], "axis");
        svg.text((left + width / 2.0, bottom + 36.0), "middle", "name", x_name);
        svg.upward((left - 42.0, top + height / 2.0), "name", y_name);
    }
}

/// Round values between two, about so many: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(from: f64, to: f64, about: f64) -> Vec<Tick> {
    let raw = ((to - from) / about).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|times| times * power);
    let step = step.into_iter().find(|step| *step >= raw).unwrap_or(10.0 * power);
    let first = (from / step).ceil();
    let values = (0..100).map(|count| (first + f64::from(count)) * step);
    let values = values.take_while(|value| *value <= to + step * 1e-9);
    let places = usize::from(step < 1.0);
    values.map(|value| (value, format!("{value:.places$}"))).collect()
}

/// Full hours between two minutes, about so many at most.
pub(super) fn hours(from: f64, to: f64, most: f64) -> Vec<Tick> {
    let steps = [1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 24.0].map(|hours| hours * 60.0);
    let step = steps
        .into_iter()
        .find(|step| (to - from) / step <= most)
        .unwrap_or(1_440.0);
    let first = (from / step).ceil();
    let values = (0..100).map(|count| (first + f64::from(count)) * step);
    let values = values.take_while(|value| *value <= to);
    values.map(|value| (value, format!("{:.0}:00", value / 60.0))).collect()
}
