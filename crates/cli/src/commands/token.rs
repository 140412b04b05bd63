//! `stockade token …`

use serde_json::{Value, json};

use super::{field, items, moment};
use crate::admin::{Admin, segment};
use crate::args::token::Token;
use crate::out::{Out, table};

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Token,
) -> anyhow::Result<()> {
    let (answer, text): (Value, fn(&Value) -> String) = match command {
        Token::Add { name, role, days } => {
            let asked = json!({ "name": name, "role": role, "days": days });
            (admin.post("/api/v1/tokens", &asked).await?, added_text)
        }
        Token::List => (admin.get("/api/v1/tokens").await?, list_text),
        Token::Revoke { name } => {
            admin
                .delete(&format!("/api/v1/tokens/{}", segment(name)))
                .await?;
            (json!({ "revoked": name }), |answer| {
                format!("{} opens nothing any more", field(answer, "revoked"))
            })
        }
    };
    out.line(&if json {
        answer.to_string()
    } else {
        text(&answer)
    });
    Ok(())
}

fn added_text(answer: &Value) -> String {
    format!(
        "{}\n\nthis is the token of {} ({}), until {} UTC; it is not shown again. Keep it in a file of your own:\n  \
         stockade --remote https://HOST:8443 --ca ca.pem --token-file FILE vault …",
        field(answer, "token"),
        field(answer, "name"),
        field(answer, "role"),
        moment(answer, "expires")
    )
}

fn list_text(answer: &Value) -> String {
    let tokens = items(answer, "tokens");
    if tokens.is_empty() {
        return "no tokens: stockade token add NAME --role analyst|auditor|operator|subject:DEVICE"
            .to_owned();
    }
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| {
            vec![
                field(token, "name"),
                field(token, "role"),
                moment(token, "created"),
                moment(token, "expires"),
            ]
        })
        .collect();
    table(&["NAME", "ROLE", "SINCE (UTC)", "UNTIL (UTC)"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_shown_with_what_to_do_with_it() {
        let answer = json!({
            "name": "ana", "role": "analyst", "token": "stockade_AAAA", "expires": "2027-02-21T12:00:00Z"
        });
        insta::assert_snapshot!(added_text(&answer), @r"
        stockade_AAAA

        this is the token of ana (analyst), until 2027-02-21 12:00:00 UTC; it is not shown again. Keep it in a file of your own:
          stockade --remote https://HOST:8443 --ca ca.pem --token-file FILE vault …
        ");
    }

    #[test]
    fn tokens_are_a_table() {
        let answer = json!({ "tokens": [
            { "name": "ana", "role": "analyst", "created": "2026-11-23T12:00:00Z", "expires": "2027-02-21T12:00:00Z" },
            { "name": "porch-owner", "role": "subject:porch", "created": "2026-11-23T12:00:00Z", "expires": "2026-11-30T12:00:00Z" },
        ] });
        insta::assert_snapshot!(list_text(&answer), @r"
        NAME         ROLE           SINCE (UTC)          UNTIL (UTC)
        ana          analyst        2026-11-23 12:00:00  2027-02-21 12:00:00
        porch-owner  subject:porch  2026-11-23 12:00:00  2026-11-30 12:00:00
        ");
        insta::assert_snapshot!(
            list_text(&json!({ "tokens": [] })),
            @"no tokens: stockade token add NAME --role analyst|auditor|operator|subject:DEVICE"
        );
    }
}
