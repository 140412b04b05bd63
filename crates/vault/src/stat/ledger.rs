//! The ledger: what was spent of each data set's budget, durable, one for all who ask.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use stockade_dp::{Account, Answer, Cost};
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::OffsetDateTime;

use super::Budget;
use super::facts::Facts;
use crate::seal::{Opener, Sealer};
use crate::vault::{VaultError, damaged};

/// [`Ledger`] by data set, sealed.
pub(super) const LEDGERS: Table = Table::new("vault.ledgers");
/// [`Answered`] by data set and the keyed hash of the question, sealed.
pub(super) const ANSWERS: Table = Table::new("vault.answers");
/// What seals both does not end with an epoch: it is of no single device.
const NO_EPOCH: u32 = 0;

/// What was spent of a budget since it was full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    v: u8,
    schema: String,
    /// Until when this counts: seconds since 1970. It is set when the first answer is paid, and a clock that is turned back does
    /// not bring it nearer.
    until: i64,
    account: Account,
    answers: u64,
    refused: u64,
}

/// A paid answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answered {
    v: u8,
    /// What it answers.
    canonical: String,
    #[serde(with = "time::serde::timestamp")]
    at: OffsetDateTime,
    answer: Answer,
}

/// What became of a price.
pub(super) enum Spent {
    /// It is, or could be, paid.
    Paid(Budget),
    /// The budget does not pay for it.
    TooMuch(Budget),
}

/// Where a question's answer is kept.
pub(super) struct Place {
    key: Vec<u8>,
    canonical: String,
}

/// The ledgers of all data sets.
pub(super) struct Ledgers<'a> {
    store: &'a dyn Store,
    key: hmac::Key,
}

impl<'a> Ledgers<'a> {
    pub(super) const fn new(store: &'a dyn Store, key: hmac::Key) -> Self {
        Self { store, key }
    }

    /// Where the answer to a question is, if it was paid: a store that is stolen does not tell what was asked.
    pub(super) fn place(&self, schema: &str, canonical: &str) -> Place {
        let tag = hmac::sign(&self.key, canonical.as_bytes());
        Place {
            key: [schema.as_bytes(), &[0], tag.as_ref()].concat(),
            canonical: canonical.to_owned(),
        }
    }

    /// The answer, if it was paid since the budget was full.
    pub(super) fn answered(
        &self,
        place: &Place,
    ) -> Result<Option<(Answer, OffsetDateTime)>, VaultError> {
        let Some(sealed) = self.store.get(ANSWERS, &place.key)? else {
            return Ok(None);
        };
        let answered: Answered = self.open("a paid answer", &sealed)?;
        if answered.v != 1 || answered.canonical != place.canonical {
            return Err(damaged("a paid answer", "it is of another question"));
        }
        Ok(Some((answered.answer, answered.at)))
    }

    /// The budget as it stands.
    pub(super) fn budget(&self, facts: &Facts, now: OffsetDateTime) -> Result<Budget, VaultError> {
        let (_, ledger) = self.ledger(facts, now)?;
        Ok(ledger.budget(facts))
    }

    /// Whether the budget pays for this now. If not, the refusal is counted.
    pub(super) fn afford(
        &self,
        facts: &Facts,
        cost: Cost,
        now: OffsetDateTime,
    ) -> Result<Spent, VaultError> {
        let (before, ledger) = self.ledger(facts, now)?;
        Ok(match ledger.after(facts, cost) {
            Some(after) => Spent::Paid(after.budget(facts)),
            None => Spent::TooMuch(self.refuse(facts, before.as_deref(), ledger)?),
        })
    }

    /// Takes the price and keeps the answer, in one commit: when this returns both are on disk. Whoever else takes from the same
    /// budget at the same time, in whichever process, is seen.
    pub(super) fn spend(
        &self,
        facts: &Facts,
        cost: Cost,
        place: &Place,
        answer: &Answer,
        now: OffsetDateTime,
    ) -> Result<Spent, VaultError> {
        let answered = self.seal(&Answered {
            v: 1,
            canonical: place.canonical.clone(),
            at: now,
            answer: answer.clone(),
        })?;
        loop {
            let (before, ledger) = self.ledger(facts, now)?;
            let is_full = ledger.answers == 0;
            let Some(after) = ledger.after(facts, cost) else {
                return Ok(Spent::TooMuch(self.refuse(
                    facts,
                    before.as_deref(),
                    ledger,
                )?));
            };
            let mut batch = self.change(before.as_deref(), &after)?;
            if is_full {
                // Answers that another budget paid for are not free any more.
                let old = Scan::prefix([facts.schema.as_bytes(), &[0]].concat());
                for (key, _) in self.store.scan(ANSWERS, old)? {
                    batch.delete(ANSWERS, key);
                }
            }
            batch.put(ANSWERS, place.key.as_slice(), answered.as_slice());
            match self.store.commit(batch) {
                Ok(()) => return Ok(Spent::Paid(after.budget(facts))),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Counts a refusal; if somebody else was quicker, it is in the log alone.
    fn refuse(
        &self,
        facts: &Facts,
        before: Option<&[u8]>,
        mut ledger: Ledger,
    ) -> Result<Budget, VaultError> {
        ledger.refused = ledger.refused.saturating_add(1);
        match self.store.commit(self.change(before, &ledger)?) {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(ledger.budget(facts)),
            Err(error) => Err(error.into()),
        }
    }

    fn change(&self, before: Option<&[u8]>, ledger: &Ledger) -> Result<Batch, VaultError> {
        let mut batch = Batch::new();
        let key = ledger.schema.as_bytes();
        match before {
            None => batch.require_absent(LEDGERS, key),
            Some(before) => batch.require_equals(LEDGERS, key, before),
        };
        batch.put(LEDGERS, key, self.seal(ledger)?);
        Ok(batch)
    }

    /// The ledger as it is in the store, and as it is now: full again, if its time is over.
    fn ledger(
        &self,
        facts: &Facts,
        now: OffsetDateTime,
    ) -> Result<(Option<Vec<u8>>, Ledger), VaultError> {
        let per = i64::try_from(facts.per.as_secs()).unwrap_or(i64::MAX);
        let now = now.unix_timestamp();
        let full = |refused| Ledger {
            v: 1,
            schema: facts.schema.clone(),
            until: now.saturating_add(per),
            account: Account::default(),
            answers: 0,
            refused,
        };
        let Some(sealed) = self.store.get(LEDGERS, facts.schema.as_bytes())? else {
            return Ok((None, full(0)));
        };
        let ledger: Ledger = self.open("the ledger of a data set", &sealed)?;
        if ledger.v != 1 || ledger.schema != facts.schema {
            return Err(damaged("the ledger of a data set", "it is of another"));
        }
        let ledger = if now >= ledger.until {
            full(ledger.refused)
        } else {
            ledger
        };
        Ok((Some(sealed), ledger))
    }

    fn seal(&self, row: &impl Serialize) -> Result<Vec<u8>, VaultError> {
        let mut clear = Vec::new();
        let written = ciborium::into_writer(row, &mut clear);
        // Only the writer can fail, and a Vec does not.
        debug_assert!(written.is_ok(), "encoding into memory failed");
        Ok(Sealer::new(&self.key, NO_EPOCH)?.seal(&clear)?)
    }

    fn open<T: for<'de> Deserialize<'de>>(
        &self,
        what: &str,
        sealed: &[u8],
    ) -> Result<T, VaultError> {
        let key = |_| Ok(Some(self.key.clone()));
        let (_, clear) = Opener::default()
            .open(sealed, key)?
            .map_err(|error| damaged(what, error.detail()))?;
        ciborium::from_reader(clear.as_slice()).map_err(|error| damaged(what, &error.to_string()))
    }
}

impl Ledger {
    /// The ledger after one more answer, if the budget pays for it.
    fn after(&self, facts: &Facts, cost: Cost) -> Option<Self> {
        let account = self.account.and(cost)?;
        (account.spent() <= facts.epsilon).then(|| Self {
            account,
            answers: self.answers.saturating_add(1),
            ..self.clone()
        })
    }

    fn budget(&self, facts: &Facts) -> Budget {
        let spent = self.account.spent();
        let is_used = self.answers > 0;
        Budget {
            data_set: self.schema.clone(),
            epsilon: facts.epsilon,
            spent,
            left: facts.epsilon.less(spent),
            full_again: OffsetDateTime::from_unix_timestamp(self.until)
                .ok()
                .filter(|_| is_used),
            answers: self.answers,
            refused: self.refused,
        }
    }
}
