//! A client of the OrcaNet market service as the Rust programs were, with the Go programs' deadline of one second.

mod market;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use market::{CheckHoldersRequest, MarketClient, RegisterFileRequest, User};
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

const DEADLINE: Duration = Duration::from_secs(1);
const USAGE: &str = "\
usage: orcanet-rust --server HOST:PORT register --id TEXT [--name N] [--ip IP] [--port P] [--price N] HASH
       orcanet-rust --server HOST:PORT register --no-user HASH
       orcanet-rust --server HOST:PORT check HASH";
const FLAGS: [&str; 6] = ["--server", "--id", "--name", "--ip", "--port", "--price"];

enum Call {
    Register(RegisterFileRequest),
    Check(CheckHoldersRequest),
}

fn main() -> ExitCode {
    let (endpoint, call) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime without threads of its own");
    println!("{}", runtime.block_on(timed(endpoint, call)));
    ExitCode::SUCCESS
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<(Endpoint, Call), String> {
    let Arguments {
        words,
        flags,
        no_user,
    } = sort(arguments)?;
    let text =
        |name: &str, otherwise: &str| flags.get(name).map_or(otherwise, String::as_str).to_owned();
    let server = text("--server", "127.0.0.1:50051");
    let endpoint =
        Endpoint::from_shared(format!("http://{server}")).map_err(|error| error.to_string())?;
    let [command, hash] = words.as_slice() else {
        return Err("wanted: a command and a HASH".to_owned());
    };
    let file_hash = hash.clone();
    let call = match command.as_str() {
        "check" => Call::Check(CheckHoldersRequest { file_hash }),
        "register" => {
            let user = User {
                id: text("--id", ""),
                name: text("--name", ""),
                ip: text("--ip", "127.0.0.1"),
                port: text("--port", "9000")
                    .parse()
                    .map_err(|error| format!("--port: {error}"))?,
                price: text("--price", "0")
                    .parse()
                    .map_err(|error| format!("--price: {error}"))?,
            };
            let user = (!no_user).then_some(user);
            Call::Register(RegisterFileRequest { user, file_hash })
        }
        other => return Err(format!("unknown command {other:?}")),
    };
    Ok((endpoint, call))
}

#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    flags: HashMap<String, String>,
    no_user: bool,
}

fn sort(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut sorted = Arguments::default();
    while let Some(argument) = arguments.next() {
        if argument == "--no-user" {
            sorted.no_user = true;
        } else if FLAGS.contains(&argument.as_str()) {
            let value = arguments
                .next()
                .ok_or(format!("{argument} needs a value"))?;
            sorted.flags.insert(argument, value);
        } else if argument.starts_with("--") {
            return Err(format!("unknown flag {argument}"));
        } else {
            sorted.words.push(argument);
        }
    }
    Ok(sorted)
}

/// The one line on stdout; `ms` is what the call took, connecting included.
async fn timed(endpoint: Endpoint, call: Call) -> Value {
    let start = Instant::now();
    let told = tokio::time::timeout(DEADLINE, told(endpoint, call))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within a second")));
    let mut line = told.unwrap_or_else(
        |status| json!({"ok": false, "code": name(status.code()), "message": status.message()}),
    );
    line["ms"] = json!(start.elapsed().as_micros() as f64 / 1000.0);
    line
}

async fn told(endpoint: Endpoint, call: Call) -> Result<Value, Status> {
    let mut client = MarketClient::new(endpoint.connect_lazy());
    match call {
        Call::Register(request) => {
            client.register_file(within(request)).await?;
            Ok(json!({"ok": true}))
        }
        Call::Check(request) => {
            let response = client.check_holders(within(request)).await?;
            let holders: Vec<Value> = response.holders.iter().map(shown).collect();
            Ok(json!({"ok": true, "holders": holders}))
        }
    }
}

/// The server is told of the deadline, as Go's library tells it.
fn within<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn shown(user: &User) -> Value {
    let id_hex: String = user.id.bytes().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "id": user.id, "id_hex": id_hex, "name": user.name,
        "ip": user.ip, "port": user.port, "price": user.price,
    })
}

/// A code as the gRPC specification spells it: InvalidArgument is INVALID_ARGUMENT.
fn name(code: Code) -> String {
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
