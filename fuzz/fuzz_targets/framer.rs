//! Framer, message views and startup packets on arbitrary bytes. The first byte chooses the stage of the connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omendb::wire::encode::Encoder;
use omendb::wire::framer::{Cut, cut, cut_startup};
use omendb::wire::message::{Frontend, decode};
use omendb::wire::startup::{self, StartupPacket};

/// PostgreSQL's MAX_STARTUP_PACKET_LENGTH.
const STARTUP_BYTES_MAX: usize = 10_000;

/// A small limit, so that inputs of a fuzzer's size reach it.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

fn startup_phase(mut stream: &[u8]) {
    while let Ok(Cut::Whole(body)) = cut_startup(stream, STARTUP_BYTES_MAX) {
        if let Ok(StartupPacket::Startup(request)) = startup::decode(body) {
            assert!(!request.user.is_empty() && !request.database.is_empty());
            request.negotiate(&mut Encoder::default());
        }
        stream = &stream[body.len() + 4..];
    }
}

fn conversation(mut stream: &[u8]) {
    while let Ok(Cut::Whole(frame)) = cut(stream, MESSAGE_BYTES_MAX) {
        match decode(frame) {
            Ok(Frontend::Bind(bind)) => {
                let params = bind.params.iter();
                assert_eq!(params.len(), bind.params.len());
                let bytes: usize = params.flatten().map(<[u8]>::len).sum();
                assert!(bytes <= frame.body.len());
                assert!(bind.param_formats.len() <= 1 || bind.param_formats.len() == bind.params.len());
                bind.result_formats.iter().for_each(drop);
            }
            Ok(Frontend::Parse(parse)) => assert_eq!(parse.types.iter().count(), parse.types.len()),
            _ => {}
        }
        stream = &stream[frame.total_bytes()..];
    }
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((stage, stream)) if stage % 2 == 0 => startup_phase(stream),
        Some((_, stream)) => conversation(stream),
        None => {}
    }
});
