//! Aggregates: answers about many that say little about each, paid from a budget that all who ask share.
//!
//! What an answer costs is in the ledger, together with the answer itself, in one commit before it is given. So a crash at any
//! point gives no answer that was not paid, and one that was paid is there when it is asked for again.

mod facts;
mod ledger;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use serde::Serialize;
use stockade_dp::{
    Answer, Epsilon, Given, Plan, PlanError, Question, QuestionError, SampleError, Tally,
};
use time::{Date, OffsetDateTime};

use self::facts::Facts;
use self::ledger::{Ledgers, Spent};
use crate::access::{Access, Action};
use crate::generalise::instant;
use crate::log::{Entry, Outcome};
use crate::record::StoredRecord;
use crate::treat::System;
use crate::value::Value;
use crate::vault::{Vault, VaultError, damaged};

/// What a question costs at most, if it does not say: a tenth.
const EPSILON: u64 = 100_000;
/// What it costs at least: a thousandth. The answers that a budget pays for stay few.
const LEAST: u64 = 1_000;

/// The fact of the log's entry of a paid answer that says what all answers together took of the budget, in millionths.
pub const SPENT: &str = "spent-millionths";

/// A question about a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The data set.
    pub schema: String,
    /// The question, as [`Question::parse`] reads it.
    pub question: String,
    /// What it may cost at most: 0.1 if it does not say.
    pub epsilon: Option<Epsilon>,
    /// Pay again, although the same was answered before.
    pub again: bool,
}

/// An answer, and what is left to pay others with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether it was made before: then it cost nothing now.
    pub again: bool,
    /// The budget after it.
    pub budget: Budget,
    /// Blocks that could not be read: what they had is missing in it. Which, `stockade vault fsck` says: their numbers would
    /// tell how many records there are.
    pub missing_blocks: usize,
}

/// The budget of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Budget {
    /// The data set.
    pub data_set: String,
    /// What the profile allows.
    pub epsilon: Epsilon,
    /// What all answers together took of it.
    pub spent: Epsilon,
    /// What is left.
    pub left: Epsilon,
    /// When it is full again; nothing while nothing was taken.
    #[serde(with = "time::serde::rfc3339::option")]
    pub full_again: Option<OffsetDateTime>,
    /// Answers that were paid from it.
    pub answers: u64,
    /// Questions that it could not pay for.
    pub refused: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatError {
    /// The question cannot be understood, or not be answered for this data set.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// There is no such data set.
    #[error("there is no data set `{}`; there is {}", .schema.escape_debug(), among(.known))]
    UnknownDataSet {
        /// What was asked for.
        schema: String,
        /// Those that have records.
        known: Vec<String>,
    },
    /// The price is none.
    #[error("an answer costs from 0.001 to 10; name a price in between")]
    Price,
    /// The budget does not pay for it.
    #[error(
        "the budget of `{}` has {} left, and this answer would cost up to {cost}; it is full again on {}",
        .budget.data_set, .budget.left, .full_again.date()
    )]
    Exhausted {
        /// As it stands.
        budget: Budget,
        /// What the answer would cost where nothing else is answered.
        cost: Epsilon,
        /// When it is full again.
        full_again: OffsetDateTime,
    },
    /// No noise, no answer.
    #[error("no noise could be drawn")]
    Noise(#[from] SampleError),
    /// The vault failed, or who asked may not.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// Answers a question about many devices, for who may, if the data set's budget pays for it. The answer is paid, and in the
    /// log, before it is given.
    pub fn stat(&self, access: &Access, ask: &Ask, now: OffsetDateTime) -> Result<Told, StatError> {
        let facts = self.allowed(access, Action::Stat, Some(&ask.schema), now)?;
        let facts = facts
            .into_iter()
            .next()
            .ok_or_else(|| self.unknown(&ask.schema))?;
        let price = ask.epsilon.or_else(|| Epsilon::from_millionths(EPSILON));
        let price = price
            .filter(|price| price.millionths() >= LEAST)
            .ok_or(StatError::Price)?;
        let question = Question::parse(&ask.question)?;
        let plan = Plan::new(&question, &facts.set, price, now.unix_timestamp())
            .map_err(|error| pointed(&ask.question, error))?;

        let ledgers = self.ledgers()?;
        let place = ledgers.place(&ask.schema, &plan.canonical());
        let entry = |told: &Told| -> Result<Entry, VaultError> {
            let mut entry = self.entry(access, &facts, &plan, now);
            let answer = serde_json::to_vec(&told.answer)
                .map_err(|error| damaged("an answer", &error.to_string()))?;
            entry.result_hash = Some(self.log().digest("answer", &answer));
            Ok(entry)
        };
        let cost = plan.cost().alone().unwrap_or(Epsilon::MAX);
        let known = ledgers.answered(&place)?;
        // A dearer answer to the same is a better one.
        let known = known.filter(|(answer, _)| !ask.again && answer.statement.epsilon >= cost);
        if let Some((answer, at)) = known {
            let told = Told {
                answer,
                at,
                again: true,
                budget: ledgers.budget(&facts, now)?,
                missing_blocks: 0,
            };
            let _receipt = self.append(&entry(&told)?.fact("again", 1))?;
            return Ok(told);
        }

        if let Spent::TooMuch(budget) = ledgers.afford(&facts, plan.cost(), now)? {
            return Err(self.exhausted(access, &facts, &plan, budget, now)?);
        }
        let (answer, missing_blocks) = self.add_up(&ask.schema, &plan)?;
        let budget = match ledgers.spend(&facts, plan.cost(), &place, &answer, now)? {
            Spent::Paid(budget) => budget,
            Spent::TooMuch(budget) => {
                return Err(self.exhausted(access, &facts, &plan, budget, now)?);
            }
        };
        let told = Told {
            answer,
            at: now,
            again: false,
            budget,
            missing_blocks,
        };
        let mut entry = entry(&told)?;
        entry.budget = Some(told.answer.statement.epsilon.to_string());
        // What all took together is less than the sum of what each took.
        let entry = entry.fact(SPENT, told.budget.spent.millionths());
        let _receipt = self.append(&entry)?;
        Ok(told)
    }

    /// The budgets of all data sets, for who may see them.
    pub fn budgets(&self, access: &Access, now: OffsetDateTime) -> Result<Vec<Budget>, StatError> {
        let facts = self.allowed(access, Action::Budgets, None, now)?;
        let ledgers = self.ledgers()?;
        facts
            .iter()
            .map(|facts| Ok(ledgers.budget(facts, now)?))
            .collect()
    }

    /// What is known of one data set or of all, for who may.
    fn allowed(
        &self,
        access: &Access,
        action: Action,
        schema: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Vec<Facts>, StatError> {
        if let Err(refused) = access.may(action, &[]) {
            let _receipt = self.append(&Entry::refused(now, access, action, &refused))?;
            return Err(VaultError::from(refused).into());
        }
        Ok(Facts::load(self, schema)?)
    }

    /// A refusal is logged and counted like an answer.
    fn exhausted(
        &self,
        access: &Access,
        facts: &Facts,
        plan: &Plan,
        budget: Budget,
        now: OffsetDateTime,
    ) -> Result<StatError, VaultError> {
        let entry = self.entry(access, facts, plan, now);
        let entry = entry.because(Outcome::Refused, "budget");
        let _receipt = self.append(&entry)?;
        Ok(StatError::Exhausted {
            cost: plan.cost().alone().unwrap_or(Epsilon::MAX),
            full_again: budget.full_again.unwrap_or(now),
            budget,
        })
    }

    fn entry(&self, access: &Access, facts: &Facts, plan: &Plan, now: OffsetDateTime) -> Entry {
        let mut entry = Entry::new(now, access, Action::Stat);
        entry.dataset = Some(facts.schema.clone());
        entry.query_hash = Some(self.log().digest("question", plan.canonical().as_bytes()));
        entry
    }

    fn append(&self, entry: &Entry) -> Result<crate::log::Receipt, VaultError> {
        Ok(self.log().append(entry)?)
    }

    fn add_up(&self, schema: &str, plan: &Plan) -> Result<(Answer, usize), StatError> {
        let mut tally = Tally::new(plan);
        let damaged = self.read_all(schema, 0..u64::MAX, &mut |subject, record| {
            if let Some(at) = moment(record) {
                tally.add(subject, at, &|field| given(record.fields.get(field)?));
            }
            ControlFlow::Continue(())
        })?;
        let answer = plan.answer(&tally, &mut System::new())?;
        Ok((answer, damaged.len()))
    }

    fn ledgers(&self) -> Result<Ledgers<'_>, VaultError> {
        let key = self.keys.domain_key(&[b"aggregates"])?;
        Ok(Ledgers::new(&*self.store, key))
    }

    fn unknown(&self, schema: &str) -> StatError {
        StatError::UnknownDataSet {
            schema: schema.to_owned(),
            known: self.data_sets(),
        }
    }
}

/// Where in the question the fault is.
fn pointed(question: &str, error: PlanError) -> QuestionError {
    QuestionError {
        at: question.find(&error.word).unwrap_or_default(),
        what: error.what,
        possible: error.possible,
    }
}

/// Those there are, for who named another.
pub(crate) fn among(known: &[String]) -> String {
    if known.is_empty() {
        "none: no device has sent a record yet".to_owned()
    } else {
        known.join(", ")
    }
}

/// When a record was made; the day it was stored if it does not say.
pub(crate) fn moment(record: &StoredRecord) -> Option<i64> {
    if let Some(time) = record.fields.get("time") {
        return instant(time).map(OffsetDateTime::unix_timestamp);
    }
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let day = Date::parse(&record.stored, &form).ok()?;
    Some(day.midnight().assume_utc().unix_timestamp())
}

fn given(value: &Value) -> Option<Given<'_>> {
    match value {
        Value::Bool(yes) => Some(Given::Yes(*yes)),
        Value::Integer(number) => Some(Given::Whole(*number)),
        Value::Float(number) => Some(Given::Number(*number)),
        Value::Text(text) => Some(Given::Text(text)),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}
