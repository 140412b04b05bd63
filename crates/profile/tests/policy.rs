//! What a policy is refused for, whole, and that what is told instead mends it.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use stockade_profile::{Fault, PolicySeverity, Severity, check, parse, policy};

fn told(data: &str) -> String {
    let source = format!(
        "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n{data}"
    );
    let mut told = String::new();
    for fault in policy(&parse(&source).unwrap()) {
        let (severity, place) = (fault.severity.as_str(), &fault.place);
        let (what, instead) = (&fault.what, &fault.instead);
        told.extend([
            severity,
            " ",
            place,
            ": ",
            what,
            "\n  instead: ",
            instead,
            "\n",
        ]);
    }
    told
}

fn refusals(data: &str) -> usize {
    told(data).matches("refused ").count()
}

/// A data set with one field, of which a release may be made.
fn one(field: &str) -> String {
    format!(
        "[data.x]\n{field}\n[vault.x]\npurposes = [\"p\"]\nretention = \"1d\"\nrelease = {{}}\ncontribution = {{ per = \"1d\", records = 1 }}\n"
    )
}

#[test]
fn what_is_known_to_fail_is_refused_with_why_and_what_to_write_instead() {
    insta::assert_snapshot!(told(
        r#"
        [data.motion]
        device = { use = "keep" }
        owner = { use = "keep", role = "direct" }
        user-name = { use = "keep" }
        location = { use = "generalise", to = "100m" }
        time = { use = "generalise", to = "1min" }
        age = { use = "keep", role = "quasi" }
        is-home = { use = "pseudonym", scope = "dataset", range = [0, 1] }
        floor = { use = "token", range = [-2, 40] }
        room = { use = "format-preserving", alphabet = "base36", hierarchy = { hall = ["in"], porch = ["out"] } }
        pulse = { use = "noise", to = "1", epsilon = "1", range = [0, 200], role = "sensitive" }
        steps = { use = "noise", to = "1", epsilon = "20", range = [0, 200] }
        badge = { use = "pseudonym", scope = "fleet" }
        visitor = { use = "pseudonym", scope = "window", window = "7d" }
        [vault.motion]
        release = { k = 1, l = 3, t = 0, suppress = "80%" }
        budget = { epsilon = 20, per = "1d" }
        [data.climate]
        temperature = { use = "generalise", to = "0.5", role = "free" }
        "#
    ));
}

#[test]
fn a_policy_that_holds_is_not_refused() {
    let sound = told(
        r#"
        [data.motion]
        device = { use = "pseudonym", scope = "dataset", role = "direct" }
        time = { use = "generalise", to = "1d", role = "quasi" }
        location = { use = "generalise", to = "10km", role = "quasi" }
        age = { use = "keep", role = "quasi", range = [0, 120] }
        pulse = { use = "generalise", to = "5", role = "sensitive", range = [0, 250] }
        clip = { use = "seal", readers = ["owner"] }
        [vault.motion]
        purposes = ["maintenance"]
        retention = "90d"
        contribution = { per = "1d", records = 96 }
        release = { k = 10 }
        budget = { epsilon = "1", per = "30d" }
        "#,
    );
    assert_eq!(sound, "");
}

#[test]
fn what_is_told_instead_mends_it() {
    for (wrong, right) in [
        (
            r#"x = { use = "keep", role = "direct" }"#,
            r#"x = { use = "pseudonym", scope = "dataset", role = "direct" }"#,
        ),
        (
            r#"device = { use = "keep" }"#,
            r#"device = { use = "drop" }"#,
        ),
        (
            r#"x = { use = "keep", role = "quasi" }"#,
            r#"x = { use = "keep", role = "quasi", range = [0, 9] }"#,
        ),
        (
            r#"x = { use = "token", range = [0, 999998] }"#,
            r#"x = { use = "token", range = [0, 999999] }"#,
        ),
        (
            r#"x = { use = "noise", to = "1", epsilon = "1", range = [0, 1], role = "quasi" }"#,
            r#"x = { use = "noise", to = "1", epsilon = "1", range = [0, 1], role = "free" }"#,
        ),
        (
            "gps = { use = \"keep\" }\ntime = { use = \"generalise\", to = \"59min\" }",
            "gps = { use = \"keep\" }\ntime = { use = \"generalise\", to = \"1d\" }",
        ),
        (
            "lat = { use = \"generalise\", to = \"0.001\" }\nts = { use = \"keep\" }",
            "lat = { use = \"generalise\", to = \"0.1\" }\nts = { use = \"keep\" }",
        ),
    ] {
        assert_eq!(refusals(&one(wrong)), 1, "{wrong}: {}", told(&one(wrong)));
        assert_eq!(refusals(&one(right)), 0, "{right}: {}", told(&one(right)));
    }
    for (wrong, right) in [
        ("k = 1", "k = 3"),
        ("l = 11", "l = 10"),
        ("t = 0", "t = \"0.1\""),
        ("suppress = \"51%\"", "suppress = \"50%\""),
    ] {
        let of = |release: &str| {
            one("x = { use = \"drop\" }\ny = { use = \"token\" }")
                .replace("{}", &format!("{{ {release} }}"))
        };
        let (wrong, right) = (of(wrong), of(right));
        assert!(refusals(&wrong) >= 1, "{}", told(&wrong));
        assert_eq!(refusals(&right), 0, "{}", told(&right));
    }
}

#[test]
fn a_wish_for_a_hash_is_told_why_not() {
    for word in ["hash", "SHA256", "md5"] {
        let source = format!(
            "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n[data.x]\nmac = {{ use = \"{word}\", scope = \"dataset\" }}\n"
        );
        let checked = check(&source);
        let is_error = |fault: &&Fault| fault.severity == Severity::Error;
        let errors: Vec<&Fault> = checked.faults.iter().filter(is_error).collect();
        let [Fault { message, help, .. }] = errors[..] else {
            panic!("{errors:?}")
        };
        assert!(message.contains("undone"), "{message}");
        assert!(help.as_ref().unwrap().contains("pseudonym"));
    }
}

#[test]
fn the_profiles_that_we_ship_are_not_refused() {
    for file in fs_err::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles")).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let faults = policy(&parse(&fs_err::read_to_string(&path).unwrap()).unwrap());
            let refused: Vec<_> = faults
                .iter()
                .filter(|fault| fault.severity == PolicySeverity::Refused)
                .collect();
            assert!(refused.is_empty(), "{}: {refused:?}", path.display());
        }
    }
}
