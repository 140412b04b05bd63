//! Faults of `[data.*]` and `[vault.*]`, and what their numbers mean.

use stockade_profile::{DataSetUse, Decimal, FieldRole, check, parse};

const HEAD: &str =
    "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n";

#[test]
fn each_fault_of_data_is_told_where_it_is() {
    let fields = r#"[data.x]
a = { use = "noise", to = "1", epsilon = "1" }
b = { use = "noise", to = "1min", epsilon = "101", range = [0, 1] }
c = { use = "keep", range = [1, 1] }
d = { use = "keep", range = [2, 1] }
e = { use = "keep", range = [0, 1.5] }
f = { use = "keep", range = ["0", "1e9"] }
g = { use = "keep", range = [0, 1, 2] }
h = { use = "generalise", to = "1h", range = [0, 1] }
i = { use = "generalise", to = "level 1" }
j = { use = "generalise", to = "level 3", hierarchy = { a = ["x", "y"] } }
k = { use = "generalise", to = "level 0", hierarchy = { a = ["x"] } }
l = { use = "keep", hierarchy = { a = ["x"], b = ["x", "y"] } }
m = { use = "keep", hierarchy = { a = ["x", "y"], b = ["x", "z"] } }
n = { use = "keep", hierarchy = {} }
o = { use = "pseudonym", scope = "window" }
p = { use = "pseudonym", scope = "dataset", window = "1d" }
q = { use = "format-preserving", alphabet = "letters" }
r = { use = "keep", role = "quasy" }
s = { use = "tokens" }
t = { use = "keep", range = [0, 1000000000001] }
[vault.x]
purposes = ["repair", "repair"]
release = { k = -1, t = "1.1", suppress = "5.5%", delay = "0s" }
budget = { epsilon = 0 }
contribution = { per = "1d", records = 0 }
[vault.y]
retention = "1y"
"#;
    let faults = check(&format!("{HEAD}{fields}")).faults;
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_a_profile_does_not_say_of_its_use_is_strict() {
    let source = format!(
        "{HEAD}[data.x]\nage = {{ use = \"keep\" }}\nmac = {{ use = \"token\" }}\n[vault.x]\nrelease = {{ k = 20 }}\n"
    );
    let profile = parse(&source).unwrap();
    let (said, nothing) = (profile.usage("x"), profile.usage("y"));
    assert_eq!((said.release().k, said.release().l), (20, 3));
    assert_eq!(nothing, DataSetUse::default());
    assert!(nothing.purposes.is_empty());
    assert_eq!(nothing.retention().as_secs(), 30 * 86_400);
    assert_eq!(nothing.contribution().records, 24);
    assert!((nothing.budget().epsilon.to_f64() - 1.0).abs() < f64::EPSILON);
    assert!((nothing.release().t.to_f64() - 0.3).abs() < f64::EPSILON);
    let fields = &profile.data["x"];
    assert_eq!(fields["age"].role(), FieldRole::Quasi);
    assert_eq!(fields["mac"].role(), FieldRole::Direct);
}

#[test]
fn a_decimal_is_exact_and_has_one_form() {
    for (text, millionths, again) in [
        ("0", 0, "0"),
        ("-0", 0, "0"),
        ("0.5", 500_000, "0.5"),
        ("-0.000001", -1, "-0.000001"),
        ("1.500", 1_500_000, "1.5"),
        ("1000000000000", 1_000_000_000_000_000_000, "1000000000000"),
    ] {
        let number: Decimal = text.parse().unwrap();
        assert_eq!(
            (number.millionths(), number.to_string().as_str()),
            (millionths, again)
        );
        assert!((number.to_f64() - text.parse::<f64>().unwrap()).abs() < 1e-12);
    }
    for wrong in [
        "",
        "-",
        "1.",
        ".5",
        "1e3",
        "+1",
        "0.0000001",
        "1000000000000.1",
        "--1",
        "1,5",
        "NaN",
    ] {
        assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
    }
}
