//! What passwords devices are shipped with, and which of them an account gets to hear first.

use std::collections::BTreeSet;

use stockade_profile::Profile;

const LIST: &str = include_str!("defaults.txt");

/// The pairs that devices most often let in, most often first and each account once: one try locks no account out.
pub fn most_usual() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut seen = BTreeSet::new();
    let pairs = LIST.lines().filter(|line| !line.starts_with('#'));
    let pairs = pairs.filter_map(|line| line.split_once(':'));
    pairs.filter(move |(name, _)| *name != "*" && seen.insert(*name))
}

/// Every guess for an account, the likeliest first: its own name, those told for this account, what the device's names suggest,
/// then those told for others.
pub fn guesses(account: &str, profile: &Profile) -> Vec<String> {
    let pairs = || {
        LIST.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
    };
    let own = pairs().filter(|(name, _)| *name == account || *name == "*");
    let (model, maker) = (
        profile.device.model.to_string(),
        profile.device.manufacturer.to_string(),
    );
    let suggested = [
        format!("{account}123"),
        format!("{account}1234"),
        model.to_lowercase(),
        maker.to_lowercase(),
        model,
        maker,
    ];
    let listed = |(_, password): (&str, &str)| password.to_owned();
    let mut seen = BTreeSet::new();
    let guesses = std::iter::once(account.to_owned())
        .chain(own.map(listed))
        .chain(suggested)
        .chain(pairs().map(listed));
    guesses
        .filter(|guess| !guess.is_empty() && seen.insert(guess.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_hears_its_own_defaults_first_and_each_once() {
        let profile = super::super::tests::profile("");
        let pi = guesses("pi", &profile);
        assert_eq!(pi[..3], ["pi", "raspberry", "password"]);
        assert!(pi.contains(&"xc3511".to_owned()) && pi.contains(&"cam-2".to_owned()));
        let once: BTreeSet<_> = pi.iter().collect();
        assert_eq!(once.len(), pi.len());
    }

    #[test]
    fn the_most_usual_pairs_name_each_account_once() {
        let first: Vec<_> = most_usual().take(3).collect();
        let usual = [("root", "root"), ("admin", "admin"), ("pi", "raspberry")];
        assert_eq!(first, usual);
    }
}
