//! How one field is treated.

use std::time::Duration;

use super::Decimal;
use crate::fault::{Faulted, Malformed};
use crate::read::{Keys, Writer};
use crate::text::{choice, identifier, name};
use crate::units::{Generalisation, Step, spoken};
use crate::words::{listed, ticked};

name! {
    /// Who may open a sealed field.
    ReaderName: "a reader", identifier
}

choice! {
    /// Within what the same value of one device gets the same pseudonym. The device's secret is part of every
    /// pseudonym: the values of two devices are never joined by it.
    Scope: "a scope of a pseudonym" {
        /// Within all data of the device.
        Device = "device",
        /// Within one data set.
        Dataset = "dataset",
        /// Within all data sets of the model.
        Model = "model",
        /// Within all data sets of all models.
        Fleet = "fleet",
        /// Within one purpose of a query; at rest as `dataset`.
        Purpose = "purpose",
        /// Within one data set and one stretch of time.
        Window = "window",
    }
}

choice! {
    /// The characters of a value whose format is preserved. Blanks and `-:./_` stay where they are.
    Alphabet: "an alphabet" {
        /// `0-9`.
        Digits = "digits",
        /// `0-9a-f`.
        Hex = "hex",
        /// `0-9a-z`.
        Base36 = "base36",
        /// `0-9A-Za-z`.
        Base62 = "base62",
    }
}

choice! {
    /// What a field says about people.
    FieldRole: "a role of a field" {
        /// It names somebody, or a thing of theirs: a name, an address, a serial number.
        Direct = "direct",
        /// Others may know it, and with others of its kind it may single somebody out.
        Quasi = "quasi",
        /// What nobody should learn about somebody.
        Sensitive = "sensitive",
        /// It says nothing about anybody.
        Free = "free",
    }
}

choice! {
    /// The word that says how a field is treated.
    Use: "a way to treat a field" {
        /// See [`Treatment::Keep`].
        Keep = "keep",
        /// See [`Treatment::Drop`].
        Drop = "drop",
        /// See [`Treatment::Generalise`].
        Generalise = "generalise",
        /// See [`Treatment::Pseudonym`].
        Pseudonym = "pseudonym",
        /// See [`Treatment::FormatPreserving`].
        FormatPreserving = "format-preserving",
        /// See [`Treatment::Token`].
        Token = "token",
        /// See [`Treatment::Noise`].
        Noise = "noise",
        /// See [`Treatment::Seal`].
        Seal = "seal",
    }
}

/// How one field is treated before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Stored as it is.
    Keep,
    /// Not stored.
    Drop,
    /// Stored more coarsely.
    Generalise {
        /// How coarse.
        to: Generalisation,
    },
    /// Replaced by a keyed pseudonym.
    Pseudonym {
        /// Within what the same value gets the same pseudonym.
        scope: Scope,
        /// How long the stretches of [`Scope::Window`] are; no other scope has one.
        window: Option<Duration>,
    },
    /// Encrypted into a value of the same format (FF1, NIST SP 800-38G).
    FormatPreserving {
        /// The characters that are encrypted.
        alphabet: Alphabet,
    },
    /// Replaced by a token, from which an operator can get the value back for a purpose.
    Token,
    /// A number, with noise: locally differentially private for one event, not for the person.
    Noise {
        /// The step that the number is rounded to first.
        to: Step,
        /// The privacy parameter of one event.
        epsilon: Decimal,
    },
    /// Stored so that only some can read it.
    Seal {
        /// Those who can; never empty.
        readers: Vec<ReaderName>,
    },
}

/// What people write for an unkeyed hash.
const HASHES: &[&str] = &[
    "hash",
    "hashed",
    "md5",
    "sha1",
    "sha-1",
    "sha256",
    "sha-256",
    "sha512",
    "sha-512",
    "sha3",
    "blake2",
    "blake3",
    "crc32",
    "salted-hash",
];

impl Treatment {
    pub(crate) fn read(keys: &mut Keys<'_>) -> Result<Self, Faulted> {
        if let Some(text) = keys.text("use")
            && HASHES.contains(&text.to_ascii_lowercase().as_str())
        {
            let wrong = Malformed::new(
                "a hash without a key is undone by trying every value (ENISA 2019, §5.1; EDPB 01/2025)",
            );
            let wrong = wrong.help("write `use = \"pseudonym\", scope = \"dataset\"`");
            keys.know(&["use"]);
            keys.know(PARAMETERS);
            return Err(keys.error("use", wrong));
        }
        match keys.required("use", "\"keep\"") {
            Ok(Use::Keep) => Ok(Self::Keep),
            Ok(Use::Drop) => Ok(Self::Drop),
            Ok(Use::Generalise) => {
                let to = keys.required("to", "\"1min\"");
                to.map(|to| Self::Generalise { to })
            }
            Ok(Use::Pseudonym) => Self::pseudonym(keys),
            Ok(Use::FormatPreserving) => {
                let alphabet = keys.required("alphabet", "\"digits\"");
                alphabet.map(|alphabet| Self::FormatPreserving { alphabet })
            }
            Ok(Use::Token) => Ok(Self::Token),
            Ok(Use::Noise) => {
                let to = keys.required("to", "\"0.1\"");
                let epsilon = keys.required("epsilon", "\"1\"");
                let epsilon = keys.within(
                    "epsilon",
                    epsilon,
                    &(Decimal::MILLIONTH..=Decimal::whole(100)),
                );
                let to = match to? {
                    Generalisation::Step(to) => to,
                    Generalisation::Duration(_)
                    | Generalisation::Distance(_)
                    | Generalisation::Level(_) => {
                        let wrong = Malformed::new("noise is for numbers");
                        return Err(keys.error("to", wrong.help("a step of the number: \"0.1\"")));
                    }
                };
                epsilon.map(|epsilon| Self::Noise { to, epsilon })
            }
            Ok(Use::Seal) => {
                let readers = keys.some("readers", "[\"owner\"]");
                readers.map(|readers| Self::Seal { readers })
            }
            Err(faulted) => {
                keys.know(PARAMETERS);
                Err(faulted)
            }
        }
    }

    fn pseudonym(keys: &mut Keys<'_>) -> Result<Self, Faulted> {
        let scope = keys.required("scope", "\"dataset\"");
        let window = if matches!(scope, Ok(Scope::Window)) {
            keys.required("window", "\"7d\"").map(Some)
        } else {
            Ok(None)
        };
        Ok(Self::Pseudonym {
            scope: scope?,
            window: window?,
        })
    }

    pub(crate) fn write(&self) -> Writer {
        let table = Writer::default();
        match self {
            Self::Keep => table.put("use", &Use::Keep),
            Self::Drop => table.put("use", &Use::Drop),
            Self::Generalise { to } => table.put("use", &Use::Generalise).put("to", to),
            Self::Pseudonym { scope, window } => table
                .put("use", &Use::Pseudonym)
                .put("scope", scope)
                .some("window", window.as_ref()),
            Self::FormatPreserving { alphabet } => table
                .put("use", &Use::FormatPreserving)
                .put("alphabet", alphabet),
            Self::Token => table.put("use", &Use::Token),
            Self::Noise { to, epsilon } => table
                .put("use", &Use::Noise)
                .put("to", &Generalisation::Step(*to))
                .put("epsilon", epsilon),
            Self::Seal { readers } => table.put("use", &Use::Seal).put("readers", readers),
        }
    }

    /// What follows a field's name in a sentence.
    pub fn words(&self) -> String {
        match self {
            Self::Keep => "is stored as it is".to_owned(),
            Self::Drop => "is never stored".to_owned(),
            Self::Generalise { to } => format!("is rounded to {} before it is stored", to.spoken()),
            Self::Pseudonym { scope, window } => {
                let within = match (scope, window) {
                    (Scope::Device, _) => "the data of this device".to_owned(),
                    (Scope::Dataset, _) => "this data set".to_owned(),
                    (Scope::Model, _) => "the data of this model".to_owned(),
                    (Scope::Fleet, _) => "the data of all models".to_owned(),
                    (Scope::Purpose, _) => "what is shown for one purpose".to_owned(),
                    (Scope::Window, window) => {
                        let window = window.map(spoken).unwrap_or_default();
                        format!("{window} of this data set")
                    }
                };
                format!("is replaced by a pseudonym, the same one throughout {within}")
            }
            Self::FormatPreserving { .. } => {
                "is encrypted into a value of the same format".to_owned()
            }
            Self::Token => "is replaced by a token, which an operator can undo".to_owned(),
            Self::Noise { to, epsilon } => format!(
                "is rounded to steps of {to} and blurred by noise (\u{3b5} = {epsilon} for one event, not for a person)"
            ),
            Self::Seal { readers } => {
                format!("is sealed; only {} can open it", listed(readers, ticked))
            }
        }
    }
}

/// What a treatment may have beside `use`.
const PARAMETERS: &[&str] = &["to", "scope", "window", "alphabet", "epsilon", "readers"];
