//! What is promised of answers about many.

mod account;
mod answers;
mod attacks;
mod draws;
mod questions;

use std::collections::BTreeMap;

use stockade_dp::{
    Answer, Contribution, DataSet, Epsilon, Field, Given, Plan, Question, Random, SampleError,
    Tally,
};

/// `SplitMix64`: chance of a fixed seed, good enough for statistics.
pub(crate) struct Seeded(pub(crate) u64);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SampleError> {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// 2026-09-21 14:13:20 UTC.
pub(crate) const NOW: i64 = 1_790_000_000;

/// `kwh` from 0 to 5, `region` one of two, `town` any text; 96 records a day.
pub(crate) fn meters() -> DataSet {
    let number = |text: &str| text.parse().expect("a number");
    let kwh = Field {
        range: Some((number("0"), number("5"))),
        ..Field::default()
    };
    let region = Field {
        values: Some(vec!["north".to_owned(), "south".to_owned()]),
        ..Field::default()
    };
    let owner = Field {
        hidden: Some("is never stored"),
        ..Field::default()
    };
    let fields = [
        ("kwh", kwh),
        ("region", region),
        ("town", Field::default()),
        ("owner", owner),
    ];
    DataSet {
        fields: fields.map(|(name, field)| (name.to_owned(), field)).into(),
        contribution: Contribution {
            per: 86_400,
            records: 96,
        },
    }
}

pub(crate) type Row = (u32, i64, BTreeMap<&'static str, Given<'static>>);

pub(crate) fn row(subject: u32, at: i64, kwh: f64, region: &'static str) -> Row {
    let fields = [
        ("kwh", Given::Number(kwh)),
        ("region", Given::Text(region)),
        ("town", Given::Text(region)),
    ];
    (subject, at, fields.into())
}

pub(crate) fn plan(question: &str, epsilon: &str) -> Plan {
    let question = Question::parse(question).expect("a question");
    let epsilon: Epsilon = epsilon.parse().expect("an epsilon");
    Plan::new(&question, &meters(), epsilon, NOW).expect("a plan")
}

pub(crate) fn answer(plan: &Plan, rows: &[Row], random: &mut Seeded) -> Answer {
    let mut tally = Tally::new(plan);
    for (subject, at, fields) in rows {
        tally.add(*subject, *at, &|name| fields.get(name).copied());
    }
    plan.answer(&tally, random).expect("drawn")
}
