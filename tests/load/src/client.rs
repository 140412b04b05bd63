//! One connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::Device;
use stockade_load::wire::{self, Five};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Devices that share a source address: with fifty connections each, they stay far below the 28,000 ports the kernel
/// hands out for one, whose search slows down long before they run out.
const PER_ADDRESS: usize = 40;

/// A connected client.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) inbox: Vec<u8>,
    pub(crate) five: Five,
    /// QoS 1 messages the broker takes before it acknowledges.
    pub(crate) window: usize,
}

/// A device keeps to one address of 127.0.0.0/8: the same key at two addresses is a cloned key to who looks closely.
fn source(device: usize) -> Ipv4Addr {
    let block = u16::try_from(device / PER_ADDRESS % 60_000).unwrap_or(0);
    let [high, low] = block.to_be_bytes();
    Ipv4Addr::new(127, 1 + high, low, 1)
}

impl Client {
    /// TCP, TLS, CONNECT; done when the CONNACK is in.
    pub(crate) async fn connect(
        device: &Device,
        client_id: &str,
        port: u16,
        five: Five,
    ) -> Result<Self> {
        timeout(
            PATIENCE,
            Self::connect_unhurried(device, client_id, port, five),
        )
        .await
        .context("the broker does not answer")?
    }

    async fn connect_unhurried(
        device: &Device,
        client_id: &str,
        port: u16,
        five: Five,
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source(device.number).into(), 0))?;
        let broker = IpAddr::from([127, 0, 0, 1]);
        let tcp = socket
            .connect(SocketAddr::new(broker, port))
            .await
            .context("cannot connect")?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(std::sync::Arc::clone(&device.tls));
        let stream = tls
            .connect(ServerName::IpAddress(broker.into()), tcp)
            .await
            .context("TLS")?;
        let mut client = Self {
            stream,
            inbox: Vec::new(),
            five,
            window: 0,
        };
        let mut hello = Vec::new();
        wire::connect(five, client_id, &mut hello);
        client.send(&hello).await?;
        let body = client.expect(wire::CONNACK).await?;
        client.window = wire::granted(five, &body)?;
        Ok(client)
    }

    /// Subscribes and waits for the answer.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let mut packet = Vec::new();
        wire::subscribe(self.five, filter, qos, &mut packet);
        self.send(&packet).await?;
        let body = timeout(PATIENCE, self.expect(wire::SUBACK))
            .await
            .context("no SUBACK")??;
        match body.last() {
            Some(code) if *code <= 2 => Ok(()),
            code => bail!("the broker refused the subscription to {filter}: {code:?}"),
        }
    }

    /// Writes and flushes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads until the next packet, which must be of this type.
    async fn expect(&mut self, kind: u8) -> Result<Vec<u8>> {
        loop {
            if let Some((first, body, taken)) = wire::next(&self.inbox)? {
                let body = body.to_vec();
                self.inbox.drain(..taken);
                if first >> 4 == kind {
                    return Ok(body);
                }
                bail!(
                    "packet type {} came where {kind} was due: {body:02x?}",
                    first >> 4
                );
            }
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
    }

    /// Closes at once, without leaving the port in `TIME_WAIT`, which would starve a long run of ports.
    pub(crate) fn abort(self) -> Result<()> {
        let (tcp, _) = self.stream.into_inner();
        tcp.set_zero_linger()?;
        Ok(())
    }
}
