//! What the model of a MUD file is called.

use super::import::ImportOptions;
use super::section::{Label, Mud};
use crate::{Class, Device, HttpsUrl, Manufacturer, ModelName};

/// Who made it and what it is, from what the file says of itself.
pub(crate) fn device(
    about: &Mud,
    hint: Option<&str>,
    options: &ImportOptions,
    warnings: &mut Vec<String>,
) -> Device {
    let url = about.url.as_ref();
    let named = about.model_name.as_ref().map(Label::as_str);
    let model = options
        .model
        .clone()
        .or_else(|| named.and_then(ModelName::made_of))
        .or_else(|| hint.and_then(|url| ModelName::made_of(last_part(url))));
    let model = model.unwrap_or_else(|| {
        warnings
            .push("the file does not say which model it is for: it is called `unnamed`".to_owned());
        ModelName::unnamed()
    });
    let made_by = about.mfg_name.as_ref().map(Label::as_str);
    let host = url.map(HttpsUrl::host);
    let manufacturer = [made_by, host]
        .into_iter()
        .flatten()
        .find_map(|name| Manufacturer::new(name).ok())
        .unwrap_or_else(Manufacturer::unknown);
    Device {
        manufacturer,
        model,
        version: 1,
        class: Class::Agentless,
    }
}

/// What an address ends with: `cam-2` of `https://mud.acme.example/v1/cam-2.json`.
fn last_part(url: &str) -> &str {
    let path = url.trim_end_matches('/');
    let last = path.rsplit_once('/').map_or(path, |(_, last)| last);
    last.strip_suffix(".json").unwrap_or(last)
}
