//! A client that writes messages and prints what it gets.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::{block_on, or, poll_once, yield_now};

pub use super::messages::*;
use crate::auth::hba::{Hba, Origin};
use crate::session::interrupt::SessionRegistry;
use crate::session::pool::Pool;
use crate::session::testing::Fake;
use crate::wire::authentication::Gate;
use crate::wire::connection::{Admission, Exit, Services, serve};
use crate::wire::door::{Entrance, SlotsLimits};
use crate::wire::stream::{ByteStream, MemoryStream, memory_stream};

/// What all connections of a test share.
pub struct Server {
    pub fake: Fake,
    pub services: Services,
    pub pool: Option<Rc<Pool>>,
}

impl Default for Server {
    fn default() -> Self {
        let services = Services {
            registry: Arc::new(SessionRegistry::default()),
            startup_bytes_max: 10_000,
            message_bytes_max: 1 << 20,
            startup_timeout: None,
            gate: Arc::new(Gate::new(Hba::trusting(), [0; 32], 1)),
            hop: false,
            door: Arc::new(Entrance::new(100, SlotsLimits { slots: 100, reserved: 3, queued: 0 }, None)),
            linger: None,
            idle_timeout: None,
            check_interval: None,
            tls: None,
        };
        Self { fake: Fake::default(), services, pool: None }
    }
}

/// A client's end of a connection, with the server's task that it drives while it waits.
pub struct Conversation<'a> {
    stream: MemoryStream,
    task: Pin<Box<dyn Future<Output = Exit<MemoryStream, Fake>> + 'a>>,
    exit: Rc<Cell<Option<Exit<MemoryStream, Fake>>>>,
    received: Vec<u8>,
}

impl Server {
    /// A connection that has said nothing yet.
    pub fn connect(&self) -> Conversation<'_> {
        self.connect_with(Admission::From(Origin::Local))
    }

    pub fn connect_with(&self, admission: Admission) -> Conversation<'_> {
        let (stream, served) = memory_stream();
        let task = Box::pin(serve(served, self.fake.clone(), &self.services, admission, self.pool.clone()));
        Conversation { stream, task, exit: Rc::default(), received: Vec::new() }
    }

    /// A session that is ready for its first query.
    pub fn session(&self) -> Conversation<'_> {
        let mut conversation = self.connect();
        conversation.send(&startup("user\0ann\0database\0shop\0"));
        let greeting = conversation.talk();
        assert!(greeting.ends_with("Z I"), "{greeting}");
        conversation
    }
}

impl Conversation<'_> {
    /// Sends bytes, letting the server work where it has to make room.
    pub fn send(&mut self, bytes: &[u8]) {
        let Self { stream, task, exit, .. } = self;
        block_on(or(
            async {
                // A server that is gone reads no more, which is what some tests are about.
                let _gone = stream.write_all(bytes).await;
            },
            async {
                if let Some(ended) = poll_until_done(task).await {
                    exit.set(Some(ended));
                }
                std::future::pending().await
            },
        ));
    }

    /// Lets the server work until it waits for the client, and prints what it has said.
    pub fn talk(&mut self) -> String {
        self.collect();
        let messages = print(&mut self.received);
        messages.join("\n")
    }

    /// Raw bytes that the server has said.
    pub fn raw(&mut self) -> Vec<u8> {
        self.collect();
        std::mem::take(&mut self.received)
    }

    fn collect(&mut self) {
        block_on(async {
            let mut quiet = 0;
            while quiet < 3 {
                let ended = self.peek_exit();
                if !ended && let Some(exit) = poll_once(self.task.as_mut()).await {
                    self.exit.set(Some(exit));
                }
                let mut chunk = vec![0; 1 << 16];
                match poll_once(self.stream.read(&mut chunk)).await {
                    Some(Ok(count)) if count > 0 => {
                        self.received.extend_from_slice(&chunk[..count]);
                        quiet = 0;
                    }
                    _ => quiet += 1,
                }
                yield_now().await;
            }
        });
    }

    fn peek_exit(&self) -> bool {
        let exit = self.exit.take();
        let ended = exit.is_some();
        self.exit.set(exit);
        ended
    }

    /// Whether the server has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.peek_exit()
    }

    /// How the connection ended.
    pub fn exit(&self) -> Option<Exit<MemoryStream, Fake>> {
        self.exit.take()
    }

    /// A simple query and its answer.
    pub fn query(&mut self, text: &str) -> String {
        self.send(&query(text));
        self.talk()
    }

    /// Several messages at once and the answer.
    pub fn exchange(&mut self, messages: &[Vec<u8>]) -> String {
        self.send(&messages.concat());
        self.talk()
    }
}

async fn poll_until_done(
    task: &mut Pin<Box<dyn Future<Output = Exit<MemoryStream, Fake>> + '_>>,
) -> Option<Exit<MemoryStream, Fake>> {
    Some(task.as_mut().await)
}

pub fn startup(pairs: &str) -> Vec<u8> {
    packet(3 << 16, format!("{pairs}\0").as_bytes())
}

/// Prints complete messages and takes them out: `T a:23 b:25`, `D 1|x|~`, `C SELECT 1`, `E 42601 message`, `Z I`.
pub fn print(received: &mut Vec<u8>) -> Vec<String> {
    let mut printed = Vec::new();
    while received.len() >= 5 {
        if received[0] == b'N' && !received[1..5].starts_with(b"\0\0") {
            received.remove(0);
            printed.push("N".to_owned());
            continue;
        }
        let length = u32::from_be_bytes(received[1..5].try_into().expect("four bytes")) as usize;
        if received.len() < length + 1 {
            break;
        }
        let message: Vec<u8> = received.drain(..=length).collect();
        printed.push(print_one(message[0], &message[5..]));
    }
    printed
}

fn print_one(tag: u8, body: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tag_name = char::from(tag);
    match tag {
        b'T' => {
            let mut rest = &body[2..];
            let mut columns = Vec::new();
            while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                let oid = u32::from_be_bytes(rest[end + 7..end + 11].try_into().expect("four bytes"));
                let format = if rest[end + 18] == 1 { "b" } else { "" };
                columns.push(format!("{}:{oid}{format}", text(&rest[..end])));
                rest = &rest[end + 19..];
            }
            format!("T {}", columns.join(" "))
        }
        b'D' => {
            let mut rest = &body[2..];
            let mut values = Vec::new();
            while !rest.is_empty() {
                let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
                rest = &rest[4..];
                if length < 0 {
                    values.push("~".to_owned());
                } else {
                    let (value, after) = rest.split_at(length as usize);
                    let printable = value.iter().all(|byte| (32..127).contains(byte));
                    values.push(if printable { text(value) } else { format!("{value:02x?}") });
                    rest = after;
                }
            }
            format!("D {}", values.join("|"))
        }
        b'E' | b'N' => {
            let fields: Vec<String> = body.split(|byte| *byte == 0).filter(|field| !field.is_empty()).map(text).collect();
            let field = |code: char| fields.iter().find_map(|field| field.strip_prefix(code)).unwrap_or_default().to_owned();
            let severity = match field('V').as_str() {
                "ERROR" => String::new(),
                other => format!("{other} "),
            };
            format!("{tag_name} {severity}{} {}", field('C'), field('M'))
        }
        b'S' => {
            let pair = text(body);
            format!("S {}", pair.strip_suffix('\0').unwrap_or(&pair).replace('\0', "="))
        }
        b't' => {
            let oids = body[2..].chunks(4).map(|oid| u32::from_be_bytes(oid.try_into().expect("four bytes")).to_string());
            format!("t {}", oids.collect::<Vec<_>>().join(" "))
        }
        b'C' | b'd' => format!("{tag_name} {}", text(body).trim_end_matches(['\0', '\n'])),
        b'Z' => format!("Z {}", text(body)),
        _ => tag_name.to_string(),
    }
}

/// Compares a transcript with what is expected, line by line.
#[track_caller]
pub fn expect(found: &str, expected: &[&str]) {
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, expected);
}
