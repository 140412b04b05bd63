//! XML as far as descriptions of devices need it: elements and text. No document type, no entities but XML's own five, and
//! bounds on everything; what goes beyond them is refused whole.

/// The deepest element, and the most elements.
const DEEPEST: usize = 24;
const MOST: usize = 4096;
/// The most text of one element.
const MOST_TEXT: usize = 1024;

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// Its name without prefix.
    pub name: String,
    /// Its text, trimmed.
    pub text: String,
    /// What is in it.
    pub children: Vec<Self>,
}

impl Element {
    /// The text of the first child of this name, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let child = self.children.iter().find(|it| it.name == name)?;
        Some(child.text.as_str()).filter(|it| !it.is_empty())
    }

    /// It and all that is in it, each before what is in it.
    pub(crate) fn all<'a>(&'a self, name: &str, found: &mut Vec<&'a Self>) {
        if self.name == name {
            found.push(self);
        }
        // Never deeper than what was read.
        for child in &self.children {
            child.all(name, found);
        }
    }
}

/// Reads a document; the error says what is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<Element, &'static str> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.as_ref();
    let mut open: Vec<Element> = Vec::new();
    let mut count = 0_usize;
    loop {
        let (before, tag) = rest.split_once('<').ok_or("it ends too early")?;
        if let Some(element) = open.last_mut() {
            say(element, before)?;
        }
        if let Some(after) = tag.strip_prefix("!--") {
            rest = after.split_once("-->").ok_or("a comment never ends")?.1;
            continue;
        }
        if let Some(after) = tag.strip_prefix("![CDATA[") {
            let (raw, after) = after.split_once("]]>").ok_or("a section never ends")?;
            if let Some(element) = open.last_mut() {
                push(element, raw);
            }
            rest = after;
            continue;
        }
        if tag.starts_with('!') {
            return Err("it has a document type, which may hold entities");
        }
        let (tag, after) = tag.split_once('>').ok_or("a tag never ends")?;
        rest = after;
        if tag.starts_with('?') {
            continue;
        }
        let (ends, starts) = (tag.starts_with('/'), !tag.starts_with('/'));
        if starts {
            count = count.saturating_add(1);
            if open.len() >= DEEPEST || count > MOST {
                return Err("it is nested too deep or has too many elements");
            }
            open.push(Element {
                name: name(tag)?,
                ..Element::default()
            });
        }
        if ends || tag.ends_with('/') {
            let mut element = open.pop().ok_or("a tag ends what never began")?;
            if ends && element.name != name(tag.trim_start_matches('/'))? {
                return Err("its tags do not match");
            }
            element.text = element.text.trim().into();
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

/// A tag's name without its prefix.
fn name(tag: &str) -> Result<String, &'static str> {
    let name = tag
        .split(|c: char| c.is_ascii_whitespace() || c == '/')
        .next();
    let name = name
        .and_then(|it| it.rsplit(':').next())
        .unwrap_or_default();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
        return Err("an element has no sound name");
    }
    Ok(name.to_owned())
}

/// Adds text in which XML's own entities may stand.
fn say(element: &mut Element, text: &str) -> Result<(), &'static str> {
    let mut parts = text.split('&');
    push(element, parts.next().unwrap_or_default());
    for part in parts {
        let (entity, after) = part.split_once(';').ok_or("an entity never ends")?;
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
        let meant = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match (entity.strip_prefix("#x"), entity.strip_prefix('#')) {
                (Some(hex), _) => number(hex, 16).and_then(char::from_u32),
                (None, Some(digits)) => number(digits, 10).and_then(char::from_u32),
                (None, None) => None,
            },
        };
        let meant = meant.ok_or("it has an entity of its own")?;
        push(element, meant.encode_utf8(&mut [0; 4]));
        push(element, after);
    }
    Ok(())
}

fn push(element: &mut Element, text: &str) {
    let room = MOST_TEXT.saturating_sub(element.text.len());
    // Characters that print only: the text ends up in reports.
    let fine = |c: &char| !c.is_control() || *c == ' ';
    element.text.extend(text.chars().filter(fine).take(room));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_text_and_sections_are_read() {
        let text = b"<?xml version=\"1.0\"?>\n<!-- x --><s:a xmlns:s='u'><b i=\"1\"/><c>1 &lt;&#x41; <![CDATA[<&>]]></c></s:a> rest";
        let read = read(text).expect("a document");
        assert_eq!(read.name, "a");
        assert_eq!(read.get("c"), Some("1 <A <&>"));
        assert_eq!(read.get("b"), None);
        let mut found = Vec::new();
        read.all("c", &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = b"<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        assert!(read(laughs).is_err());
        assert!(read(b"<x>&b;</x>").is_err());
        assert!(read("<a>".repeat(100_000).as_bytes()).is_err());
        let wide = format!("<a>{}</a>", "<b/>".repeat(5000));
        assert!(read(wide.as_bytes()).is_err());
        let long = format!("<a>{}</a>", "x".repeat(100_000));
        assert_eq!(read(long.as_bytes()).expect("a document").text.len(), 1024);
        for text in ["", "<", "<a", "<a></b>", "</a>", "<a>&lt</a>", "<1 <>"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
