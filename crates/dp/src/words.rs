//! A question cut into words, each with its place.

use crate::question::QuestionError;

/// Longest question, in bytes.
const MAX_LENGTH: usize = 1_000;
/// Signs that are words of their own, longer ones first.
const SIGNS: [&str; 9] = ["!=", "<=", ">=", "=", "<", ">", ",", "(", ")"];

/// One word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    /// What it says, without quotes.
    pub(crate) text: &'a str,
    /// Whether it was in quotes: then it is never a word of the language.
    pub(crate) quoted: bool,
}

/// The words of a question, taken one after the other.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    words: std::vec::IntoIter<Word<'a>>,
    end: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn of(text: &'a str) -> Result<Self, QuestionError> {
        if text.len() > MAX_LENGTH {
            return Err(QuestionError::new(
                MAX_LENGTH,
                format!("the question is longer than {MAX_LENGTH} bytes"),
                "ask for less at once",
            ));
        }
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let at = text.len().saturating_sub(rest.len());
            let (word, after, quoted) = if let Some(inside) = rest.strip_prefix('"') {
                let (word, after) = inside.split_once('"').ok_or_else(|| {
                    QuestionError::new(at, "the quote is never closed", "write \" at its end")
                })?;
                (word, after, true)
            } else if let Some((sign, after)) = SIGNS
                .iter()
                .find_map(|sign| Some((rest.get(..sign.len())?, rest.strip_prefix(sign)?)))
            {
                (sign, after, false)
            } else {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "!=<>,()\"".contains(c))
                    // A lone `!` is a word, so that each turn takes something.
                    .map_or(rest.len(), |end| end.max(1));
                let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (word, after, false)
            };
            words.push(Word {
                at,
                text: word,
                quoted,
            });
            rest = after.trim_start();
        }
        Ok(Self {
            words: words.into_iter(),
            end: text.len(),
        })
    }

    /// The next word, not taken.
    pub(crate) fn peek(&self) -> Option<Word<'a>> {
        self.words.as_slice().first().copied()
    }

    /// The next word; if there is none, `possible` says what could be.
    pub(crate) fn next(&mut self, possible: &str) -> Result<Word<'a>, QuestionError> {
        self.words
            .next()
            .ok_or_else(|| QuestionError::new(self.end, "the question ends here", possible))
    }

    /// Takes the next word if it is this one of the language.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let is = self
            .peek()
            .is_some_and(|next| !next.quoted && next.text == word);
        if is {
            self.words.next();
        }
        is
    }

    /// Takes this word of the language, or says that it is missing.
    pub(crate) fn expect(&mut self, word: &str, possible: &str) -> Result<(), QuestionError> {
        if self.take(word) {
            return Ok(());
        }
        let found = self.next(possible)?;
        Err(found.wrong(&format!("where `{word}` should be"), possible))
    }
}

impl Word<'_> {
    /// The word is not what can be here.
    pub(crate) fn wrong(&self, what: &str, possible: &str) -> QuestionError {
        QuestionError::new(
            self.at,
            format!("`{}` {what}", self.text.escape_debug()),
            possible,
        )
    }

    /// A name or value: any word but a sign.
    pub(crate) fn plain(&self, possible: &str) -> Result<String, QuestionError> {
        if !self.quoted && SIGNS.contains(&self.text) {
            return Err(self.wrong("is no name", possible));
        }
        Ok(self.text.to_owned())
    }
}
