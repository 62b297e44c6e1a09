//! Cutting a byte stream into protocol messages, before anything looks inside them.
//!
//! A frame is handed over only when all of its bytes are here and its length is one that its type may have, so that no decoder
//! behind it ever meets a short buffer (pgwire's would panic). Nothing is copied: a frame is a place in the input buffer.
//! Memory follows what has arrived, not what a length field announces.
//!
//! Source: PostgreSQL 15 documentation, chapter 55 "Frontend/Backend Protocol"; limits after its `pqcomm.h` and
//! `SocketBackend` in `postgres.c`.

use crate::error::{SqlError, SqlState};

/// The longest message of the types that carry names and numbers only (PostgreSQL's PQ_SMALL_MESSAGE_LIMIT).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// The longest message that any configuration can allow (PostgreSQL's PQ_LARGE_MESSAGE_LIMIT is one byte below 1 GiB).
pub const LARGE_MESSAGE_BYTES_MAX: usize = (1 << 30) - 1;

/// Bytes of a typed frame's header: type and length.
pub const HEADER_BYTES: usize = 5;

/// A complete typed message in the input buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole message.
    pub fn total_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

/// Why a stream cannot be followed any further: the connection ends with this as a FATAL error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A startup packet's length is impossible.
    StartupLength,
    /// A type byte that no frontend message has.
    UnknownType(u8),
    /// A length that the message type cannot have, or beyond the configured limit.
    Length(u8),
}

impl From<FrameError> for SqlError {
    fn from(error: FrameError) -> Self {
        let message = match error {
            FrameError::StartupLength => "invalid length of startup packet".to_owned(),
            FrameError::UnknownType(tag) => format!("invalid frontend message type {tag}"),
            FrameError::Length(_) => "invalid message length".to_owned(),
        };
        SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
    }
}

/// What the beginning of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<T> {
    /// A complete message.
    Whole(T),
    /// The beginning of one: so many bytes of it are needed in all (as far as is known yet).
    Partial(usize),
}

/// The body of the startup-phase packet at the beginning of `buffer` (what follows its length: a code and its payload);
/// `packet_bytes_max` limits it.
pub fn cut_startup(buffer: &[u8], packet_bytes_max: usize) -> Result<Cut<&[u8]>, FrameError> {
    let Some(length) = length_at(buffer, 0) else {
        return Ok(Cut::Partial(4));
    };
    if !(8..=packet_bytes_max).contains(&length) {
        return Err(FrameError::StartupLength);
    }
    Ok(if buffer.len() < length { Cut::Partial(length) } else { Cut::Whole(&buffer[4..length]) })
}

/// The typed message at the beginning of `buffer`; `message_bytes_max` limits the large types.
#[inline]
pub fn cut(buffer: &[u8], message_bytes_max: usize) -> Result<Cut<Frame<'_>>, FrameError> {
    let Some(&tag) = buffer.first() else {
        return Ok(Cut::Partial(HEADER_BYTES));
    };
    let limit = length_limit(tag, message_bytes_max).ok_or(FrameError::UnknownType(tag))?;
    let Some(length) = length_at(buffer, 1) else {
        return Ok(Cut::Partial(HEADER_BYTES));
    };
    if length < 4 || length > limit {
        return Err(FrameError::Length(tag));
    }
    let total = 1 + length;
    if buffer.len() < total {
        return Ok(Cut::Partial(total));
    }
    Ok(Cut::Whole(Frame { tag, body: &buffer[HEADER_BYTES..total] }))
}

/// The largest length field of a message type; `None` for bytes that are no type.
#[inline]
fn length_limit(tag: u8, message_bytes_max: usize) -> Option<usize> {
    let large = message_bytes_max.clamp(SMALL_MESSAGE_BYTES_MAX, LARGE_MESSAGE_BYTES_MAX);
    match tag {
        b'B' | b'P' | b'Q' | b'd' | b'F' => Some(large),
        b'E' | b'D' | b'C' | b'S' | b'H' | b'X' | b'c' | b'f' | b'p' => Some(SMALL_MESSAGE_BYTES_MAX),
        _ => None,
    }
}

#[inline]
fn length_at(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = buffer.get(at..at + 4)?.try_into().expect("a range of four is four bytes");
    // A negative length becomes a huge one and fails the range check of the caller.
    Some(u32::from_be_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn lengths_are_checked_by_type() {
        type Case<'a> = (&'a [u8], Result<Cut<u8>, FrameError>);
        let cases: &[Case<'_>] = &[
            (b"", Ok(Cut::Partial(5))),
            (b"Q", Ok(Cut::Partial(5))),
            (b"Q\0\0\0", Ok(Cut::Partial(5))),
            (b"Q\0\0\0\x05", Ok(Cut::Partial(6))),
            (b"S\0\0\0\x04", Ok(Cut::Whole(b'S'))),
            (b"S\0\0\0\x03", Err(FrameError::Length(b'S'))),
            (b"S\0\0\0\0", Err(FrameError::Length(b'S'))),
            (b"S\xff\xff\xff\xff", Err(FrameError::Length(b'S'))),
            (b"S\0\0\xff\xff", Err(FrameError::Length(b'S'))),
            (b"Q\0\0\xff\xff", Ok(Cut::Partial(65_536))),
            (b"Q\x7f\xff\xff\xff", Err(FrameError::Length(b'Q'))),
            (b"\0", Err(FrameError::UnknownType(0))),
            (b"z\0\0\0\x04", Err(FrameError::UnknownType(b'z'))),
            (b"\x16\x03\x01", Err(FrameError::UnknownType(0x16))),
        ];
        for (bytes, expected) in cases {
            let found = cut(bytes, 1 << 20).map(|cut| match cut {
                Cut::Whole(frame) => Cut::Whole(frame.tag),
                Cut::Partial(needed) => Cut::Partial(needed),
            });
            assert_eq!(&found, expected, "{bytes:?}");
        }
    }

    #[test]
    fn startup_lengths_are_checked() {
        for (bytes, expected) in [
            (&b""[..], Ok(Cut::Partial(4))),
            (b"\0\0\0\x07", Err(FrameError::StartupLength)),
            (b"\0\0\0\x08", Ok(Cut::Partial(8))),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Ok(Cut::Whole(&b"\x04\xd2\x16\x2f"[..]))),
            (b"\0\0\x27\x11", Err(FrameError::StartupLength)),
            (b"\xff\xff\xff\xff", Err(FrameError::StartupLength)),
            (b"GET / HTTP/1.1", Err(FrameError::StartupLength)),
        ] {
            assert_eq!(cut_startup(bytes, 10_000), expected, "{bytes:?}");
        }
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let tag = prop::sample::select(b"BPQdEDCSHXcfp".to_vec());
        prop::collection::vec((tag, prop::collection::vec(any::<u8>(), 0..300)), 0..20)
    }

    proptest! {
        /// However the bytes arrive, the same messages come out.
        #[test]
        fn chunking_does_not_matter(frames in frames(), chunks in prop::collection::vec(1usize..64, 1..50)) {
            let stream: Vec<u8> = frames.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            let (mut buffer, mut found, mut sent) = (Vec::new(), Vec::new(), 0);
            for chunk in chunks.iter().cycle() {
                if sent == stream.len() {
                    break;
                }
                let end = (sent + chunk).min(stream.len());
                buffer.extend_from_slice(&stream[sent..end]);
                sent = end;
                loop {
                    let total = match cut(&buffer, 1 << 20).expect("the stream is well formed") {
                        Cut::Whole(frame) => {
                            found.push((frame.tag, frame.body.to_vec()));
                            frame.total_bytes()
                        }
                        Cut::Partial(needed) => {
                            prop_assert!(needed > buffer.len());
                            break;
                        }
                    };
                    buffer.drain(..total);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(buffer.is_empty());
        }
    }
}
