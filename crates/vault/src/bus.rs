//! The bus as the vault has it: nothing of devices is on disk in clear, and no telemetry that was not treated.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use stockade_store::telemetry::Record;
use stockade_store::{Bus, BusError, BusStatus, Seq, Store, Stream};
use tokio::sync::watch;

use crate::keys::{KeyError, Keys};
use crate::prepare::{Preparer, is_prepared};
use crate::seal::{OpenError, Opener, Sealer, is_sealed};
use crate::vault::{Profiles, VaultError};

/// A [`Bus`] that seals each record on its way to another.
///
/// Telemetry is treated ([`Bus::prepare`]), sealed under the key of the epoch, and read as it is: the vault opens it. The
/// other streams are sealed under keys that live as long as the vault, and opened when they are read.
#[derive(Debug)]
pub struct SealedBus {
    inner: Arc<dyn Bus>,
    keys: Arc<Keys>,
    preparer: Preparer,
    /// One a stream but telemetry.
    own: Vec<Own>,
    telemetry: Mutex<Option<Arc<Sealer>>>,
}

#[derive(Debug)]
struct Own {
    stream: Stream,
    key: hmac::Key,
    sealer: Sealer,
    opener: Opener,
}

impl SealedBus {
    /// Seals what goes to `inner`, which must have no record in clear.
    pub fn open(
        inner: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        keys: Arc<Keys>,
        profiles: Arc<dyn Profiles>,
    ) -> Result<Self, VaultError> {
        let mut own = Vec::new();
        for stream in Stream::ALL {
            if let Some((seq, record)) = inner.read(stream, Seq::ZERO, 1)?.first()
                && !is_sealed(record)
            {
                return Err(closed(*seq, OpenError::InClear).into());
            }
            if stream != Stream::Telemetry {
                let key = keys.domain_key(&[b"bus", &[stream.id()]])?;
                own.push(Own {
                    stream,
                    sealer: Sealer::new(&key, 0)?,
                    key,
                    opener: Opener::default(),
                });
            }
        }
        let preparer = Preparer::new(store, Arc::clone(&keys), profiles);
        Ok(Self {
            inner,
            keys,
            preparer,
            own,
            telemetry: Mutex::default(),
        })
    }

    fn own(&self, stream: Stream) -> Result<&Own, BusError> {
        let found = self.own.iter().find(|own| own.stream == stream);
        found.ok_or_else(|| refusing(&"telemetry goes by its epoch"))
    }

    /// The sealer of this epoch's telemetry.
    fn telemetry(&self, epoch: u32, key: &[u8; 32]) -> Result<Arc<Sealer>, KeyError> {
        let mut sealer = self
            .telemetry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(sealer) = sealer.as_ref().filter(|sealer| sealer.epoch() == epoch) {
            return Ok(Arc::clone(sealer));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Ok(Arc::clone(
            sealer.insert(Arc::new(Sealer::new(&key, epoch)?)),
        ))
    }
}

impl Bus for SealedBus {
    fn append_all(&self, records: &[(Stream, &[u8])]) -> Result<Seq, BusError> {
        let append = |telemetry: Option<&Sealer>| {
            let seal = |(stream, record): &(Stream, &[u8])| {
                let sealed = match (stream, telemetry) {
                    (Stream::Telemetry, Some(sealer)) if is_prepared(record) => sealer.seal(record),
                    (Stream::Telemetry, _) => {
                        return Err(refusing(&"telemetry that was not treated is not taken"));
                    }
                    _ => self.own(*stream)?.sealer.seal(record),
                };
                sealed.map_err(|error| refusing(&error))
            };
            // Nearly always it is one.
            if let [one] = records {
                return self.inner.append_all(&[(one.0, &seal(one)?)]);
            }
            let sealed: Vec<_> = records.iter().map(seal).collect::<Result<_, _>>()?;
            let streams = records.iter().map(|(stream, _)| *stream);
            let sealed: Vec<_> = streams.zip(sealed.iter().map(Vec::as_slice)).collect();
            self.inner.append_all(&sealed)
        };
        if records
            .iter()
            .any(|(stream, _)| *stream == Stream::Telemetry)
        {
            self.keys.on_bus(|epoch, key| {
                let sealer = self
                    .telemetry(epoch, key)
                    .map_err(|error| refusing(&error))?;
                append(Some(&sealer))
            })
        } else {
            append(None)
        }
    }

    fn prepare(&self, record: &Record<'_>) -> Result<Vec<u8>, BusError> {
        match self.preparer.prepare(record) {
            Ok(mut prepared) => Ok(std::mem::take(&mut *prepared)),
            Err(error) => Err(refusing(&error)),
        }
    }

    fn durable(&self) -> watch::Receiver<Seq> {
        self.inner.durable()
    }

    fn status(&self) -> BusStatus {
        self.inner.status()
    }

    fn read(
        &self,
        stream: Stream,
        after: Seq,
        max_records: usize,
    ) -> Result<Vec<(Seq, Vec<u8>)>, BusError> {
        let records = self.inner.read(stream, after, max_records)?;
        if stream == Stream::Telemetry {
            return Ok(records);
        }
        let own = self.own(stream)?;
        let open = |(seq, record): (Seq, Vec<u8>)| {
            let opened = own.opener.open(&record, |_| Ok(Some(own.key.clone())));
            match opened.map_err(|error| refusing(&error))? {
                Ok((_, clear)) => Ok((seq, clear.to_vec())),
                Err(error) => Err(closed(seq, error)),
            }
        };
        records.into_iter().map(open).collect()
    }

    fn trim(&self, stream: Stream, up_to: Seq) -> Result<(), BusError> {
        self.inner.trim(stream, up_to)
    }

    fn last(&self) -> Seq {
        self.inner.last()
    }

    fn part(&self) {
        self.inner.part();
    }

    fn first(&self) -> Seq {
        self.inner.first()
    }
}

fn refusing(why: &dyn std::fmt::Display) -> BusError {
    BusError::Refusing {
        reason: format!("what devices send cannot be sealed: {why}"),
    }
}

fn closed(seq: Seq, error: OpenError) -> BusError {
    BusError::Sealed {
        seq,
        detail: error.detail(),
    }
}
