//! The command line.

use libp2p::{Multiaddr, StreamProtocol, kad::Mode};

use crate::Result;

pub struct Options {
    pub listen: Vec<Multiaddr>,
    pub key_type: String,
    pub seed: Option<u64>,
    pub kad_protocol: StreamProtocol,
    pub mode: Mode,
}

impl Options {
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut listen = Vec::new();
        let mut key_type = "ed25519".to_owned();
        let mut seed = None;
        let mut prefix = "/fastmarket".to_owned();
        let mut mode = Mode::Server;
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} takes a value"))?;
            match name.as_str() {
                "--listen" => listen.push(value.parse()?),
                "--key-type" => key_type = value,
                "--seed" => seed = Some(value.parse()?),
                "--kad-prefix" => prefix = value,
                "--mode" if value == "server" => mode = Mode::Server,
                "--mode" if value == "client" => mode = Mode::Client,
                // The library never negotiates the muxer inside the Noise handshake.
                "--early-muxer" => {}
                _ => return Err(format!("unknown option {name} {value}").into()),
            }
        }
        Ok(Self {
            listen,
            key_type,
            seed,
            kad_protocol: StreamProtocol::try_from_owned(format!("{prefix}/kad/1.0.0"))?,
            mode,
        })
    }
}
