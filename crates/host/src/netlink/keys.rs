//! Elements of our rulesets as the kernel's octets, and back.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use stockade_controls::firewall::nft::{self, Ident, Kind, Value};

use super::sets::{Element, Key, Listed, SetName, Verdict};

/// The kernel's form of an element of a set with keys of these kinds; none if a part does not fit its kind.
pub fn element(kinds: &[Kind], element: &nft::Element) -> Option<Element> {
    if kinds.len() != element.key.len() {
        return None;
    }
    let (mut low, mut high) = (Key::new(), Key::new());
    for (kind, value) in kinds.iter().zip(&element.key) {
        let (from, to) = octets(*kind, value)?;
        low = low.with(&from);
        high = high.with(&to);
    }
    // In a set of one field an interval is two elements; only single values are written this way.
    let several = kinds.len() > 1;
    if !several && low != high {
        return None;
    }
    Some(Element {
        key_end: (several && low != high).then_some(high),
        key: low,
        verdict: match &element.verdict {
            Some(it) => Some(verdict(it)?),
            None => None,
        },
        timeout: element
            .timeout
            .map(|seconds| Duration::from_secs(seconds.into())),
    })
}

/// What [`nft::Set::is_bulk`] sets of a ruleset hold, for [`super::sets::Sets::fill`]; if an element does not fit, the name of
/// its set.
pub fn bulk(ruleset: &nft::Ruleset) -> Result<Vec<(SetName, Vec<Element>)>, Ident> {
    let mut sets = Vec::new();
    for table in &ruleset.tables {
        for set in table.sets.iter().filter(|set| set.is_bulk()) {
            let elements = set.elements.iter().map(|it| element(&set.key, it));
            let elements: Option<Vec<Element>> = elements.collect();
            let name = SetName {
                family: table.family,
                table: table.name.as_str().to_owned(),
                set: set.name.as_str().to_owned(),
            };
            sets.push((name, elements.ok_or_else(|| set.name.clone())?));
        }
    }
    Ok(sets)
}

/// The element as a ruleset has it, with the time that is left; none if it is of a kind that no ruleset of ours has.
pub fn listed(kinds: &[Kind], listed: &Listed) -> Option<nft::Element> {
    let element = &listed.element;
    let low = parts(kinds, element.key.bytes())?;
    let high = match &element.key_end {
        Some(end) => parts(kinds, end.bytes())?,
        None => low.clone(),
    };
    let key = kinds
        .iter()
        .zip(low.into_iter().zip(high))
        .map(|(kind, (from, to))| value(*kind, from, to))
        .collect::<Option<Vec<Value>>>()?;
    // A second more than is left, rather than one less: zero would be for ever.
    let seconds = |left: Duration| u32::try_from(left.as_secs().saturating_add(1)).ok();
    Some(nft::Element {
        key,
        timeout: match (listed.left, element.timeout) {
            (Some(left), _) | (None, Some(left)) => Some(seconds(left)?),
            (None, None) => None,
        },
        verdict: match &element.verdict {
            Some(it) => Some(back(it)?),
            None => None,
        },
    })
}

/// How many octets a value of a kind has; none for kinds that elements are not made of.
fn length(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Ip4 | Kind::Mark => Some(4),
        Kind::Ip6 | Kind::Target => Some(16),
        Kind::Mac => Some(6),
        Kind::Port | Kind::EtherType => Some(2),
        Kind::Protocol | Kind::IcmpType | Kind::Icmp6Type => Some(1),
        _ => None,
    }
}

fn octets(kind: Kind, value: &Value) -> Option<(Vec<u8>, Vec<u8>)> {
    match (kind, value) {
        (Kind::Ip4, Value::Ip4(from, to)) => Some((from.octets().to_vec(), to.octets().to_vec())),
        (Kind::Ip6 | Kind::Target, Value::Ip6(from, to)) => {
            Some((from.octets().to_vec(), to.octets().to_vec()))
        }
        (Kind::Mac, Value::Mac(mac)) => Some((mac.to_vec(), mac.to_vec())),
        (Kind::Ip4 | Kind::Ip6 | Kind::Target | Kind::Mac, _) => None,
        (kind, Value::Number(from, to)) => {
            let length = length(kind)?;
            let fit = |number: u32| {
                // Marks are in the machine's order, everything that is on the wire in the network's.
                let octets = match kind {
                    Kind::Mark => number.to_ne_bytes(),
                    _ => number.to_be_bytes(),
                };
                let (head, tail) = octets.split_at_checked(octets.len().checked_sub(length)?)?;
                head.iter().all(|octet| *octet == 0).then(|| tail.to_vec())
            };
            Some((fit(*from)?, fit(*to)?))
        }
        _ => None,
    }
}

/// The key's parts, each without its padding.
fn parts<'k>(kinds: &[Kind], key: &'k [u8]) -> Option<Vec<&'k [u8]>> {
    let mut rest = key;
    let mut parts = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let length = length(*kind)?;
        let (part, after) = match kinds.len() {
            // The key of a set of one field is not padded.
            1 => (rest, &[][..]),
            _ => rest.split_at_checked(length.next_multiple_of(4))?,
        };
        parts.push(part.get(..length)?);
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

fn value(kind: Kind, from: &[u8], to: &[u8]) -> Option<Value> {
    let number = |octets: &[u8]| {
        if kind == Kind::Mark {
            return octets.first_chunk::<4>().copied().map(u32::from_ne_bytes);
        }
        let fold = |sum: u32, octet: &u8| (sum << 8) | u32::from(*octet);
        Some(octets.iter().fold(0, fold))
    };
    match kind {
        Kind::Ip4 => {
            let address = |octets: &[u8]| octets.first_chunk::<4>().copied().map(Ipv4Addr::from);
            Some(Value::Ip4(address(from)?, address(to)?))
        }
        Kind::Ip6 | Kind::Target => {
            let address = |octets: &[u8]| octets.first_chunk::<16>().copied().map(Ipv6Addr::from);
            Some(Value::Ip6(address(from)?, address(to)?))
        }
        Kind::Mac => (from == to).then(|| from.first_chunk::<6>().copied().map(Value::Mac))?,
        _ => Some(Value::Number(number(from)?, number(to)?)),
    }
}

fn verdict(verdict: &nft::Verdict) -> Option<Verdict> {
    match verdict {
        nft::Verdict::Accept => Some(Verdict::Accept),
        nft::Verdict::Drop => Some(Verdict::Drop),
        nft::Verdict::Goto(chain) => Some(Verdict::Goto(chain.as_str().to_owned())),
        nft::Verdict::Jump(chain) => Some(Verdict::Jump(chain.as_str().to_owned())),
        nft::Verdict::Return => None,
    }
}

fn back(verdict: &Verdict) -> Option<nft::Verdict> {
    match verdict {
        Verdict::Accept => Some(nft::Verdict::Accept),
        Verdict::Drop => Some(nft::Verdict::Drop),
        Verdict::Goto(chain) => Ident::new(chain).ok().map(nft::Verdict::Goto),
        Verdict::Jump(chain) => Ident::new(chain).ok().map(nft::Verdict::Jump),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = (Kind, Value)> {
        prop_oneof![
            any::<(u32, u32)>()
                .prop_map(|(a, b)| (Kind::Ip4, Value::Ip4(a.min(b).into(), a.max(b).into()))),
            any::<(u128, u128)>()
                .prop_map(|(a, b)| (Kind::Ip6, Value::Ip6(a.min(b).into(), a.max(b).into()))),
            any::<[u8; 6]>().prop_map(|mac| (Kind::Mac, Value::Mac(mac))),
            any::<(u16, u16)>()
                .prop_map(|(a, b)| (Kind::Port, Value::Number(a.min(b).into(), a.max(b).into()))),
            any::<u8>().prop_map(|number| (Kind::Protocol, Value::number(number))),
        ]
    }

    proptest! {
        #[test]
        fn an_element_survives_the_kernels_form(parts in prop::collection::vec(part(), 2..4), timeout in prop::option::of(1..1_000_000u32)) {
            let (kinds, key): (Vec<Kind>, Vec<Value>) = parts.into_iter().unzip();
            let verdict = Ident::new("b_out").ok().map(nft::Verdict::Goto);
            let whole = nft::Element { key, timeout, verdict };
            let kernel = element(&kinds, &whole).expect("it fits");
            let back = listed(&kinds, &Listed {
                left: kernel.timeout.map(|it| it.saturating_sub(Duration::from_secs(1))),
                element: kernel,
                interval_end: false,
            });
            prop_assert_eq!(back, Some(whole));
        }
    }

    #[test]
    fn a_value_too_large_for_its_kind_is_no_element() {
        let port = nft::Element {
            key: vec![Value::number(65_536u32)],
            timeout: None,
            verdict: None,
        };
        assert_eq!(element(&[Kind::Port], &port), None);
        assert_eq!(element(&[Kind::Ip4], &port), None);
    }
}
