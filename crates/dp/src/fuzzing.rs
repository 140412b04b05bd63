//! Bodies of the fuzz targets: ordinary functions, so that the corpus also replays without a fuzzer.

use crate::Question;

/// A question is understood or refused, and what is understood means the same when it is written down and read again.
pub fn vault_question(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Question::parse(text) {
        Ok(question) => {
            let again = Question::parse(&question.to_string());
            assert_eq!(again.as_ref(), Ok(&question), "read again");
        }
        Err(error) => assert!(error.at <= text.len(), "points into the question"),
    }
}
