//! A rust-libp2p node driven over stdin and stdout, as interop/README.md describes.

mod driver;
mod keys;
mod ops;
mod options;
mod streams;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};

use crate::{driver::Node, options::Options};

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

/// One line of stdin; every op takes the fields it needs. Bytes are base64.
#[derive(Deserialize)]
#[serde(default)]
struct Command {
    id: Value,
    op: String,
    timeout_s: f64,
    addr: String,
    addrs: Vec<String>,
    cid: String,
    count: usize,
    data: String,
    half_close: bool,
    key: String,
    peer: String,
    protocol: String,
    quorum: usize,
    size: u64,
    streams: u64,
    value: String,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            id: Value::Null,
            op: String::new(),
            timeout_s: 20.0,
            addr: String::new(),
            addrs: Vec::new(),
            cid: String::new(),
            count: 0,
            data: String::new(),
            half_close: false,
            key: String::new(),
            peer: String::new(),
            protocol: String::new(),
            quorum: 0,
            size: 0,
            streams: 1,
            value: String::new(),
        }
    }
}

#[derive(Default, Serialize)]
struct Answer {
    id: Value,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unsupported: bool,
}

impl Answer {
    fn failed(id: Value, error: impl ToString) -> Self {
        let error = Some(error.to_string().replace('\n', "; "));
        Self {
            id,
            error,
            ..Self::default()
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::from_args(std::env::args().skip(1))?;
    let (node, listen) = driver::start(&options).await?;
    println!(
        "{}",
        json!({
            "ready": true,
            "peer_id": node.id.to_string(),
            "listen": listen,
            "implementation": "rust-libp2p",
            "version": library_version(),
            "can": ["ed25519", "rsa", "ecdsa", "secp256k1", "seed"],
        })
    );

    let node = Arc::new(node);
    let mut running = JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        while running.try_join_next().is_some() {}
        if !line.trim().is_empty() {
            let node = node.clone();
            running.spawn(async move {
                let answer = answer(&node, &line).await;
                println!("{}", json!(answer));
            });
        }
    }
    running.join_all().await;
    Ok(())
}

async fn answer(node: &Node, line: &str) -> Answer {
    let command: Command = match serde_json::from_str(line) {
        Ok(command) => command,
        Err(e) => return Answer::failed(Value::Null, format!("bad command: {e}")),
    };
    let id = command.id.clone();
    let Ok(timeout) = Duration::try_from_secs_f64(command.timeout_s) else {
        return Answer::failed(id, "bad timeout_s");
    };
    match tokio::time::timeout(timeout, ops::run(node, &command)).await {
        Err(_) => Answer::failed(id, format!("timeout after {timeout:?}")),
        Ok(Err(e)) => Answer::failed(id, e),
        Ok(Ok(None)) => Answer {
            unsupported: true,
            ..Answer::failed(id, "unsupported")
        },
        Ok(Ok(result)) => Answer {
            id,
            ok: true,
            result,
            ..Answer::default()
        },
    }
}

/// The library does not tell its version; the lock file that built this program does.
pub fn library_version() -> &'static str {
    include_str!("../Cargo.lock")
        .split_once("name = \"libp2p\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("unknown", |(version, _)| version)
}
