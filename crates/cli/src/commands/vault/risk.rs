//! `stockade vault risk`

use serde_json::Value;

use super::super::field;
use super::release::{File, ONLY, ask, body, linkage, measured, rest, rounded, share};
use crate::admin::{Admin, segment};
use crate::args::vault::Risk;
use crate::out::Out;

pub(super) async fn run(out: Out, admin: &Admin, json: bool, command: &Risk) -> anyhow::Result<()> {
    let told = if let Some(input) = &command.input {
        let file = File::read(input, command.roles.as_deref())?;
        serde_json::to_value(file.input().risk(&ask(command))?)?
    } else {
        let body = body(command);
        let said = body.as_object().into_iter().flatten().map(|(name, value)| {
            let plain = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", segment(&plain))
        });
        let query: Vec<String> = said.collect();
        admin
            .get(&format!("/api/v1/vault/risk?{}", query.join("&")))
            .await?
    };
    if json {
        out.line(&told.to_string());
        return Ok(());
    }
    out.line(&text(&told));
    if command.input.is_none() {
        out.line("What is stored is pseudonymised: still personal data.");
    }
    Ok(())
}

fn text(told: &Value) -> String {
    let none = Value::Null;
    let stored = told.get("stored").unwrap_or(&none);
    let released = told.get("released").filter(|it| !it.is_null());
    let mut tables = vec![("AS STORED", stored)];
    tables.extend(released.and_then(|it| Some(("RELEASED", it.get("after")?))));
    let mut lines = vec![
        format!(
            "How exposed the devices in {} are, one row each:",
            field(told, "data-set")
        ),
        String::new(),
        measured(&tables),
        String::new(),
    ];
    lines.extend(linkage(told));
    if let Some(share) = told
        .get("singled-out")
        .filter(|it| !it.is_null())
        .map(|it| share(Some(it)))
    {
        let known = field(told, "points-known");
        lines.push(format!("  unique     {share} of the devices, to somebody who knows {known} of their records as stored"));
    }
    lines.extend(rest(told));
    lines.extend(rounded(told));
    lines.push(
        match (released, told.get("unreachable").and_then(Value::as_str)) {
            (Some(release), _) => match release.get("refused").and_then(|it| it.get(0)?.as_str()) {
                None => format!(
                    "A release would pass, and lose {} of the information.",
                    share(release.get("loss"))
                ),
                Some(why) => format!("A release would be refused: {why}."),
            },
            (None, Some(why)) => format!("There is no release: {why}."),
            (None, None) => String::new(),
        },
    );
    lines.push(ONLY.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_risk_is_told_beside_what_a_release_makes_of_it() {
        let measured = |k: u32, unique: u32, risk: f64| {
            json!({
                "subjects": 240, "classes": 200 / k, "k": k, "unique": unique, "highest-risk": risk, "average-risk": risk / 2.0,
                "sensitive": [{ "column": "heating", "l": k, "t": 0.25, "homogeneous": unique }]
            })
        };
        let told = json!({
            "data-set": "home",
            "stored": measured(1, 180, 1.0),
            "linkage": {
                "knows": "all numbers of the first half of the time",
                "found": 0.71, "before": 0.71, "chance": 1.0 / 240.0, "limit": 10.0 / 240.0
            },
            "points-known": 4,
            "singled-out": 0.98,
            "released": { "refused": [], "loss": 0.31, "after": measured(12, 0, 1.0 / 12.0) },
            "unreachable": null,
            "omitted": ["time"],
            "missing-blocks": 1,
        });
        insta::assert_snapshot!(text(&told));
    }
}
