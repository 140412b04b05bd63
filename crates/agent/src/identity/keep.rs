//! Keeps the certificates in date: asks [`Renewal`] what to do, and does it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hyper::StatusCode;
use rustls::Error;
use stockade_api::keys::Slot;
use tokio::net::lookup_host;
use tokio::sync::Notify;

use super::Identity;
use super::renewal::{Facts, Failure, Renewal, Step};
use crate::certificate::Certificate;
use crate::enrol::{self, EnrolError};
use crate::session::{Session, SessionError};
use crate::standing::Standing;

/// The keep alive of a session that only shows a certificate, in seconds.
const KEEP_ALIVE: u16 = 30;
/// Until the TPM is made known to a gateway that could not be asked.
const AGAIN: Duration = Duration::from_mins(1);
/// How long such a session may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the rest of the agent meets this.
#[derive(Debug)]
pub struct Around {
    /// Told from outside: renew now.
    pub renew: Arc<Notify>,
    /// Told from here: the certificate was renewed.
    pub changed: Arc<Notify>,
    /// The page's certificate.
    pub page: Arc<Certificate>,
    /// Where it is noted until when the device's certificate is valid.
    pub standing: Arc<Standing>,
}

impl Identity {
    /// Keeps the device's certificates in date, for as long as the process lives.
    pub async fn keep(self: Arc<Self>, around: Around) {
        let mut renewal = Renewal::default();
        let mut asked = false;
        self.show_page(&around.page);
        loop {
            around.standing.note(|it| it.certificate = self.until());
            let pause = match self.once(&mut renewal, &mut asked, &around).await {
                Ok(pause) => pause,
                Err(error) => {
                    crate::run::say(&format!("the certificate is not renewed yet: {error:#}"));
                    renewal.failed(failure(&error), jitter())
                }
            };
            if let Err(error) = self.page_in_date(&around.page).await {
                crate::run::say(&format!(
                    "the page has no certificate of the gateway's yet: {error:#}"
                ));
            }
            let pause = match self.introduce().await {
                Ok(()) => pause,
                Err(error) => {
                    crate::run::say(&format!("the gateway does not know the TPM yet: {error:#}"));
                    match failure(&error) {
                        Failure::Trouble => pause.min(AGAIN),
                        Failure::Refused => pause,
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = around.renew.notified() => asked = true,
            }
        }
    }

    /// One step; how long to wait before the next.
    async fn once(
        &self,
        renewal: &mut Renewal,
        asked: &mut bool,
        around: &Around,
    ) -> anyhow::Result<Duration> {
        let step = renewal.next(&self.facts(*asked)?);
        match step {
            Step::Rest(pause) => {
                renewal.rested();
                return Ok(pause);
            }
            Step::NeedCode => {
                crate::run::say(
                    "this device needs a new enrolment code: the gateway knows it no more (stockade device code ID)",
                );
                renewal.rested();
                return Ok(Duration::from_hours(1));
            }
            Step::Settle => self.settle(around)?,
            Step::Prove => {
                self.prove().await?;
                self.keys.promote()?;
                self.settle(around)?;
                *asked = false;
            }
            Step::Request(slot) => {
                let csr = self.keys.request(Slot::DeviceNext)?;
                let tls = self.client_as(Some(slot))?;
                let chain = enrol::certify(&self.est(), tls, "simplereenroll", &csr, None).await?;
                self.keep_chain(Slot::DeviceNext, &chain)?;
            }
            Step::Discard => {
                self.keys.destroy(Slot::DeviceNext)?;
                fs_err::remove_file(self.file(Slot::DeviceNext))?;
            }
        }
        renewal.done(step);
        Ok(Duration::ZERO)
    }

    /// Until when the certificate in use is valid, if there is one.
    fn until(&self) -> Option<SystemTime> {
        let held = self.certificate(Slot::Device).ok().flatten()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(held.not_after))
    }

    /// What is there now.
    fn facts(&self, asked: bool) -> anyhow::Result<Facts> {
        let current = self.certificate(Slot::Device)?;
        // A certificate of ours that has begun was given by a gateway whose clock is right.
        if let Some(current) = &current {
            self.clock.seen(current.not_before);
        }
        Ok(Facts {
            now: self.clock.now(),
            current,
            next: self.certificate(Slot::DeviceNext)?,
            key: self.keys.public(Slot::Device)?,
            next_key: self.keys.public(Slot::DeviceNext)?,
            asked,
        })
    }

    /// A session with the next certificate: only the gateway can say whether it is good.
    async fn prove(&self) -> anyhow::Result<()> {
        let tls = self.client_as(Some(Slot::DeviceNext))?;
        let (host, port) = (self.settings.gateway.as_str(), self.settings.mqtt_port);
        let name = enrol::Server {
            host: host.to_owned(),
            port,
        }
        .name()?;
        let mut last = None;
        for peer in lookup_host((host, port)).await? {
            let coming = Session::connect_to(
                peer,
                name.clone(),
                Arc::clone(&tls),
                &self.settings.device,
                KEEP_ALIVE,
            );
            match tokio::time::timeout(PATIENCE, coming).await {
                Ok(Ok(session)) => {
                    self.clock.seen(self.clock.now());
                    return Ok(session.disconnect().await?);
                }
                Ok(Err(error)) => last = Some(error.into()),
                Err(slow) => last = Some(slow.into()),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("`{host}` has no address")))
    }

    /// The next certificate becomes the one in use; its key is in place.
    fn settle(&self, around: &Around) -> anyhow::Result<()> {
        fs_err::rename(self.file(Slot::DeviceNext), self.file(Slot::Device))?;
        fs_err::File::open(self.places.agent_state())?.sync_all()?;
        around.changed.notify_one();
        Ok(())
    }

    /// The page's certificate, from the gateway's CA; its key stays, as nobody is a device by it.
    async fn page_in_date(&self, page: &Certificate) -> anyhow::Result<()> {
        let key = self.keys.public(Slot::Page)?;
        let held = self
            .certificate(Slot::Page)?
            .filter(|it| Some(&it.spki) == key.as_ref());
        if held.is_some_and(|held| self.clock.now() < held.renew_at()) {
            return Ok(());
        }
        let csr = self.keys.request(Slot::Page)?;
        let tls = self.client()?;
        let chain = enrol::certify(&self.est(), tls, "page/simpleenroll", &csr, None).await?;
        self.keep_chain(Slot::Page, &chain)
            .context("cannot keep the page's certificate")?;
        self.show_page(page);
        Ok(())
    }

    fn show_page(&self, page: &Certificate) {
        if let Ok(Some(certified)) = self.page() {
            page.give(certified);
        }
    }
}

/// Whether the gateway said no, or was not there to be asked.
fn failure(error: &anyhow::Error) -> Failure {
    let no =
        |status: StatusCode| status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED;
    // RFC 8446 §6.2: what a server says to a certificate that it does not take.
    let alert = |error: &Error| {
        use rustls::AlertDescription as Alert;
        let Error::AlertReceived(alert) = error else {
            return false;
        };
        let ours = [
            Alert::BadCertificate,
            Alert::CertificateExpired,
            Alert::CertificateRevoked,
            Alert::CertificateUnknown,
            Alert::UnknownCA,
            Alert::AccessDenied,
        ];
        ours.contains(alert)
    };
    let refused = error.chain().any(|cause| {
        let tls = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let tls = tls.and_then(|inner| inner.downcast_ref::<Error>());
        matches!(cause.downcast_ref(), Some(EnrolError::Refused { status, .. }) if no(*status))
            || matches!(cause.downcast_ref(), Some(SessionError::Refused(_)))
            || tls.is_some_and(alert)
    });
    if refused {
        Failure::Refused
    } else {
        Failure::Trouble
    }
}

fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness devices only try again at the same time.
    let _without = aws_lc_rs::rand::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use stockade_api::{Places, Settings};

    use super::*;

    #[tokio::test]
    async fn the_page_learns_until_when_the_certificate_is_valid_whoever_else_is_down() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        let settings = "gateway = \"127.0.0.1\"\ntrust-domain = \"x.example\"\ndevice = \"porch\"\nmodel = \"cam-2\"\n";
        let identity = Arc::new(Identity::new(&places, &Settings::parse(settings).unwrap()));
        let standing = Arc::new(Standing::default());
        fs_err::create_dir_all(places.agent_state()).unwrap();
        let around = || Around {
            renew: Arc::default(),
            changed: Arc::default(),
            page: Arc::new(
                Certificate::open(&places.agent_state(), &["porch".to_owned()]).unwrap(),
            ),
            standing: Arc::clone(&standing),
        };
        // Neither the key process nor the gateway is there.
        let keep = || {
            tokio::time::timeout(
                Duration::from_millis(500),
                Arc::clone(&identity).keep(around()),
            )
        };
        assert!(keep().await.is_err());
        assert_eq!(standing.noted().certificate, None);

        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(vec!["porch".to_owned()]).unwrap();
        about.not_after = rcgen::date_time_ymd(2027, 3, 1);
        let given = about.self_signed(&key).unwrap().der().clone();
        identity.keep_chain(Slot::Device, &[given]).unwrap();
        assert!(keep().await.is_err());
        let until = SystemTime::from(rcgen::date_time_ymd(2027, 3, 1));
        assert_eq!(standing.noted().certificate, Some(until));
    }
}
