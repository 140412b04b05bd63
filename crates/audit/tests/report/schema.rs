//! As much of JSON Schema (2020-12) as the schema of reports uses.

use std::collections::BTreeSet;

use serde_json::Value;

/// What of a value is not as the schema says.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &root["$defs"][name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    if let Some(any) = schema["oneOf"].as_array() {
        let fits = any.iter().filter(|it| {
            let mut faults = Vec::new();
            check(root, it, value, at, &mut faults);
            faults.is_empty()
        });
        if fits.count() != 1 {
            faults.push(format!("{at}: not one of them"));
        }
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        faults.push(format!("{at}: {value}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        faults.push(format!("{at}: {value}"));
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("the type {other} is not known here"),
        None => true,
    };
    if !right {
        faults.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    // Of patterns only those of digests and days are used: so many of these letters.
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        let fits = match pattern {
            "^[0-9a-f]{32}$" => text.len() == 32,
            "^[0-9a-f]{64}$" => text.len() == 64,
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" => text.len() == 10,
            other => panic!("the pattern {other} is not known here"),
        };
        let letters = text.bytes().all(|it| it == b'-' || it.is_ascii_hexdigit());
        if !(fits && letters) {
            faults.push(format!("{at}: {text}"));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            root,
            &schema["items"],
            item,
            &format!("{at}/{index}"),
            faults,
        );
    }
    let Some(object) = value.as_object().filter(|_| schema["type"] == "object") else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap_or_default()) {
            faults.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, below) in object {
        let at = format!("{at}/{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => faults.push(format!("{at}: not known")),
            (Value::Null, more) => check(root, more, below, &at, faults),
            (schema, _) => check(root, schema, below, &at, faults),
        }
    }
}

/// Every name of a property that the schema knows.
pub(crate) fn properties(schema: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some(properties) = schema["properties"].as_object() {
        names.extend(properties.keys().cloned());
    }
    let below = schema.as_object().into_iter().flat_map(|it| it.values());
    for schema in below.chain(schema.as_array().into_iter().flatten()) {
        names.extend(properties(schema));
    }
    names
}

/// Takes the names out that a value has.
pub(crate) fn met(value: &Value, names: &mut BTreeSet<String>) {
    for (name, below) in value.as_object().into_iter().flatten() {
        names.remove(name);
        met(below, names);
    }
    for item in value.as_array().into_iter().flatten() {
        met(item, names);
    }
}
