//! Topic names, filters, matching and containment.

use proptest::prelude::*;
use stockade_mqtt::{
    SharedFilter, SubscriptionFilter, TopicError, TopicFilter, TopicFilterBuf, TopicName,
    TopicNameBuf, Version,
};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn mqtt_4_7_1_1_multi_level_wildcard_is_last_and_alone() {
    for bad in ["a/#/b", "a#", "#a", "a/b#", "#/a", "##", "a/#/", "#/"] {
        assert_eq!(TopicFilter::new(bad), Err(TopicError::MultiLevel), "{bad}");
    }
    for good in ["#", "a/#", "/#", "+/#", "a//#"] {
        filter(good);
    }
}

#[test]
fn mqtt_4_7_1_2_single_level_wildcard_takes_a_whole_level() {
    for bad in ["a+", "+a", "a/b+/c", "a/+b", "++"] {
        assert_eq!(TopicFilter::new(bad), Err(TopicError::SingleLevel), "{bad}");
    }
    for good in ["+", "+/+", "/+", "+/a/+", "a/+/b", "+/"] {
        filter(good);
    }
}

#[test]
fn mqtt_4_7_0_1_names_have_no_wildcards() {
    for bad in ["+", "#", "a/+", "a/#", "a+b"] {
        assert_eq!(TopicName::new(bad), Err(TopicError::Wildcard), "{bad}");
    }
}

#[test]
fn mqtt_4_7_3_names_and_filters_are_not_empty_hold_no_nul_and_fit_65535_bytes() {
    assert_eq!(TopicName::new(""), Err(TopicError::Empty));
    assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
    assert_eq!(TopicName::new("a\0"), Err(TopicError::Nul));
    assert_eq!(TopicFilter::new("a/\0/#"), Err(TopicError::Nul));
    let long = "x".repeat(65_536);
    assert_eq!(TopicName::new(&long), Err(TopicError::TooLong));
    assert_eq!(TopicFilterBuf::new(long.as_str()), Err(TopicError::TooLong));
    assert_eq!(
        TopicNameBuf::new("x".repeat(65_535)).map(|name| name.as_str().len()),
        Ok(65_535)
    );
}

#[test]
fn mqtt_4_7_2_1_leading_wildcards_do_not_match_names_beginning_with_a_dollar() {
    assert!(!filter("#").matches(name("$SYS/uptime")));
    assert!(!filter("+/uptime").matches(name("$SYS/uptime")));
    assert!(filter("$SYS/#").matches(name("$SYS/uptime")));
    assert!(filter("$SYS/+").matches(name("$SYS/uptime")));
    assert!(
        filter("a/+").matches(name("a/$b")),
        "only the first level is special"
    );
}

/// The examples of §4.7.1 and §4.7.3.
#[test]
fn matching_follows_the_examples_of_the_specification() {
    let matches = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("ACCOUNTS", "Accounts", false),
        ("/A", "A", false),
        ("#", "/", true),
    ];
    for (a, b, expected) in matches {
        assert_eq!(filter(a).matches(name(b)), expected, "{a} {b}");
    }
}

#[test]
fn containment_is_more_than_matching() {
    for (wide, narrow) in [
        ("#", "+/#"),
        ("+/#", "#"),
        ("#", "a/+/b"),
        ("/+/#", "/#"),
        ("a/#", "a"),
        ("a/#", "a/+"),
        ("a/#", "a/#"),
        ("a/+/#", "a/+/+"),
        ("a/+/#", "a/b/#"),
        ("$SYS/#", "$SYS/+"),
        ("+", "a"),
    ] {
        assert!(filter(wide).contains(filter(narrow)), "{wide} ⊇ {narrow}");
    }
    for (wide, narrow) in [
        ("a/+", "a/#"),
        ("a/+/#", "a/#"),
        ("+/+/#", "#"),
        ("a/b", "a/+"),
        ("#", "$SYS/a"),
        ("$SYS/#", "#"),
        ("+", "#"),
        ("a", "a/#"),
        ("devices/cam-1/#", "devices/+/#"),
        ("devices/cam-1/#", "devices/#"),
        ("devices/cam-1/#", "#"),
    ] {
        assert!(!filter(wide).contains(filter(narrow)), "{wide} ⊉ {narrow}");
    }
}

/// Every sequence of up to `depth` of these levels that `make` accepts.
fn all<'a, T>(levels: &[&str], depth: usize, make: impl Fn(&'a str) -> Option<T>) -> Vec<T> {
    let mut texts: Vec<String> = levels.iter().map(ToString::to_string).collect();
    let mut last = texts.clone();
    for _ in 1..depth {
        last = last
            .iter()
            .flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}")))
            .collect();
        texts.extend(last.iter().cloned());
    }
    texts
        .into_iter()
        .filter_map(|text| make(Box::leak(text.into_boxed_str())))
        .collect()
}

/// The filters use three of the five words the names use: the others stand for all words a filter does not name.
#[test]
fn containment_is_the_subset_relation_over_all_names_up_to_depth_four() {
    let names = all(&["a", "$s", "", "x", "$x"], 4, |text| {
        TopicName::new(text).ok()
    });
    let filters = all(&["a", "$s", "", "+", "#"], 3, |text| {
        TopicFilter::new(text).ok()
    });
    assert_eq!((names.len(), filters.len()), (779, 104));
    let matched: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| names.iter().map(|name| filter.matches(*name)).collect())
        .collect();
    for (f, f_names) in filters.iter().zip(&matched) {
        for (g, g_names) in filters.iter().zip(&matched) {
            let subset = f_names.iter().zip(g_names).all(|(f, g)| *f || !*g);
            assert_eq!(f.contains(*g), subset, "{f} ⊇ {g}");
        }
    }
}

/// Matching by the letter of §4.7: recursion over the levels, no shortcuts.
fn matches_by_the_book(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        ([], [_, ..]) | ([_, ..], []) => false,
        (["+", filter @ ..], [_, name @ ..]) => matches_by_the_book(filter, name),
        ([level, filter @ ..], [word, name @ ..]) => {
            level == word && matches_by_the_book(filter, name)
        }
    }
}

fn levels(words: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(words), 1..=most)
        .prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn matching_agrees_with_a_recursive_model(f in levels(&["a", "b", "", "$s", "+", "#"], 5), n in levels(&["a", "b", "", "$s"], 5)) {
        let (Ok(f), Ok(n)) = (TopicFilter::new(&f), TopicName::new(&n)) else { return Ok(()) };
        let hidden = n.starts_with('$') && f.starts_with(['+', '#']);
        let expected = !hidden && matches_by_the_book(&f.levels().collect::<Vec<_>>(), &n.levels().collect::<Vec<_>>());
        prop_assert_eq!(f.matches(n), expected);
    }

    #[test]
    fn containment_is_transitive(
        f in levels(&["a", "$s", "+", "#"], 4), g in levels(&["a", "$s", "+", "#"], 4), h in levels(&["a", "$s", "+", "#"], 4),
    ) {
        let (Ok(f), Ok(g), Ok(h)) = (TopicFilter::new(&f), TopicFilter::new(&g), TopicFilter::new(&h)) else { return Ok(()) };
        if f.contains(g) && g.contains(h) {
            prop_assert!(f.contains(h));
        }
    }

    #[test]
    fn any_text_is_checked_without_panic(text in ".{0,40}") {
        stockade_mqtt::fuzzing::mqtt_topic(text.as_bytes());
    }
}

#[test]
fn mqtt_4_8_2_shared_subscriptions_have_a_share_name_and_a_filter() {
    let shared = |text| {
        SharedFilter::new(text)
            .map(|shared| shared.map(|shared| (shared.group(), shared.filter().as_str())))
    };
    assert_eq!(shared("$share/g/a/+"), Some(Ok(("g", "a/+"))));
    assert_eq!(shared("$share/g//"), Some(Ok(("g", "/"))));
    assert_eq!(shared("$share//a"), Some(Err(TopicError::NoShareName)));
    assert_eq!(shared("$share/"), Some(Err(TopicError::ShareName)));
    assert_eq!(shared("$share/g"), Some(Err(TopicError::ShareName)));
    assert_eq!(shared("$share/g/"), Some(Err(TopicError::ShareName)));
    assert_eq!(shared("$share/g+/a"), Some(Err(TopicError::ShareName)));
    assert_eq!(shared("$share/#/a"), Some(Err(TopicError::ShareName)));
    assert_eq!(shared("$share/g/a/#/b"), Some(Err(TopicError::MultiLevel)));
    assert_eq!(shared("$share"), None);
    assert_eq!(shared("$shared/g/a"), None);
    assert!(SubscriptionFilter::new("$share//a", Version::V5).is_err());
    assert_eq!(
        SubscriptionFilter::new("$share//a", Version::V311),
        Ok(SubscriptionFilter::Plain(filter("$share//a"))),
        "3.1.1 has no shared subscriptions"
    );
}
