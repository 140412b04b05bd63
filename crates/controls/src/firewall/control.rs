//! The firewall as a control of the engine: are the rules of the profile in force?

use stockade_profile::Control;

use crate::engine::{
    Action, Case, Check, Finding, FirewallState, Judged, Rule, Severity, Stage, Step, Unseen,
};

static IN_FORCE: Rule = Rule {
    id: "firewall/in-force",
    control: Control::Firewall,
    title: "The kernel has the firewall rules of the profile, and no others of ours",
    why: "Without them every port that a program opens is open to all, and a program that is taken over reaches everything.",
    severity: Severity::Critical,
    advice: "`stockade device apply` loads them; `stockade firewall check` shows each difference.",
    standards: &[
        "EN 303 645 5.6-1",
        "EN 303 645 5.6-2",
        "NISTIR 8425 interface access control",
        "CRA I.I(2)(j)",
        "ISVS 3.2.2",
    ],
};

static CONFIRMED: Rule = Rule {
    id: "firewall/confirmed",
    control: Control::Firewall,
    title: "The rules in force are there to stay",
    why: "Rules on trial are taken back by the kernel when nobody confirms them in time.",
    severity: Severity::Low,
    advice: "`stockade firewall confirm`, from a new session; or let the trial end and the rules from before come back.",
    standards: &["EN 303 645 5.6-1"],
};

/// The control `firewall`.
#[derive(Debug)]
pub struct Firewall;

impl Check for Firewall {
    fn control(&self) -> Control {
        Control::Firewall
    }

    fn rules(&self) -> &'static [&'static Rule] {
        static RULES: [&Rule; 2] = [&IN_FORCE, &CONFIRMED];
        &RULES
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let state = match case.host.firewall() {
            Ok(state) => state,
            Err(why) => {
                judged.unseen(&IN_FORCE, "the rules in the kernel", &why);
                match why {
                    Unseen::Offline => {
                        judged.does_not_apply(&CONFIRMED, "an image has no rules on trial");
                    }
                    why => judged.unseen(&CONFIRMED, "the rules in the kernel", &why),
                }
                return judged;
            }
        };
        judged.judged(
            &IN_FORCE,
            "the kernel's tables",
            in_force(case, state).into_iter().collect(),
        );
        match state {
            FirewallState::InForce {
                trial: Some(seconds),
                ..
            } if case.own.upnp.is_none() => {
                let what = format!(
                    "the rules are on trial, and go back to those before in {seconds} seconds"
                );
                judged.judged(&CONFIRMED, "", vec![Finding::of(&CONFIRMED, "trial", what)]);
            }
            _ => judged.judged(&CONFIRMED, "the kernel's tables", Vec::new()),
        }
        judged
    }
}

/// What is wrong with the rules in force.
fn in_force(case: &Case<'_>, state: &FirewallState) -> Option<Finding> {
    let wanted = &case.profile.device;
    let found = |what: String| Finding::of(&IN_FORCE, "kernel", what);
    let finding = match state {
        FirewallState::InForce { model, version, .. }
            if model == wanted.model.as_str() && *version == wanted.version =>
        {
            return None;
        }
        FirewallState::InForce { model, version, .. } => {
            let what = format!("the rules in force are those of {model}, version {version}");
            found(what)
        }
        FirewallState::Differs(differences) => {
            let mut finding = found("the rules in force are not those that were loaded".to_owned());
            for difference in differences.iter().take(10) {
                finding = finding.seen("nft list ruleset", difference);
            }
            finding
        }
        FirewallState::None => {
            found("no rules of the profile are loaded: everything passes".to_owned())
        }
        FirewallState::Impossible(why) => {
            return Some(found(format!(
                "this kernel can not enforce the profile: {why}"
            )));
        }
    };
    let says = format!(
        "Load the firewall rules of {}, version {}",
        wanted.model, wanted.version
    );
    let risk = "Connections that the profile does not allow are cut, yours too if it is one of them. The old rules come back \
                by themselves unless the new ones are confirmed in time.";
    Some(finding.mended_by(vec![Step::risky(Stage::Shut, Action::Firewall, says, risk)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{MemoryHost, Own, Plan, Verdict, assess};

    const PROFILE: &str = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n";

    fn verdicts(firewall: Option<FirewallState>) -> (Vec<Verdict>, Plan) {
        let profile = stockade_profile::check(PROFILE).profile.expect("a profile");
        let mut host = MemoryHost::new();
        host.firewall = firewall;
        let own = Own::default();
        let case = Case {
            host: &host,
            profile: &profile,
            now: 0,
            own: &own,
        };
        let assessment = assess(&case, &[&Firewall]);
        let plan = Plan::of(&assessment);
        (
            assessment
                .outcomes
                .into_iter()
                .map(|it| it.verdict)
                .collect(),
            plan,
        )
    }

    fn in_force(version: u64, trial: Option<u64>) -> FirewallState {
        FirewallState::InForce {
            model: "cam-2".to_owned(),
            version,
            trial,
        }
    }

    #[test]
    fn the_profiles_own_rules_are_fine_and_nothing_is_planned() {
        let (verdicts, plan) = verdicts(Some(in_force(7, None)));
        assert!(
            verdicts.iter().all(|it| matches!(it, Verdict::Passed(_))),
            "{verdicts:?}"
        );
        assert!(plan.is_empty());
    }

    #[test]
    fn rules_of_an_older_profile_changed_rules_and_none_are_loaded_anew() {
        let differs = FirewallState::Differs(vec!["a rule is gone".to_owned()]);
        for state in [in_force(6, None), differs, FirewallState::None] {
            let (verdicts, plan) = verdicts(Some(state));
            assert!(
                matches!(verdicts.first(), Some(Verdict::Broken(_))),
                "{verdicts:?}"
            );
            assert_eq!(plan.steps.len(), 1);
        }
    }

    #[test]
    fn a_kernel_that_can_not_is_said_and_nothing_is_tried() {
        let (verdicts, plan) = verdicts(Some(FirewallState::Impossible("no nf_tables".to_owned())));
        assert!(matches!(verdicts.first(), Some(Verdict::Broken(_))));
        assert!(plan.is_empty());
    }

    #[test]
    fn rules_on_trial_are_told_and_an_image_cannot_be_judged() {
        let (trial, _) = verdicts(Some(in_force(7, Some(20))));
        assert!(matches!(trial.get(1), Some(Verdict::Broken(_))));
        let (image, plan) = verdicts(None);
        assert!(matches!(image.first(), Some(Verdict::CannotTell(..))));
        assert!(plan.is_empty());
    }
}
