//! Records of the kernel's audit log: what a policy refused, or would have while the kernel only watches.
//!
//! The texts of `AppArmor` (`security/apparmor/audit.c`) and `SELinux` (`security/selinux/avc.c`). What a program chose, as its
//! name and a file's, is in quotes without quotes in it, or in hexadecimal digits (`audit_log_untrustedstring`).

use super::need::{Need, word};

/// The longest record that is read; the kernel's are 8,970 bytes at most (`MAX_AUDIT_MESSAGE_LENGTH`).
const LONGEST: usize = 8970;

/// What one record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The policy it is about: a profile of `AppArmor`, or a domain of `SELinux`.
    pub policy: String,
    /// Whether it was let through, as the kernel only watches.
    pub allowed: bool,
    /// What it was; nothing if it is of a kind that is never given by learning: mounting, tracing, signals, other policies.
    pub needs: Vec<Need>,
}

/// Reads a record; none if it is about something else.
pub fn read(record: &[u8]) -> Option<Heard> {
    if record.len() > LONGEST {
        return None;
    }
    let text = str::from_utf8(record).ok()?;
    if text.contains("avc: ") {
        selinux(text)
    } else {
        apparmor(text)
    }
}

fn apparmor(text: &str) -> Option<Heard> {
    let allowed = match field(text, "apparmor")?.as_str() {
        "ALLOWED" => true,
        "DENIED" => false,
        _ => return None,
    };
    // What a watched program starts is watched under a name made up of both.
    let profile = field(text, "profile")?;
    let policy = profile.split("//null-").next()?.to_owned();
    let need = match field(text, "operation")?.as_str() {
        "capable" => field(text, "capname")
            .and_then(|it| word(&it))
            .map(Need::Capability),
        _ if field(text, "family").is_some() => network(text),
        _ => match (field(text, "name"), field(text, "denied_mask")) {
            (Some(path), Some(mask)) => Need::file(&path, access(&mask)?),
            _ => None,
        },
    };
    Some(Heard {
        policy,
        allowed,
        needs: need.into_iter().collect(),
    })
}

fn network(text: &str) -> Option<Need> {
    let family = word(&field(text, "family")?)?;
    let kind = word(&field(text, "sock_type")?)?;
    Some(Need::Network { family, kind })
}

/// The letters of a mask in the log (`security/apparmor/lib.c`, `aa_file_perm_chrs`) as those of a profile.
fn access(mask: &str) -> Option<Vec<char>> {
    let mut letters = Vec::new();
    for letter in mask.chars() {
        match letter {
            'r' | 'w' | 'k' | 'l' | 'm' => letters.push(letter),
            // Append, create, delete.
            'a' | 'c' | 'd' => letters.push('w'),
            // A program is read and mapped, too.
            'x' => letters.extend(['m', 'r', 'x']),
            _ => return None,
        }
    }
    Some(letters)
}

fn selinux(text: &str) -> Option<Heard> {
    let (_, rest) = text.split_once("avc: ")?;
    let rest = rest.trim_start().strip_prefix("denied")?;
    let (permissions, rest) = rest.split_once('{')?.1.split_once('}')?;
    let domain = |key| field(rest, key).and_then(|it| type_of(&it));
    let (from, to) = (domain("scontext")?, domain("tcontext")?);
    let class = word(&field(rest, "tclass")?)?;
    // Others' processes, mounting, and the door by which policies are loaded are given by hand.
    let learnable = |permission: &&str| match class.as_str() {
        "security" | "system" => false,
        "filesystem" => *permission == "getattr",
        "process" => from == to || matches!(*permission, "getattr" | "sigchld"),
        _ => *permission != "mounton",
    };
    let permissions = permissions.split_ascii_whitespace().filter(learnable);
    let needs = permissions.map(|permission| {
        Some(Need::Allow {
            to: to.clone(),
            class: class.clone(),
            permission: word(permission)?,
        })
    });
    Some(Heard {
        policy: from.clone(),
        allowed: field(rest, "permissive").as_deref() == Some("1"),
        needs: needs.collect::<Option<_>>()?,
    })
}

/// The type of a context: `user:role:type:level`.
pub(super) fn type_of(context: &str) -> Option<String> {
    word(context.split(':').nth(2)?)
}

/// The value of the first field of this name.
fn field(text: &str, key: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('=')?;
        let name = before.rsplit(' ').next()?;
        let quoted = after.strip_prefix('"');
        let (value, next) = if let Some(quoted) = quoted {
            quoted.split_once('"')?
        } else {
            after.split_once(' ').unwrap_or((after, ""))
        };
        if name == key {
            let chosen = matches!(key, "name" | "profile");
            return if chosen && quoted.is_none() {
                hex(value.trim_end())
            } else {
                Some(value.trim_end().to_owned())
            };
        }
        rest = next;
    }
}

fn hex(digits: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    for pair in digits.as_bytes().chunks(2) {
        let pair = str::from_utf8(pair).ok().filter(|it| it.len() == 2)?;
        bytes.push(u8::from_str_radix(pair, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(record: &str) -> Option<(String, bool, Vec<String>)> {
        let heard = read(record.as_bytes())?;
        let lines = heard.needs.iter().filter_map(Need::line).collect();
        Some((heard.policy, heard.allowed, lines))
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "it is compared with what was read"
    )]
    fn said(policy: &str, allowed: bool, line: &str) -> Option<(String, bool, Vec<String>)> {
        let lines = if line.is_empty() {
            vec![]
        } else {
            vec![line.to_owned()]
        };
        Some((policy.to_owned(), allowed, lines))
    }

    #[test]
    fn what_apparmor_would_have_refused_is_read() {
        let head = "audit(1700000000.123:45): apparmor=\"ALLOWED\"";
        for (rest, line) in [
            (
                "operation=\"open\" profile=\"stockade.cam\" name=\"/etc/hosts\" pid=1 comm=\"cam\" requested_mask=\"r\" denied_mask=\"r\" fsuid=0 ouid=0",
                "/etc/hosts r,",
            ),
            (
                "operation=\"mknod\" profile=\"stockade.cam\" name=2F7661722F61206222 pid=1 comm=63 requested_mask=\"c\" denied_mask=\"c\"",
                "\"/var/a b\\\"\" w,",
            ),
            (
                "operation=\"capable\" profile=\"stockade.cam\" pid=1 comm=\"cam\" capability=12  capname=\"net_admin\"",
                "capability net_admin,",
            ),
            (
                "operation=\"create\" profile=\"stockade.cam\" pid=1 comm=\"cam\" family=\"inet\" sock_type=\"stream\" protocol=6 requested_mask=\"create\" denied_mask=\"create\"",
                "network inet stream,",
            ),
            (
                "operation=\"exec\" profile=\"stockade.cam//null-/bin/sh\" name=\"/bin/ls\" pid=1 comm=\"sh\" requested_mask=\"x\" denied_mask=\"x\" fsuid=0 ouid=0 target=\"stockade.cam//null-/bin/sh//null-/bin/ls\"",
                "/bin/ls mrix,",
            ),
            (
                "operation=\"mount\" profile=\"stockade.cam\" name=\"/mnt/\" pid=1 comm=\"cam\" fstype=\"tmpfs\" srcname=\"x\"",
                "",
            ),
            (
                "operation=\"ptrace\" profile=\"stockade.cam\" pid=1 comm=\"cam\" requested_mask=\"read\" denied_mask=\"read\" peer=\"unconfined\"",
                "",
            ),
        ] {
            assert_eq!(
                lines(&format!("{head} {rest}")),
                said("stockade.cam", true, line),
                "{rest}"
            );
        }
        assert_eq!(
            lines("audit(1:2): apparmor=\"STATUS\" operation=\"profile_load\" name=\"x\""),
            None
        );
    }

    #[test]
    fn a_program_can_not_forge_a_field() {
        // Its name comes in digits if there is a quote or a blank in it.
        let record = "apparmor=\"DENIED\" operation=\"open\" profile=\"stockade.cam\" name=\"/a\" pid=1 comm=\"name=/etc/shadow\" requested_mask=\"r\" denied_mask=\"r\"";
        assert_eq!(lines(record), said("stockade.cam", false, "/a r,"));
        let record = "apparmor=\"DENIED\" operation=\"open\" profile=\"stockade.cam\" comm=\"name=\" name=\"/a\" denied_mask=\"r\"";
        assert_eq!(lines(record), said("stockade.cam", false, "/a r,"));
    }

    #[test]
    fn what_selinux_would_have_refused_is_read() {
        let record = "audit(1:2): avc:  denied  { read open } for  pid=1 comm=\"cam\" path=\"/x y\" dev=\"vda\" ino=7 scontext=system_u:system_r:stockade_cam_t:s0 tcontext=u:object_r:etc_t:s0 tclass=file permissive=1";
        let heard = read(record.as_bytes()).expect("a record");
        let need = |permission: &str| Need::Allow {
            to: "etc_t".to_owned(),
            class: "file".to_owned(),
            permission: permission.to_owned(),
        };
        assert_eq!(
            (heard.policy.as_str(), heard.allowed),
            ("stockade_cam_t", true)
        );
        assert_eq!(heard.needs, [need("read"), need("open")]);
        let learnt = |what: &str, to: &str, class: &str| {
            let record = format!(
                "avc:  denied  {{ {what} }} for  pid=1 scontext=u:r:stockade_cam_t:s0 tcontext=u:r:{to}:s0 tclass={class} permissive=1"
            );
            read(record.as_bytes()).expect("a record").needs.len()
        };
        for (what, to, class, count) in [
            ("ptrace", "init_t", "process", 0),
            ("sigkill", "init_t", "process", 0),
            ("fork signal", "stockade_cam_t", "process", 2),
            ("mount getattr", "fs_t", "filesystem", 1),
            ("search mounton", "etc_t", "dir", 1),
            ("load_policy", "security_t", "security", 0),
        ] {
            assert_eq!(learnt(what, to, class), count, "{what} {class}");
        }
        assert_eq!(read(b"avc:  granted  { load_policy } for scontext=a:b:c_t tcontext=a:b:c_t tclass=security"), None);
    }
}
