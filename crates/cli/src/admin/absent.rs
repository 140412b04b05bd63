//! Why no gateway answers at its socket, and what to do about it.

use std::io;
use std::path::Path;

/// Where `stockade up --demo` keeps its data.
const DEMO: &str = "stockade-demo";

/// For a person: what is so on this directory, and the next step.
pub(super) fn told(data: &Path, socket: &Path, why: &io::Error) -> String {
    let (socket, shown) = (socket.display(), data.display());
    let next = || {
        let demo = data.with_file_name(DEMO);
        if demo != data && demo.join("admin.sock").exists() {
            format!("the demo is beside it: --data {}", demo.display())
        } else {
            format!("start it with `stockade up --data {shown}`, or name its directory with --data")
        }
    };
    let what = match why.kind() {
        io::ErrorKind::NotFound if !data.exists() => {
            format!("there is no directory {shown}; {}", next())
        }
        io::ErrorKind::NotFound => format!("none runs on {shown}; {}", next()),
        io::ErrorKind::ConnectionRefused => {
            format!("it runs no more; {}", next())
        }
        io::ErrorKind::PermissionDenied => {
            "it is another user's: run this as the gateway's user, or with a token (--remote URL --token-file FILE)".to_owned()
        }
        _ => format!("{why}; {}", next()),
    };
    format!("no gateway answers at {socket}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_gateway_is_told_why_and_what_next() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("stockade-data");
        let socket = data.join("admin.sock");
        let said = |why: io::ErrorKind| {
            told(&data, &socket, &why.into()).replace(&home.path().display().to_string(), "~")
        };
        let mut all = vec![said(io::ErrorKind::NotFound)];
        fs_err::create_dir(&data).unwrap();
        all.push(said(io::ErrorKind::NotFound));
        all.push(said(io::ErrorKind::ConnectionRefused));
        all.push(said(io::ErrorKind::PermissionDenied));
        fs_err::create_dir(home.path().join(DEMO)).unwrap();
        fs_err::write(home.path().join(DEMO).join("admin.sock"), "").unwrap();
        all.push(said(io::ErrorKind::NotFound));
        insta::assert_snapshot!(all.join("\n"), @r"
        no gateway answers at ~/stockade-data/admin.sock: there is no directory ~/stockade-data; start it with `stockade up --data ~/stockade-data`, or name its directory with --data
        no gateway answers at ~/stockade-data/admin.sock: none runs on ~/stockade-data; start it with `stockade up --data ~/stockade-data`, or name its directory with --data
        no gateway answers at ~/stockade-data/admin.sock: it runs no more; start it with `stockade up --data ~/stockade-data`, or name its directory with --data
        no gateway answers at ~/stockade-data/admin.sock: it is another user's: run this as the gateway's user, or with a token (--remote URL --token-file FILE)
        no gateway answers at ~/stockade-data/admin.sock: none runs on ~/stockade-data; the demo is beside it: --data ~/stockade-demo
        ");
    }
}
