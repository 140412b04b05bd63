//! A `PostgreSQL` server of a test's own: in a directory, on a socket in it.

use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where Debian keeps the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const OUTPUT: &str = "output";

/// A server that ends with the value.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    server: Option<Child>,
    databases: std::sync::atomic::AtomicU32,
}

impl Cluster {
    /// A new server in `dir`, an empty directory; `None`, and a line that says so, where `PostgreSQL` is not installed.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    pub fn start(dir: &Path) -> io::Result<Option<Self>> {
        if !Path::new(PROGRAMS).join("postgres").exists() {
            println!("skipped: PostgreSQL 15 is not installed (cargo xtask prepare)");
            return Ok(None);
        }
        if rustix::process::geteuid().is_root() {
            let user = fs_err::read_to_string("/etc/passwd")?;
            let number = user
                .lines()
                .find_map(|line| line.strip_prefix("postgres:x:")?.split(':').next())
                .and_then(|number| number.parse().ok());
            chown(dir, number, None)?;
        }
        let cluster = Self {
            dir: dir.to_owned(),
            server: None,
            databases: 0.into(),
        };
        let data = cluster.data();
        let made = cluster
            .program("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .output()?;
        checked("initdb", &made)?;
        let mut cluster = cluster;
        cluster.run()?;
        Ok(Some(cluster))
    }

    /// Where its configuration is.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What it wrote since it was last started.
    pub fn output(&self) -> io::Result<String> {
        fs_err::read_to_string(self.dir.join(OUTPUT))
    }

    /// Starts it, and waits until it answers.
    pub fn run(&mut self) -> io::Result<()> {
        for _ in 0..600 {
            let ended = match &mut self.server {
                Some(server) => server.try_wait()?.is_some(),
                None => true,
            };
            // After a crash it ends at once as long as a process of the one before is there.
            if ended {
                self.server = Some(self.spawn()?);
            }
            if self.sql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Err(io::Error::other(self.output()?))
    }

    fn spawn(&self) -> io::Result<Child> {
        let output = fs_err::File::create(self.dir.join(OUTPUT))?;
        self.program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output.into_parts().0)
            .spawn()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// The address of a new, empty database.
    pub fn fresh(&self) -> io::Result<String> {
        let number = self
            .databases
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.sql("postgres", &format!("CREATE DATABASE fresh{number}"))?;
        Ok(self.url(&format!("fresh{number}")))
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let host = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{database}")
    }

    /// What psql says of a statement.
    pub fn sql(&self, database: &str, statement: &str) -> io::Result<String> {
        let said = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .args(["-c", statement, "-h"])
            .arg(&self.dir)
            .output()?;
        checked("psql", &said)
    }

    /// One of its programs, as the user it runs as: it refuses root. It is killed if this process ends.
    fn program(&self, name: &str) -> Command {
        let path = Path::new(PROGRAMS).join(name);
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        }
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .current_dir(&self.dir)
            .env("LC_ALL", "C");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

fn checked(program: &str, output: &std::process::Output) -> io::Result<String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let told = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program}: {told}")))
    }
}
