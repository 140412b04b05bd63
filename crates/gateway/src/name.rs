//! Names of devices, models and trust domains, checked once.

use std::fmt;

/// A name that is not acceptable, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than 64 characters, or empty.
    #[error("{what} must have 1 to 64 characters")]
    Length {
        /// What was being named.
        what: &'static str,
    },
    /// A character outside `a-z 0-9 . _ -`, or a first one that is no letter or digit.
    #[error(
        "{what} `{text}` may hold a-z, 0-9, `.`, `_` and `-`, and starts with a letter or digit"
    )]
    Character {
        /// What was being named.
        what: &'static str,
        /// The offending text.
        text: String,
    },
    /// A name that the gateway keeps for itself.
    #[error("{what} cannot be `stockade`: topics that begin so are the gateway's own")]
    Reserved {
        /// What was being named.
        what: &'static str,
    },
    /// A SPIFFE ID of another shape or another trust domain.
    #[error("`{0}` is not spiffe://{1}/device/<model>/<id>")]
    Spiffe(String, String),
}

fn checked(what: &'static str, text: &str) -> Result<Box<str>, NameError> {
    if text.is_empty() || text.len() > 64 {
        return Err(NameError::Length { what });
    }
    // `${device}` may be a topic's first level.
    if text == "stockade" {
        return Err(NameError::Reserved { what });
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let first_ok = bytes.first().copied().is_some_and(plain);
    if first_ok
        && bytes
            .iter()
            .all(|&b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
    {
        Ok(text.into())
    } else {
        Err(NameError::Character {
            what,
            text: text.escape_default().to_string(),
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text against the grammar `[a-z0-9][a-z0-9._-]{0,63}`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The identifier of one device, unique in its gateway.
    DeviceId,
    "a device id"
);
name!(
    /// The name of a model, as its profile says it.
    ModelName,
    "a model name"
);
name!(
    /// The SPIFFE trust domain of a gateway (SPIFFE ID specification §2.1).
    TrustDomain,
    "a trust domain"
);

/// A device as its certificate names it: the model it is of, and its identifier.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceName {
    /// The model.
    pub model: ModelName,
    /// The device.
    pub id: DeviceId,
}

impl DeviceName {
    /// Puts a name together from unchecked parts.
    pub fn new(model: &str, id: &str) -> Result<Self, NameError> {
        Ok(Self {
            model: ModelName::new(model)?,
            id: DeviceId::new(id)?,
        })
    }

    /// `spiffe://<trust-domain>/device/<model>/<id>` (SPIFFE ID specification §2).
    pub fn spiffe(&self, domain: &TrustDomain) -> String {
        format!("spiffe://{domain}/device/{}/{}", self.model, self.id)
    }

    /// Reads a SPIFFE ID of `domain`; anything else is refused.
    pub fn from_spiffe(uri: &str, domain: &TrustDomain) -> Result<Self, NameError> {
        let refuse = || NameError::Spiffe(uri.escape_default().to_string(), domain.to_string());
        let path = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.strip_prefix(domain.as_str()))
            .and_then(|rest| rest.strip_prefix("/device/"))
            .ok_or_else(refuse)?;
        let (model, id) = path.split_once('/').ok_or_else(refuse)?;
        Self::new(model, id)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_reads_back_as_the_name_that_made_it() {
        let domain = TrustDomain::new("stockade.local").unwrap();
        let name = DeviceName::new("cam-2", "porch").unwrap();
        let uri = name.spiffe(&domain);
        assert_eq!(uri, "spiffe://stockade.local/device/cam-2/porch");
        assert_eq!(DeviceName::from_spiffe(&uri, &domain).unwrap(), name);
    }

    #[test]
    fn names_that_could_escape_a_topic_or_a_path_are_refused() {
        for bad in [
            "",
            "#",
            "+",
            "a/b",
            "a b",
            "../x",
            ".x",
            "Ä",
            "UP",
            "a\0",
            &"a".repeat(65),
        ] {
            assert!(DeviceId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_foreign_trust_domain_or_an_odd_path_is_refused() {
        let domain = TrustDomain::new("home").unwrap();
        for bad in [
            "spiffe://homes/device/a/b",
            "spiffe://home/device/a",
            "spiffe://home/device/a/b/c",
            "spiffe://home/gateway/a/b",
            "https://home/device/a/b",
        ] {
            assert!(DeviceName::from_spiffe(bad, &domain).is_err(), "{bad}");
        }
    }
}
