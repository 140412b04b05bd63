//! Small plots as SVG, drawn here: no script, no colours of their own, and the same numbers as text beside them.

use std::fmt::Write as _;

/// Width of a plot, in units of its own.
const WIDTH: f64 = 480.0;
/// Height of a bar with the room around it.
const ROW: f64 = 28.0;
/// Where bars begin: the labels stand before it.
const LEFT: f64 = 140.0;
/// Where bars end at the most: the numbers stand behind it.
const RIGHT: f64 = 340.0;

/// How a bar is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// One line of a plot of bars.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// Between 0 and 1 of the width.
    pub(crate) share: f64,
    /// What stands behind it.
    pub(crate) value: String,
    pub(crate) tone: Tone,
}

/// Bars beneath each other; `title` is read aloud instead of the picture.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let mut body = String::new();
    for (bar, top) in bars.iter().zip(places()) {
        let middle = top + 18.0;
        let width = (RIGHT - LEFT) * unit(bar.share);
        let _written = write!(
            body,
            "<text x=\"{LABEL}\" y=\"{middle:.0}\" class=\"label\">{}</text>\
             <rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"{TRACK:.0}\" height=\"16\" rx=\"3\" class=\"track\"/>\
             <rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"16\" rx=\"3\" class=\"{}\"/>\
             <text x=\"{AFTER}\" y=\"{middle:.0}\">{}</text>",
            escaped(&bar.label),
            top + 6.0,
            top + 6.0,
            bar.tone.class(),
            escaped(&bar.value),
            LABEL = LEFT - 10.0,
            TRACK = RIGHT - LEFT,
            AFTER = RIGHT + 10.0,
        );
    }
    let height = places().nth(bars.len()).unwrap_or(ROW);
    svg(title, height, &body)
}

/// What was used up over time, as steps under a limit. Points are (0 to 1 of the time, 0 to 1 of the limit), in order.
pub(crate) fn steps(title: &str, from: &str, to: &str, points: &[(f64, f64)]) -> String {
    const TOP: f64 = 12.0;
    const BOTTOM: f64 = 112.0;
    const START: f64 = 10.0;
    const END: f64 = WIDTH - 10.0;
    let x = |at: f64| (END - START).mul_add(unit(at), START);
    let y = |share: f64| (TOP - BOTTOM).mul_add(unit(share), BOTTOM);
    let mut path = format!("M{START:.1} {BOTTOM:.1}");
    for (at, share) in points {
        let _written = write!(path, "H{:.1}V{:.1}", x(*at), y(*share));
    }
    let last = points.last().map_or(0.0, |(at, _)| *at);
    let body = format!(
        "<line x1=\"{START:.0}\" y1=\"{TOP:.0}\" x2=\"{END:.0}\" y2=\"{TOP:.0}\" class=\"limit\"/>\
         <path d=\"{path}V{BOTTOM:.1}H{START:.1}Z\" class=\"area\"/>\
         <path d=\"{path}\" class=\"line\"/>\
         <line x1=\"{now:.1}\" y1=\"{TOP:.0}\" x2=\"{now:.1}\" y2=\"{BOTTOM:.0}\" class=\"now\"/>\
         <text x=\"{START:.0}\" y=\"130\">{}</text><text x=\"{END:.0}\" y=\"130\" class=\"label\">{}</text>",
        escaped(from),
        escaped(to),
        now = x(last),
    );
    svg(title, 140.0, &body)
}

/// A label that fits.
pub(crate) fn short(label: &str) -> String {
    const MOST: usize = 18;
    if label.chars().count() <= MOST {
        return label.to_owned();
    }
    let kept: String = label.chars().take(MOST - 1).collect();
    format!("{kept}…")
}

/// A number that is known to be somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Around {
    pub(crate) label: String,
    pub(crate) low: f64,
    pub(crate) value: f64,
    pub(crate) high: f64,
    /// What stands behind it.
    pub(crate) text: String,
}

/// Numbers with their error bars, all by one scale.
pub(crate) fn errors(title: &str, all: &[Around]) -> String {
    let lowest = all.iter().map(|it| it.low).fold(0.0, f64::min);
    let highest = all.iter().map(|it| it.high).fold(0.0, f64::max);
    let x = |number: f64| {
        let share = unit((number - lowest) / (highest - lowest));
        (RIGHT - LEFT).mul_add(share, LEFT)
    };
    let mut body = String::new();
    for (it, top) in all.iter().zip(places()) {
        let _written = write!(
            body,
            "<text x=\"{LABEL}\" y=\"{:.0}\" class=\"label\">{}</text>\
             <rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"{TRACK:.0}\" height=\"16\" rx=\"3\" class=\"track\"/>\
             <path d=\"M{:.1} {middle:.0}H{:.1}\" class=\"line\"/>\
             <circle cx=\"{:.1}\" cy=\"{middle:.0}\" r=\"5\" class=\"calm\"/>\
             <text x=\"{AFTER}\" y=\"{:.0}\">{}</text>",
            top + 18.0,
            escaped(&it.label),
            top + 6.0,
            x(it.low),
            x(it.high),
            x(it.value),
            top + 18.0,
            escaped(&it.text),
            middle = top + 14.0,
            LABEL = LEFT - 10.0,
            TRACK = RIGHT - LEFT,
            AFTER = RIGHT + 10.0,
        );
    }
    svg(title, places().nth(all.len()).unwrap_or(ROW), &body)
}

/// The tops of the rows.
fn places() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(0.0), |top| Some(top + ROW))
}

/// A share that can be drawn; what is no number is nothing.
fn unit(share: f64) -> f64 {
    if share.is_nan() {
        0.0
    } else {
        share.clamp(0.0, 1.0)
    }
}

fn svg(title: &str, height: f64, body: &str) -> String {
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Around, Bar, Tone, bars, errors, steps};

    #[test]
    fn what_is_drawn_stays_in_the_picture_and_text_stays_text() {
        let bar = |label: &str, share| Bar {
            label: label.to_owned(),
            share,
            value: "1 < 2".to_owned(),
            tone: Tone::Bad,
        };
        let drawn = bars(
            "a \"title\"",
            &[
                bar("<script>", 2.0),
                bar("less", -1.0),
                bar("nan", f64::NAN),
            ],
        );
        assert!(drawn.contains("&lt;script&gt;") && !drawn.contains("<script"));
        assert!(drawn.contains("aria-label=\"a &quot;title&quot;\""));
        assert_eq!(drawn.matches("width=\"200.0\"").count(), 1);
        assert_eq!(drawn.matches("width=\"0.0\"").count(), 2);
        assert!(drawn.contains("viewBox=\"0 0 480 84\""));
    }

    #[test]
    fn an_error_bar_stands_between_its_ends_by_one_scale() {
        let around = |low, value, high| Around {
            label: "north".to_owned(),
            low,
            value,
            high,
            text: String::new(),
        };
        let drawn = errors(
            "numbers",
            &[around(5.0, 7.5, 10.0), around(-10.0, 0.0, 10.0)],
        );
        assert!(
            drawn.contains("M290.0 14H340.0") && drawn.contains("cx=\"315.0\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("M140.0 42H340.0") && drawn.contains("cx=\"240.0\""),
            "{drawn}"
        );
        // Where all is nothing, there is no scale.
        assert!(errors("none", &[around(0.0, 0.0, 0.0)]).contains("cx=\"140.0\""));
    }

    #[test]
    fn steps_rise_when_something_was_used() {
        let drawn = steps("used", "then", "now", &[(0.5, 0.25), (1.0, 0.5)]);
        assert!(
            drawn.contains("M10.0 112.0H240.0V87.0H470.0V62.0"),
            "{drawn}"
        );
    }
}
